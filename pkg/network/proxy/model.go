// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// This file decides, purely, where the traffic of a Service goes. Everything here is linear in the endpoints of the one
// Service.

// servicePort is one port of one Service as this node serves it.
type servicePort struct {
	name       string // namespace/name:port, for people
	protocol   byte   // of IP
	port       uint16
	nodePort   uint16 // 0 if it has none
	clusterIPs []netip.Addr
	external   []netip.Addr // external IPs
	balancer   []netip.Addr // load balancer IPs
	restricted bool         // whether only sources may come by a load balancer IP
	sources    []netip.Prefix
	affinity   time.Duration // how long a client stays with an endpoint; 0 means not at all

	// internalLocal and externalLocal are the traffic policies Local.
	internalLocal, externalLocal bool
	// all are the endpoints of policy Cluster, local those of policy Local; both sorted.
	all, local []netip.AddrPort
}

func (p *servicePort) equal(o *servicePort) bool {
	return p.name == o.name && p.protocol == o.protocol && p.port == o.port && p.nodePort == o.nodePort &&
		p.affinity == o.affinity && p.restricted == o.restricted && p.internalLocal == o.internalLocal && p.externalLocal == o.externalLocal &&
		slices.Equal(p.clusterIPs, o.clusterIPs) && slices.Equal(p.external, o.external) && slices.Equal(p.balancer, o.balancer) &&
		slices.Equal(p.sources, o.sources) && slices.Equal(p.all, o.all) && slices.Equal(p.local, o.local)
}

// internal returns the endpoints that cluster IPs lead to.
func (p *servicePort) internal() []netip.AddrPort {
	if p.internalLocal {
		return p.local
	}
	return p.all
}

// place is where this node is, for topology hints.
type place struct{ node, zone string }

// servicePorts returns the ports of a Service; none if it is not for a proxy (headless, ExternalName, handled by another
// proxy). Addresses in own are left out: the node itself answers there.
func servicePorts(svc *corev1.Service, sliceList []*discoveryv1.EndpointSlice, here place, own []netip.Addr) []*servicePort {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	if _, other := svc.Labels["service.kubernetes.io/service-proxy-name"]; other {
		return nil
	}
	clusterIPs := slices.DeleteFunc(addresses(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...)), func(a netip.Addr) bool { return slices.Contains(own, a) })
	if len(clusterIPs) == 0 {
		return nil
	}
	var balancer []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			balancer = append(balancer, in.IP)
		}
	}
	var ports []*servicePort
	for _, sp := range svc.Spec.Ports {
		p := &servicePort{
			name: svc.Namespace + "/" + svc.Name, protocol: protocol(sp.Protocol), port: uint16(sp.Port),
			nodePort: uint16(sp.NodePort), clusterIPs: clusterIPs, external: addresses(svc.Spec.ExternalIPs),
			balancer: addresses(balancer), restricted: len(svc.Spec.LoadBalancerSourceRanges) > 0, sources: prefixes(svc.Spec.LoadBalancerSourceRanges),
			internalLocal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			externalLocal: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		if sp.Name != "" {
			p.name += ":" + sp.Name
		}
		if p.protocol == 0 {
			continue
		}
		if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			p.affinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
			if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
				p.affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
			}
		}
		found := endpointsOf(sp, sliceList)
		p.all = choose(found, here, func(e endpoint) bool { return true })
		p.local = choose(found, place{}, func(e endpoint) bool { return e.node == here.node })
		ports = append(ports, p)
	}
	return ports
}

// endpoint is one address of one port, with the conditions that decide about it.
type endpoint struct {
	addr               netip.AddrPort
	node               string
	ready, terminating bool // terminating: also still serving
	hints              *discoveryv1.EndpointHints
}

// endpointsOf returns the endpoints of a port in all slices, each address once.
func endpointsOf(sp corev1.ServicePort, sliceList []*discoveryv1.EndpointSlice) []endpoint {
	var found []endpoint
	seen := map[netip.AddrPort]bool{}
	for _, slice := range sliceList {
		if slice.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		for _, port := range slice.Ports {
			if value(port.Name) != sp.Name || port.Port == nil || (port.Protocol != nil && *port.Protocol != sp.Protocol) {
				continue
			}
			for _, e := range slice.Endpoints {
				ready := e.Conditions.Ready == nil || *e.Conditions.Ready
				serving := ready
				if e.Conditions.Serving != nil {
					serving = *e.Conditions.Serving
				}
				for _, ip := range addresses(e.Addresses[:min(1, len(e.Addresses))]) {
					addr := netip.AddrPortFrom(ip, uint16(*port.Port))
					if seen[addr] {
						continue
					}
					seen[addr] = true
					found = append(found, endpoint{
						addr: addr, node: value(e.NodeName), ready: ready,
						terminating: serving && value(e.Conditions.Terminating), hints: e.Hints,
					})
				}
			}
		}
	}
	return found
}

// choose returns the sorted addresses to use among those that want allows: the ready ones, narrowed to those hinted for
// this place, or else, so that a rollout drops no connection, those that terminate but still serve (KEP-1669).
func choose(found []endpoint, here place, want func(endpoint) bool) []netip.AddrPort {
	var ready, terminating []endpoint
	for _, e := range found {
		switch {
		case !want(e):
		case e.ready:
			ready = append(ready, e)
		case e.terminating:
			terminating = append(terminating, e)
		}
	}
	use := nearby(ready, here)
	if len(use) == 0 {
		use = terminating
	}
	addrs := make([]netip.AddrPort, len(use))
	for i, e := range use {
		addrs[i] = e.addr
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return addrs
}

// nearby narrows endpoints to those hinted for this node, or else for this zone. A kind of hint is used only if every
// endpoint has it and one at least names us (KEP-2433, KEP-3015).
func nearby(all []endpoint, here place) []endpoint {
	for _, names := range []func(*discoveryv1.EndpointHints) (names []string, ours string){
		func(h *discoveryv1.EndpointHints) (names []string, ours string) {
			for _, n := range h.ForNodes {
				names = append(names, n.Name)
			}
			return names, here.node
		},
		func(h *discoveryv1.EndpointHints) (names []string, ours string) {
			for _, z := range h.ForZones {
				names = append(names, z.Name)
			}
			return names, here.zone
		},
	} {
		var near []endpoint
		hinted := true
		for _, e := range all {
			if e.hints == nil {
				hinted = false
				break
			}
			list, ours := names(e.hints)
			if len(list) == 0 || ours == "" {
				hinted = false
				break
			}
			if slices.Contains(list, ours) {
				near = append(near, e)
			}
		}
		if hinted && len(near) > 0 {
			return near
		}
	}
	return all
}

// addresses parses the IPv4 addresses among texts, sorted, each once.
func addresses(texts []string) []netip.Addr {
	var found []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil && a.Is4() {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}

func prefixes(texts []string) []netip.Prefix {
	var found []netip.Prefix
	for _, t := range texts {
		if p, err := netip.ParsePrefix(strings.TrimSpace(t)); err == nil && p.Addr().Is4() {
			found = append(found, p.Masked())
		}
	}
	slices.SortFunc(found, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return found
}

func protocol(p corev1.Protocol) byte {
	switch p {
	case corev1.ProtocolTCP, "":
		return unix.IPPROTO_TCP
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return 0
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
