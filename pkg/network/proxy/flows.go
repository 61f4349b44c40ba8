// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// flowEnder ends tracked UDP flows that lead to endpoints that are gone. Such a flow keeps its translation as long as
// datagrams come, so a client that does not change its port would send for ever to an endpoint that is gone, or to none.
// TCP connections end by themselves.
//
// A dump of the tracked flows takes tens of milliseconds, as the kernel walks all buckets of its table: so it is one dump
// for all changes that have come since the last, beside the writing of rules; and none if no UDP port changed.
type flowEnder struct {
	handle *netlink.Handle
	wake   chan struct{} // holds one token

	mu      sync.Mutex
	pending map[front]map[netip.AddrPort]bool
}

func newFlowEnder() (*flowEnder, error) {
	// One socket for all: the kernel makes the close of a netfilter socket wait until replaced rules are forgotten.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open connection to tracked flows: %w", err)
	}
	return &flowEnder{handle: h, wake: make(chan struct{}, 1), pending: map[front]map[netip.AddrPort]bool{}}, nil
}

// add notes ports as they were and as they are now.
func (f *flowEnder) add(old, now []*servicePort) {
	fronts := frontsOf(old, now)
	if len(fronts) == 0 {
		return
	}
	f.mu.Lock()
	maps.Copy(f.pending, fronts)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run ends flows until ctx ends.
func (f *flowEnder) run(ctx context.Context) {
	defer f.handle.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		fronts := f.pending
		f.pending = map[front]map[netip.AddrPort]bool{}
		f.mu.Unlock()
		if err := f.end(fronts); err != nil {
			klog.FromContext(ctx).Error(err, "Failed to end tracked UDP flows of services; they may lead to endpoints that are gone")
		}
	}
}

func (f *flowEnder) end(fronts map[front]map[netip.AddrPort]bool) error {
	local := map[netip.Addr]bool{}
	addresses, err := f.handle.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			local[ip] = true
		}
	}
	_, err = f.handle.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, staleFlows{fronts, local})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // one that ended by itself meanwhile
		return fmt.Errorf("delete tracked flows: %w", err)
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
