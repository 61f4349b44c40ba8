// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// render tells a port in one line: front, affinity, endpoints of policy Cluster, and those of policy Local.
func render(ports []*servicePort) string {
	var lines []string
	join := func(addrs []netip.AddrPort) string {
		var s []string
		for _, a := range addrs {
			s = append(s, a.String())
		}
		return strings.Join(s, ",")
	}
	for _, p := range ports {
		lines = append(lines, fmt.Sprintf("%s %d/%d %v %s all=%s local=%s", p.name, p.protocol, p.port, p.clusterIPs, p.affinity, join(p.all), join(p.local)))
	}
	return strings.Join(lines, "\n")
}

func TestServicePorts(t *testing.T) {
	hinted := func(s *discoveryv1.EndpointSlice, zones ...string) *discoveryv1.EndpointSlice {
		for i, z := range zones {
			if z == "" {
				continue
			}
			if node, ok := strings.CutPrefix(z, "node:"); ok {
				s.Endpoints[i].Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: node}}}
				continue
			}
			s.Endpoints[i].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: z}}}
		}
		return s
	}
	onlyTCP := func(edit func(*corev1.ServiceSpec)) *corev1.Service {
		s := service("web", "10.201.0.5", edit)
		s.Spec.Ports = s.Spec.Ports[:1]
		return s
	}
	labelled := onlyTCP(nil)
	labelled.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	const head = "default/web:tcp 6/80 [10.201.0.5] 0s "

	for _, c := range []struct {
		name   string
		svc    *corev1.Service
		slices []*discoveryv1.EndpointSlice
		want   string
	}{
		{"headless", service("web", corev1.ClusterIPNone, nil), nil, ""},
		{"external name", service("web", "10.201.0.5", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeExternalName }), nil, ""},
		{"not allocated yet", service("web", "", nil), nil, ""},
		{"another proxy's", labelled, nil, ""},
		{"the node's own", service("dns", "10.201.0.10", nil), nil, ""},
		{"IPv6 alone", service("web", "fd00::5", nil), nil, ""},
		{"no slices", onlyTCP(nil), nil, head + "all= local="},
		{"by port name and protocol", service("web", "10.201.0.5", nil), []*discoveryv1.EndpointSlice{slice("web", "10.200.0.2")},
			head + "all=10.200.0.2:8080 local=10.200.0.2:8080\n" +
				"default/web:udp 17/80 [10.201.0.5] 0s all=10.200.0.2:8080 local=10.200.0.2:8080"},
		{"several slices, an address twice", onlyTCP(nil), []*discoveryv1.EndpointSlice{slice("web", "10.200.0.3", "10.200.0.2"), slice("web", "10.200.0.2")},
			head + "all=10.200.0.2:8080,10.200.0.3:8080 local=10.200.0.2:8080,10.200.0.3:8080"},
		{"not ready", onlyTCP(nil), []*discoveryv1.EndpointSlice{slice("web", "10.200.0.2!", "10.200.0.3~")},
			head + "all=10.200.0.3:8080 local=10.200.0.3:8080"},
		{"ready elsewhere, terminating here", onlyTCP(nil), []*discoveryv1.EndpointSlice{slice("web", "10.200.1.2@there", "10.200.0.3~")},
			head + "all=10.200.1.2:8080 local=10.200.0.3:8080"},
		{"zone hints", onlyTCP(nil), []*discoveryv1.EndpointSlice{hinted(slice("web", "10.200.0.2", "10.200.1.2@there"), "a", "b")},
			head + "all=10.200.1.2:8080 local=10.200.0.2:8080"},
		{"zone hints, one lacks", onlyTCP(nil), []*discoveryv1.EndpointSlice{hinted(slice("web", "10.200.0.2", "10.200.1.2@there"), "", "b")},
			head + "all=10.200.0.2:8080,10.200.1.2:8080 local=10.200.0.2:8080"},
		{"zone hints, none for us", onlyTCP(nil), []*discoveryv1.EndpointSlice{hinted(slice("web", "10.200.0.2", "10.200.1.2@there"), "a", "c")},
			head + "all=10.200.0.2:8080,10.200.1.2:8080 local=10.200.0.2:8080"},
		{"node hints", onlyTCP(nil), []*discoveryv1.EndpointSlice{hinted(slice("web", "10.200.0.2", "10.200.1.2@there"), "node:here", "node:there")},
			head + "all=10.200.0.2:8080 local=10.200.0.2:8080"},
		{"affinity by default", onlyTCP(func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }), nil,
			"default/web:tcp 6/80 [10.201.0.5] 3h0m0s all= local="},
	} {
		got := render(servicePorts(c.svc, c.slices, place{node: nodeName, zone: "b"}, []netip.Addr{netip.MustParseAddr("10.201.0.10")}))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestObjectsOf(t *testing.T) {
	cluster := netip.MustParsePrefix("10.200.0.0/16")
	one := []netip.AddrPort{netip.MustParseAddrPort("10.200.0.2:80")}
	two := append(one, netip.MustParseAddrPort("10.200.1.2:80"))
	ip := []netip.Addr{netip.MustParseAddr("10.201.0.5")}
	for _, c := range []struct {
		name     string
		port     servicePort
		chains   string // by suffix
		elements string // set=target
	}{
		{"one endpoint", servicePort{clusterIPs: ip, all: one}, "-", "proxy-addresses=-"},
		{"two", servicePort{clusterIPs: ip, all: two}, "-", "proxy-endpoints=10.200.0.2 proxy-endpoints=10.200.1.2 proxy-addresses=-"},
		{"none", servicePort{clusterIPs: ip, nodePort: 1}, "", "proxy-addresses=reject proxy-nodeports=reject"},
		{"internal policy, none here", servicePort{clusterIPs: ip, all: one, internalLocal: true}, "", "proxy-addresses=drop"},
		{"internal policy, node port", servicePort{clusterIPs: ip, all: one, internalLocal: true, nodePort: 1}, "-all -external", "proxy-addresses=drop proxy-nodeports=-external"},
		{"external policy", servicePort{clusterIPs: ip, all: one, externalLocal: true, nodePort: 1}, "- -external", "proxy-addresses=- proxy-nodeports=-external"},
		{"source ranges that are all of IPv6", servicePort{clusterIPs: ip, balancer: ip, all: one, restricted: true}, "- -external -balancer", "proxy-addresses=- proxy-addresses=-balancer"},
		{"affinity without a choice", servicePort{clusterIPs: ip, all: one, affinity: time.Hour}, "-", "proxy-addresses=-"},
	} {
		o := objectsOf(&c.port, cluster)
		name := chainName(&c.port)
		suffix := func(s string) string {
			if s == name {
				return "-"
			}
			return strings.TrimPrefix(strings.TrimPrefix(s, name), "proxy-")
		}
		var chains, elements []string
		for _, ch := range o.chains {
			chains = append(chains, suffix(ch.name))
			if ch.clients != "" {
				t.Errorf("%s: chain %s has affinity", c.name, ch.name)
			}
		}
		for _, e := range o.elements {
			if e.value != "" {
				a, _ := netip.AddrFromSlice([]byte(e.value[:4]))
				elements = append(elements, e.set+"="+a.String())
				continue
			}
			elements = append(elements, e.set+"="+suffix(e.to))
		}
		if got := strings.Join(chains, " "); got != c.chains {
			t.Errorf("%s: chains %q, want %q", c.name, got, c.chains)
		}
		if got := strings.Join(elements, " "); got != c.elements {
			t.Errorf("%s: elements %q, want %q", c.name, got, c.elements)
		}
	}
}

func TestStaleFlows(t *testing.T) {
	udp := servicePort{protocol: 17, port: 53, nodePort: 30053, clusterIPs: []netip.Addr{netip.MustParseAddr("10.201.0.5")}}
	udp.all = []netip.AddrPort{netip.MustParseAddrPort("10.200.0.2:5353")}
	tcp := udp
	tcp.protocol = 6
	fronts := frontsOf([]*servicePort{&tcp, &udp}, []*servicePort{&tcp, &udp})
	if len(fronts) != 2 {
		t.Errorf("fronts are %v, want the cluster IP's and the node port's of UDP", fronts)
	}
	s := staleFlows{fronts, map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}}
	for _, c := range []struct {
		what, to, from string
		port, fromPort uint16
		protocol       byte
		want           bool
	}{
		{"to its endpoint", "10.201.0.5", "10.200.0.2", 53, 5353, 17, false},
		{"to another pod", "10.201.0.5", "10.200.0.3", 53, 5353, 17, true},
		{"to another port of it", "10.201.0.5", "10.200.0.2", 53, 5354, 17, true},
		{"from before there was an endpoint", "10.201.0.5", "10.201.0.5", 53, 53, 17, true},
		{"TCP", "10.201.0.5", "10.200.0.3", 53, 5353, 6, false},
		{"another service", "10.201.0.6", "10.200.0.3", 53, 5353, 17, false},
		{"to the node port", "192.0.2.1", "10.200.0.3", 30053, 5353, 17, true},
		{"to such a port of another machine", "198.51.100.1", "198.51.100.1", 30053, 30053, 17, false},
	} {
		if got := s.MatchConntrackFlow(flow(c.protocol, c.to, c.port, c.from, c.fromPort)); got != c.want {
			t.Errorf("%s: stale is %v, want %v", c.what, got, c.want)
		}
	}
}

func flow(protocol byte, to string, port uint16, from string, fromPort uint16) *netlink.ConntrackFlow {
	return &netlink.ConntrackFlow{
		Forward: netlink.IPTuple{Protocol: protocol, DstIP: net.ParseIP(to), DstPort: port},
		Reverse: netlink.IPTuple{Protocol: protocol, SrcIP: net.ParseIP(from), SrcPort: fromPort},
	}
}
