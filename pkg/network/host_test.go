// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/hivemind-project/hivemind/pkg/network/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func TestDetectNodeIP(t *testing.T) {
	nettest.Require(t)
	detect := func(ns *nettest.NS) (h Host) {
		t.Helper()
		err := ns.Do(func() (err error) {
			h, err = DetectNodeIP()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	lonely := detect(nettest.New(t))
	if !lonely.IP.IsLoopback() || !strings.Contains(lonely.Note, "no address but loopback") {
		t.Errorf("machine without links: %+v", lonely)
	}

	routed := nettest.Connect(t, "192.0.2.1", "192.0.2.9") // has a default route
	if h := detect(routed); h.IP.String() != "192.0.2.9" || h.Link != "eth0" || h.MTU != 1500 || h.Note != "" {
		t.Errorf("machine with a default route: %+v", h)
	}
	if h := detect(nettest.Here(t)); h.IP.String() != "192.0.2.1" || !strings.Contains(h.Note, "no default route") {
		t.Errorf("machine without a default route: %+v", h)
	}

	// The default route wins over the order of links, and its source over the link's first address.
	err := routed.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		second, err := netlink.ParseAddr("192.0.2.50/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, second); err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr("192.0.2.1").AsSlice(), Src: second.IP})
	})
	if err != nil {
		t.Fatal(err)
	}
	if h := detect(routed); h.IP.String() != "192.0.2.50" {
		t.Errorf("default route with a source: %+v", h)
	}
}

func TestMTUOf(t *testing.T) {
	nettest.Require(t)
	n := nettest.Connect(t, "192.0.2.1", "192.0.2.9")
	err := n.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMTU(l, 1380); err != nil {
			return err
		}
		if got := MTUOf(netip.MustParseAddr("192.0.2.9")); got != 1380 {
			t.Errorf("MTU of the link's address is %d, want 1380", got)
		}
		if got := MTUOf(netip.MustParseAddr("198.51.100.1")); got != 1500 {
			t.Errorf("MTU of an address that no link has is %d, want 1500", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
