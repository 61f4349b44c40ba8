// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hivemind-project/hivemind/apis/config"
)

func TestRangesThatALinkHas(t *testing.T) {
	for name, c := range map[string]struct {
		link, network string // "bridge" is the cluster's own
		exists        bool
		want          Severity
		what, mend    string
	}{
		"elsewhere":                    {link: "eth0", network: "192.0.2.7/24", want: OK},
		"pods":                         {link: "eth0", network: "10.42.0.9/24", want: Fail, what: "pods, 10.42.0.0/16, overlaps with 10.42.0.9/24 of this machine's link eth0", mend: "--network-pod-cidr"},
		"pods of other nodes":          {link: "eth0", network: "10.42.9.9/24", want: Fail, what: "pods", mend: "--network-pod-cidr"},
		"services":                     {link: "tun0", network: "10.43.200.1/30", want: Fail, what: "services, 10.43.0.0/16, overlaps with 10.43.200.1/30 of this machine's link tun0", mend: "--network-service-cidr"},
		"within a larger":              {link: "eth0", network: "10.1.1.1/8", want: Fail, what: "pods"},
		"the cluster's bridge":         {link: "bridge", network: "10.42.0.1/24", want: OK},
		"there already":                {link: "eth0", network: "10.42.0.9/24", exists: true, want: Fail, what: "pods", mend: "hivemind reset"},
		"there already, another node":  {link: "eth0", network: "10.42.9.9/24", exists: true, want: Warn, what: "pods", mend: "hivemind reset"},
		"there already, services":      {link: "eth0", network: "10.43.9.9/24", exists: true, want: Fail, what: "services", mend: "hivemind reset"},
		"there already, in the larger": {link: "eth0", network: "10.1.1.1/8", exists: true, want: Fail, what: "pods"},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, nil)
			m.Config.Network.PodCIDR, m.Config.Network.ServiceCIDR = "10.42.0.0/16", "10.43.0.0/16"
			l := link{name: c.link, networks: []netip.Prefix{netip.MustParsePrefix(c.network)}}
			if c.link == "bridge" {
				l.name = m.Config.Bridge()
			}
			got := compareRanges(m.Config, []link{{name: "lo", networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}, l}, c.exists)
			if got.Severity != c.want || !strings.Contains(got.What, c.what) || !strings.Contains(got.Mend, c.mend) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The machine's own links are looked at, and only where there are pods.
func TestRangesOfThisMachine(t *testing.T) {
	m := machine(t, nil)
	m.Config.Network.PodCIDR, m.Config.Network.ServiceCIDR = "127.0.0.0/16", "198.18.0.0/16"
	if got := checkRanges(m); got.Severity != Fail || !strings.Contains(got.What, "127.0.0.1/8") {
		t.Errorf("%+v", got)
	}
	m.Config.Roles = []string{config.RoleServer}
	if got := checkRanges(m); got.Severity != OK {
		t.Errorf("without pods: %+v", got)
	}
}
