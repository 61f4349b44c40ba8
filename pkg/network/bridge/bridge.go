// SPDX-License-Identifier: Apache-2.0

// Package bridge lays a node's pod network: the bridge that pods are attached to, with the gateway's address, the route
// that leads service addresses to the proxy's rules, and the rules every pod needs whatever services there are.
//
// Pods have host routes only (see pkg/network/cni), so every packet between two pods passes the node's IP layer. That is
// what makes answers of a service pass the address translation again, without br_netfilter. Setup may run any
// number of times, also while pods run; it costs some twenty netlink calls and one nftables transaction.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/network/ipam"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// Options say what to lay. All fields are needed.
type Options struct {
	Name        string       // of the bridge; at most 15 bytes
	Table       string       // nftables table of the cluster (nft.TableName)
	PodCIDR     netip.Prefix // of this node, a /20 or smaller; the bridge has its first address
	ClusterCIDR netip.Prefix // of all pods: traffic to it is not masqueraded
	ServiceCIDR netip.Prefix
	MTU         int // bytes
}

// Setup creates what is missing and mends what differs.
func Setup(ctx context.Context, o Options) error {
	if !o.PodCIDR.Addr().Is4() || o.PodCIDR.Bits() < 20 || o.PodCIDR.Bits() > 30 {
		return fmt.Errorf("set up bridge %s: pod CIDR %s of the node must be IPv4 and between /20 and /30", o.Name, o.PodCIDR)
	}
	if err := overlap(o); err != nil {
		return fmt.Errorf("set up bridge %s: %w", o.Name, err)
	}
	link, err := ensureLink(o)
	if err != nil {
		return fmt.Errorf("set up bridge %s: %w", o.Name, err)
	}
	// The rules come first: one of them guards what route_localnet opens.
	switch err := layRules(o); {
	case errors.Is(err, nft.ErrLayout):
		klog.FromContext(ctx).Info("The nftables table goes on as it is until the service proxy replaces it", "table", o.Table, "reason", err.Error())
	case err != nil:
		return fmt.Errorf("set up bridge %s: nftables table %s: %w", o.Name, o.Table, err)
	}
	if err := setSysctls(o.Name); err != nil {
		return fmt.Errorf("set up bridge %s: %w", o.Name, err)
	}
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(o.ServiceCIDR), Scope: netlink.SCOPE_LINK,
		Src: ipam.Gateway(o.PodCIDR).AsSlice(), Protocol: unix.RTPROT_STATIC,
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("set up bridge %s: route %s: %w", o.Name, o.ServiceCIDR, err)
	}
	if err := openFirewalls(o.Table, o.Name); err != nil {
		// Pods may work all the same, and a firewall that guards its table against others cannot be opened from here.
		klog.FromContext(ctx).Error(err, "The host's firewall may drop traffic of pods: let it accept what comes from or goes to the bridge", "bridge", o.Name)
	}
	return nil
}

// AddAddress gives the bridge a further address of its own, as cluster DNS listens on. It may be there already.
func AddAddress(name string, ip netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("add address %s to %s: %w", ip, name, err)
	}
	a := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(ip, ip.BitLen()))}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("add address %s to %s: %w", ip, name, err)
	}
	return nil
}

// Cleanup removes all that the cluster's network has left on the machine: pods' links, the bridge with its addresses and
// routes, the nftables table, and the openings in the host's firewalls. It may run after any partial failure, and again.
func Cleanup(name, table string) error {
	var errs []error
	link, err := netlink.LinkByName(name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
	case err != nil:
		errs = append(errs, fmt.Errorf("find bridge %s: %w", name, err))
	default:
		errs = append(errs, deleteLinks(link))
	}
	errs = append(errs, nft.DeleteTable(table), closeFirewalls(table))
	return errors.Join(errs...)
}

func deleteLinks(bridge netlink.Link) error {
	var errs []error
	links, err := netlink.LinkList()
	if err != nil {
		errs = append(errs, fmt.Errorf("list links: %w", err))
	}
	for _, l := range links {
		if l.Attrs().MasterIndex != bridge.Attrs().Index {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete link %s: %w", l.Attrs().Name, err))
		}
	}
	if err := netlink.LinkDel(bridge); err != nil && !errors.Is(err, unix.ENODEV) {
		errs = append(errs, fmt.Errorf("delete bridge %s: %w", bridge.Attrs().Name, err))
	}
	return errors.Join(errs...)
}

// overlap tells which other link of the machine has addresses of ours, as a second cluster with the same plan would.
func overlap(o Options) error {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		their := netip.PrefixFrom(ip, ones)
		for _, ours := range []struct {
			what, setting string
			prefix        netip.Prefix
		}{{"pod CIDR", "network.podCIDR", o.PodCIDR}, {"service CIDR", "network.serviceCIDR", o.ServiceCIDR}} {
			if !their.Overlaps(ours.prefix) {
				continue
			}
			l, err := netlink.LinkByIndex(a.LinkIndex)
			if err != nil || l.Attrs().Name == o.Name {
				continue
			}
			return fmt.Errorf("%s %s overlaps with %s on %s: choose another %s", ours.what, ours.prefix, their, l.Attrs().Name, ours.setting)
		}
	}
	return nil
}

// ensureLink returns the bridge, up, with the gateway's address, a fixed hardware address (else it would change with the
// pods, and pods would send to the old one) and the MTU.
func ensureLink(o Options) (netlink.Link, error) {
	gateway := ipam.Gateway(o.PodCIDR)
	mac := ipam.HardwareAddr(gateway)
	link, err := netlink.LinkByName(o.Name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = o.Name, o.MTU, mac
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("create: %w", err)
		}
		link, err = netlink.LinkByName(o.Name)
	}
	if err != nil {
		return nil, err
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("a link of this name and of type %s exists", link.Type())
	}
	if link.Attrs().MTU != o.MTU {
		if err := netlink.LinkSetMTU(link, o.MTU); err != nil {
			return nil, fmt.Errorf("set MTU %d: %w", o.MTU, err)
		}
	}
	if link.Attrs().HardwareAddr.String() != mac.String() {
		if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
			return nil, fmt.Errorf("set hardware address %s: %w", mac, err)
		}
	}
	want := netip.PrefixFrom(gateway, o.PodCIDR.Bits())
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(want)}); err != nil {
		return nil, fmt.Errorf("set address %s: %w", want, err)
	}
	if err := dropOldGateways(link, o.ServiceCIDR, gateway); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	return link, nil
}

// dropOldGateways removes the gateways of pod CIDRs that the node had before.
func dropOldGateways(link netlink.Link, services netip.Prefix, gateway netip.Addr) error {
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok || ip == gateway || services.Contains(ip) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove old address %s: %w", ip, err)
		}
	}
	return nil
}

// setSysctls lets the machine forward, and lets 127.0.0.1 reach node ports and host ports of pods.
func setSysctls(bridge string) error {
	for _, s := range []struct{ path, value string }{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/" + bridge + "/forwarding", "1"},
		{"net/ipv4/conf/" + bridge + "/route_localnet", "1"},
	} {
		path := filepath.Join("/proc/sys", s.path)
		if have, err := os.ReadFile(path); err == nil && len(have) > 0 && string(have[:1]) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s to %s: %w", s.path, s.value, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
