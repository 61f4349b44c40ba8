// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/hivemind-project/hivemind/pkg/network/nettest"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func options(name, pods, services string) Options {
	return Options{
		Name: "hm-" + name, Table: nft.TableName(name), PodCIDR: netip.MustParsePrefix(pods), MTU: 1450,
		ClusterCIDR: netip.MustParsePrefix("10.0.0.0/8"), ServiceCIDR: netip.MustParsePrefix(services),
	}
}

func setUp(t *testing.T, o Options) {
	t.Helper()
	if err := Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Cleanup(o.Name, o.Table); err != nil {
			t.Error(err)
		}
	})
}

// addresses lists what the link has, as "10.0.0.1/24".
func addresses(t *testing.T, name string) (found []string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		found = append(found, a.IPNet.String())
	}
	return found
}

func TestSetupIsIdempotentAndFollowsChanges(t *testing.T) {
	nettest.Require(t)
	o := options("a", "10.1.0.0/24", "10.9.0.0/16")
	setUp(t, o)
	first, err := netlink.LinkByName(o.Name)
	if err != nil {
		t.Fatal(err)
	}
	dns := netip.MustParseAddr("10.9.0.10")
	for range 2 {
		if err := AddAddress(o.Name, dns); err != nil {
			t.Fatal(err)
		}
	}
	o.PodCIDR, o.MTU = netip.MustParsePrefix("10.1.1.0/24"), 1400
	setUp(t, o)
	second, err := netlink.LinkByName(o.Name)
	if err != nil {
		t.Fatal(err)
	}
	if second.Attrs().Index != first.Attrs().Index || second.Attrs().MTU != 1400 {
		t.Errorf("the bridge was made anew or kept its MTU: %+v", second.Attrs())
	}
	got := strings.Join(addresses(t, o.Name), " ")
	if !strings.Contains(got, "10.1.1.1/24") || !strings.Contains(got, "10.9.0.10/32") || strings.Contains(got, "10.1.0.1") {
		t.Errorf("addresses are %s", got)
	}
	for path, want := range map[string]string{"ip_forward": "1", "conf/" + o.Name + "/route_localnet": "1"} {
		if have, err := os.ReadFile("/proc/sys/net/ipv4/" + path); err != nil || strings.TrimSpace(string(have)) != want {
			t.Errorf("sysctl %s is %s, %v; want %s", path, have, err, want)
		}
	}
}

func TestTwoClustersSideBySide(t *testing.T) {
	nettest.Require(t)
	a, b := options("a", "10.1.0.0/24", "10.9.0.0/16"), options("b", "10.2.0.0/24", "10.8.0.0/16")
	setUp(t, a)
	setUp(t, b)
	if err := Cleanup(a.Name, a.Table); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, b.Name); len(got) != 1 {
		t.Errorf("the second cluster's addresses after the first one's cleanup: %v", got)
	}
	if !tableExists(t, b.Table) || tableExists(t, a.Table) {
		t.Error("cleanup removed the wrong table, or none")
	}
	for range 2 { // Cleanup of what is not there
		if err := Cleanup(a.Name, a.Table); err != nil {
			t.Error(err)
		}
	}
}

func TestSetupRefusesOverlaps(t *testing.T) {
	nettest.Require(t)
	setUp(t, options("a", "10.1.0.0/24", "10.9.0.0/16"))
	if err := AddAddress("hm-a", netip.MustParseAddr("10.9.0.10")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ pods, services, want string }{
		{"10.1.0.0/24", "10.8.0.0/16", "pod CIDR 10.1.0.0/24 overlaps with 10.1.0.1/24 on hm-a: choose another network.podCIDR"},
		{"10.2.0.0/24", "10.9.0.0/16", "service CIDR 10.9.0.0/16 overlaps with 10.9.0.10/32 on hm-a: choose another network.serviceCIDR"},
		{"10.0.0.0/16", "10.8.0.0/16", "between /20 and /30"},
		{"fd00::/64", "10.8.0.0/16", "must be IPv4"},
	} {
		o := options("b", c.pods, c.services)
		if err := Setup(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("pods %s, services %s: error %v, want %q", c.pods, c.services, err, c.want)
		}
		if _, err := netlink.LinkByName(o.Name); err == nil {
			t.Errorf("pods %s, services %s: a bridge was left", c.pods, c.services)
			_ = Cleanup(o.Name, o.Table)
		}
	}
}

// TestHostFirewall lays a firewall as ufw and Docker do: a chain that drops what nothing accepts.
func TestHostFirewall(t *testing.T) {
	nettest.Require(t)
	c, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseLasting()
	drop := nftables.ChainPolicyDrop
	filter := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	forward := c.AddChain(&nftables.Chain{Name: "FORWARD", Table: filter, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	input := c.AddChain(&nftables.Chain{Name: "INPUT", Table: filter, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: filter, Chain: forward, Exprs: nft.Rule(nft.CtDNAT(), nft.Return())})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.DelTable(filter); _ = c.Flush() })
	count := func(chain *nftables.Chain) int {
		rules, err := c.GetRules(filter, chain)
		if err != nil {
			t.Fatal(err)
		}
		return len(rules)
	}

	o := options("a", "10.1.0.0/24", "10.9.0.0/16")
	world := nettest.Connect(t, "192.0.2.1", "192.0.2.9")
	world.ServeTCP("192.0.2.9:80", "world")
	setUp(t, o)
	setUp(t, o)
	if got := count(forward); got != 3 {
		t.Errorf("%d rules in a chain that drops, want the owner's and two of ours", got)
	}
	if got := count(input); got != 0 {
		t.Errorf("%d rules in a chain that accepts, want none", got)
	}
	if err := Cleanup(o.Name, o.Table); err != nil {
		t.Fatal(err)
	}
	if got := count(forward); got != 1 {
		t.Errorf("%d rules after cleanup, want the owner's alone", got)
	}
}

func tableExists(t *testing.T, name string) bool {
	t.Helper()
	c, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseLasting()
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == name {
			return true
		}
	}
	return false
}
