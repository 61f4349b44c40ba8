// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A tracked UDP flow keeps its translation as long as datagrams come, so a client that does not change its port would
// send for ever to an endpoint that is gone, or to none. endFlows ends the tracked flows of changed UDP ports that lead
// elsewhere than to one of their endpoints. TCP connections end by themselves. The cost is one dump of the tracked
// flows, and only if a UDP port changed.
func (p *Proxy) endFlows(old, now []*servicePort) error {
	fronts := frontsOf(old, now)
	if len(fronts) == 0 {
		return nil
	}
	local := map[netip.Addr]bool{}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			local[ip] = true
		}
	}
	_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, staleFlows{fronts, local})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // one that ended by itself meanwhile
		return fmt.Errorf("end tracked flows of changed services: %w", err)
	}
	return nil
}

// front is what clients send datagrams to; without an address it is a port of the node.
type front struct {
	ip   netip.Addr
	port uint16
}

// frontsOf returns, for each UDP front of the ports, the endpoints it leads to now.
func frontsOf(old, now []*servicePort) map[front]map[netip.AddrPort]bool {
	fronts := map[front]map[netip.AddrPort]bool{}
	add := func(f front, endpoints []netip.AddrPort) {
		if fronts[f] == nil {
			fronts[f] = map[netip.AddrPort]bool{}
		}
		for _, e := range endpoints {
			fronts[f][e] = true
		}
	}
	each := func(p *servicePort, endpoints []netip.AddrPort) {
		if p.protocol != unix.IPPROTO_UDP {
			return
		}
		for _, ips := range [][]netip.Addr{p.clusterIPs, p.external, p.balancer} {
			for _, ip := range ips {
				add(front{ip, p.port}, endpoints)
			}
		}
		if p.nodePort != 0 {
			add(front{port: p.nodePort}, endpoints)
		}
	}
	for _, p := range old {
		each(p, nil)
	}
	for _, p := range now {
		each(p, p.all)
		each(p, p.local)
	}
	return fronts
}

// staleFlows matches flows to a front that lead to no endpoint of it.
type staleFlows struct {
	fronts map[front]map[netip.AddrPort]bool
	local  map[netip.Addr]bool
}

// MatchConntrackFlow is netlink's interface of a filter.
func (s staleFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(f.Forward.DstIP.To4())
	from, ok2 := netip.AddrFromSlice(f.Reverse.SrcIP.To4())
	if !ok1 || !ok2 {
		return false
	}
	endpoints, ok := s.fronts[front{to, f.Forward.DstPort}]
	if !ok && s.local[to] {
		endpoints, ok = s.fronts[front{port: f.Forward.DstPort}]
	}
	return ok && !endpoints[netip.AddrPortFrom(from, f.Reverse.SrcPort)]
}

var _ netlink.CustomConntrackFilter = staleFlows{}
