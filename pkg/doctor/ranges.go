// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

// link is a network link of the machine with its addresses of IPv4.
type link struct {
	name     string
	networks []netip.Prefix
}

// checkRanges looks whether pods or services would get addresses that the machine reaches by one of its links. The node's bridge is not laid
// then, and the cluster would wait for it in vain.
func checkRanges(m *Machine) Result {
	if !slices.Contains(m.Config.Roles, apiconfig.RoleAgent) {
		return ok("pods and services have theirs on the machines of nodes")
	}
	links, err := linksOfMachine()
	if err != nil {
		return Result{Severity: Fail, What: "links cannot be listed: " + err.Error()}
	}
	kept, err := datadir.Kept(m.Config.DataDir)
	if err != nil {
		return Result{Severity: Fail, What: err.Error()}
	}
	return compareRanges(m.Config, links, kept != nil)
}

func linksOfMachine() ([]link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []link
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has gone away meanwhile
		}
		l := link{name: i.Name}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				l.networks = append(l.networks, p)
			}
		}
		links = append(links, l)
	}
	return links, nil
}

// compareRanges finds the first link but the cluster's own bridge whose network overlaps with a range of the cluster. A cluster that is there already, whose ranges
// stay what they are, goes on where only parts of other nodes are affected: the first node has the first part.
func compareRanges(c *apiconfig.Config, links []link, exists bool) Result {
	for _, r := range []struct{ of, text, flag string }{
		{"pods", c.Network.PodCIDR, "--network-pod-cidr"}, {"services", c.Network.ServiceCIDR, "--network-service-cidr"},
	} {
		ours, err := netip.ParsePrefix(r.text)
		if err != nil {
			continue // the configuration's validation has said so
		}
		name, their, found := overlap(ours, c.Bridge(), links)
		if !found {
			continue
		}
		result := Result{Severity: Fail, What: fmt.Sprintf("the range of %s, %s, overlaps with %s of this machine's link %s", r.of, ours, their, name),
			Why:  "an address in both would be the cluster's for some and the network's for others",
			Mend: fmt.Sprintf("hivemind up %s RANGE, for one that ip -brief address does not show", r.flag)}
		if exists {
			result.Mend = fmt.Sprintf("give %s other addresses, or begin anew: hivemind reset, then %s", name, result.Mend)
		}
		if exists && r.of == "pods" && !their.Overlaps(netip.PrefixFrom(ours.Addr(), max(c.NodeBits(), ours.Bits()))) {
			result.Severity = Warn
		}
		return result
	}
	return ok("pods have %s, services %s", c.Network.PodCIDR, c.Network.ServiceCIDR)
}

// overlap finds a network of a link other than bridge that has addresses of ours.
func overlap(ours netip.Prefix, bridge string, links []link) (name string, their netip.Prefix, found bool) {
	for _, l := range links {
		for _, n := range l.networks {
			if l.name != bridge && n.Overlaps(ours) {
				return l.name, n, true
			}
		}
	}
	return "", netip.Prefix{}, false
}
