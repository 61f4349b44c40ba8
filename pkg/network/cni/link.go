// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/network/ipam"
)

const errNoDevice = unix.ENODEV

// attachment is a pair of links, one end on the bridge, the other in the pod.
//
// The pod's addresses have full prefixes (/32, /128) and its only routes lead to the gateway: so all of its traffic
// passes the node's IP layer, where services and policies are carried out, also between two pods of the node.
type attachment struct {
	bridge    string
	mtu       int
	netns     string // path
	ifName    string // in the pod
	hostName  string
	addresses []netip.Addr
	subnets   []netip.Prefix
}

// hostLink is the name of the node's end. It follows from the container, so that DEL needs no memory and no namespace.
func hostLink(containerID, ifName string) string {
	h := fnv.New64a()
	h.Write([]byte(containerID + "/" + ifName))
	return fmt.Sprintf("veth%011x", h.Sum64()&(1<<44-1))
}

// hardwareAddr of the pod's end follows from its address: see ipam.HardwareAddr.
func (a attachment) hardwareAddr() net.HardwareAddr { return ipam.HardwareAddr(a.addresses[0]) }

func (a attachment) create() error {
	ns, err := netns.GetFromPath(a.netns)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", a.netns, err)
	}
	defer ns.Close()
	master, err := netlink.LinkByName(a.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", a.bridge, err)
	}
	// A link of this name is what an earlier, killed ADD of the same container left.
	if err := deleteLink(a.hostName); err != nil {
		return err
	}
	mtu := a.mtu
	if mtu == 0 {
		mtu = master.Attrs().MTU
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a.hostName, mtu
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: a.ifName, PeerNamespace: netlink.NsFd(int(ns)), PeerHardwareAddr: a.hardwareAddr(), PeerMTU: uint32(mtu),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link %s: %w", a.hostName, err)
	}
	if err := netlink.LinkSetMaster(veth, master); err != nil {
		return fmt.Errorf("put link %s on bridge: %w", a.hostName, err)
	}
	// Where br_netfilter is on, a pod that reaches itself through a service is sent back by the bridge itself.
	if err := netlink.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("set hairpin of link %s: %w", a.hostName, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set link %s up: %w", a.hostName, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", a.netns, err)
	}
	defer h.Close()
	return a.configure(h)
}

// configure sets up the pod's end.
func (a attachment) configure(h *netlink.Handle) error {
	for _, name := range []string{"lo", a.ifName} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if name == a.ifName {
			for _, ip := range a.addresses {
				addr := &netlink.Addr{IPNet: hostNet(ip)}
				if ip.Is6() {
					addr.Flags = unix.IFA_F_NODAD // ipam leases an address once
				}
				if err := h.AddrReplace(link, addr); err != nil {
					return fmt.Errorf("add address %s: %w", ip, err)
				}
			}
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
		if name != a.ifName {
			continue
		}
		for _, subnet := range a.subnets {
			gateway := ipam.Gateway(subnet)
			direct := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: hostNet(gateway)}
			if err := h.RouteReplace(direct); err != nil {
				return fmt.Errorf("add route to gateway %s: %w", gateway, err)
			}
			if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
				return fmt.Errorf("add default route by %s: %w", gateway, err)
			}
		}
	}
	return nil
}

// check tells the first thing that is not as create made it.
func (a attachment) check() error {
	master, err := netlink.LinkByName(a.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", a.bridge, err)
	}
	host, err := netlink.LinkByName(a.hostName)
	if err != nil {
		return fmt.Errorf("find link %s: %w", a.hostName, err)
	}
	if host.Attrs().MasterIndex != master.Attrs().Index {
		return fmt.Errorf("link %s is not on bridge %s", a.hostName, a.bridge)
	}
	ns, err := netns.GetFromPath(a.netns)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", a.netns, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", a.netns, err)
	}
	defer h.Close()
	pod, err := h.LinkByName(a.ifName)
	if err != nil {
		return fmt.Errorf("find %s: %w", a.ifName, err)
	}
	if pod.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("%s is down", a.ifName)
	}
	addresses, err := h.AddrList(pod, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", a.ifName, err)
	}
	for i, want := range a.addresses {
		if !hasAddress(addresses, want) {
			return fmt.Errorf("%s lacks address %s", a.ifName, want)
		}
		gateway := ipam.Gateway(a.subnets[i])
		routes, err := h.RouteList(pod, family(want))
		if err != nil {
			return fmt.Errorf("list routes of %s: %w", a.ifName, err)
		}
		if !hasGateway(routes, gateway) {
			return fmt.Errorf("%s lacks the default route by %s", a.ifName, gateway)
		}
	}
	return nil
}

func hasAddress(addresses []netlink.Addr, want netip.Addr) bool {
	for _, a := range addresses {
		if a.IP.Equal(want.AsSlice()) {
			return true
		}
	}
	return false
}

func hasGateway(routes []netlink.Route, want netip.Addr) bool {
	for _, r := range routes {
		if r.Gw.Equal(want.AsSlice()) {
			return true
		}
	}
	return false
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
