// SPDX-License-Identifier: Apache-2.0

package nettest

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Pod makes a namespace that is attached to the bridge as the CNI plugin attaches a pod: one address with a full prefix
// and routes to the gateway alone.
func Pod(t testing.TB, bridge, ip, gateway string) *NS {
	t.Helper()
	n := New(t)
	target, err := netns.GetFromPath(n.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "p" + ip
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(target))}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add link: %v", err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	if err := netlink.LinkSetMaster(veth, master); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetHairpin(veth, true); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(ip + "/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		gw, err := netlink.ParseIPNet(gateway + "/32")
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: gw}); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr(gateway).AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
