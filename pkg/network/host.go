// SPDX-License-Identifier: Apache-2.0

// Package network tells what the machine's own network offers to a node. The parts of the cluster's network are in the
// folders below: bridge and ipam lay the node's pod network, cni attaches pods to it, proxy carries services and dns
// names them. Detection reads links, routes and addresses once: a few milliseconds on a machine with hundreds.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is the address that a machine is reached by.
type Host struct {
	IP   netip.Addr
	Link string // name of the link that has IP
	MTU  int    // of that link, in bytes
	// Note says what a person should know about the choice; empty where it was plain.
	Note string
}

// DetectNodeIP returns the IPv4 address that other machines reach this one by: the address of the default route's link,
// or else the first global address of a link that is up, or else loopback, which serves a cluster of this machine alone.
func DetectNodeIP() (Host, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return Host{}, fmt.Errorf("detect node address: list routes: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return Host{}, fmt.Errorf("detect node address: list links: %w", err)
	}
	best, priority := -1, 0
	var source net.IP
	for _, r := range routes {
		if !isDefault(r.Dst) || r.Type != unix.RTN_UNICAST {
			continue
		}
		index := r.LinkIndex
		if len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		if index != 0 && (best < 0 || r.Priority < priority) {
			best, priority, source = index, r.Priority, r.Src
		}
	}
	for _, l := range links {
		if l.Attrs().Index != best {
			continue
		}
		if ip, ok := netip.AddrFromSlice(source.To4()); ok {
			return host(l, ip, ""), nil
		}
		if ip, ok := globalAddress(l); ok {
			return host(l, ip, ""), nil
		}
	}
	for _, l := range links {
		if l.Attrs().Flags&net.FlagUp == 0 || l.Attrs().Flags&net.FlagLoopback != 0 || l.Type() == "bridge" {
			continue
		}
		if ip, ok := globalAddress(l); ok {
			return host(l, ip, "there is no default route: "+l.Attrs().Name+" is the first link with a global address"), nil
		}
	}
	return Host{
		IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Link: "lo", MTU: defaultMTU,
		Note: "this machine has no address but loopback: no other machine can reach or join this node",
	}, nil
}

// MTUOf returns the MTU in bytes of the link that has the address; that of Ethernet if none has.
func MTUOf(ip netip.Addr) int {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return defaultMTU
	}
	for _, a := range addresses {
		if got, ok := netip.AddrFromSlice(a.IP); !ok || got.Unmap() != ip || ip.IsLoopback() {
			continue
		}
		if l, err := netlink.LinkByIndex(a.LinkIndex); err == nil {
			return l.Attrs().MTU
		}
	}
	return defaultMTU
}

const defaultMTU = 1500

func host(l netlink.Link, ip netip.Addr, note string) Host {
	return Host{IP: ip, Link: l.Attrs().Name, MTU: l.Attrs().MTU, Note: note}
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0 && dst.IP.IsUnspecified()
}

func globalAddress(l netlink.Link) (netip.Addr, bool) {
	addresses, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && ip.IsGlobalUnicast() && a.Scope == unix.RT_SCOPE_UNIVERSE {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
