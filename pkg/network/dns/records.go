// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/pkg/network/endpoints"
)

const (
	ttl = 5 // seconds, of every record of the cluster
	// specVersion of the Kubernetes DNS specification that is followed.
	specVersion = "1.1.0"

	byClusterIP = "hivemind.clusterIP"
	byAddress   = "hivemind.address"
)

// zone answers for the cluster's names from the informers' stores. Nothing is copied: an answer is put together when it
// is asked for, in time linear in the endpoints of the one service.
type zone struct {
	origin   string // "cluster.local."
	address  netip.Addr
	services cache.Indexer
	slices   cache.Indexer
}

// result is what is known of a name. A name that exists but has nothing of the type asked for has neither records nor
// an error (NODATA).
type result struct {
	exists bool
	answer []dns.RR
	extra  []dns.RR
	// follow is the name that answer's last record, a CNAME, leads to.
	follow string
}

// index adds what reverse lookups need to the informers.
func index(services, sliceInformer cache.SharedIndexInformer) error {
	if err := endpoints.Index(sliceInformer); err != nil {
		return err
	}
	for _, i := range []struct {
		informer cache.SharedIndexInformer
		name     string
		keys     func(obj any) []string
	}{
		{services, byClusterIP, func(obj any) []string {
			svc, ok := obj.(*corev1.Service)
			if !ok || !hasClusterIP(svc) {
				return nil
			}
			return svc.Spec.ClusterIPs
		}},
		{sliceInformer, byAddress, func(obj any) (keys []string) {
			slice, ok := obj.(*discoveryv1.EndpointSlice)
			if !ok {
				return nil
			}
			if _, headless := slice.Labels[corev1.IsHeadlessService]; !headless {
				return nil
			}
			for _, e := range slice.Endpoints {
				keys = append(keys, e.Addresses...)
			}
			return keys
		}},
	} {
		if _, ok := i.informer.GetIndexer().GetIndexers()[i.name]; ok {
			continue
		}
		err := i.informer.AddIndexers(cache.Indexers{i.name: func(obj any) ([]string, error) { return i.keys(obj), nil }})
		if err != nil {
			return fmt.Errorf("index %s for DNS: %w", i.name, err)
		}
	}
	return nil
}

// lookup answers for a name below the origin; name is in lower case, owner as it was asked.
func (z *zone) lookup(name, owner string, qtype uint16) (result, error) {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, z.origin))
	n := len(labels)
	switch {
	case n == 0:
		return z.apex(owner, qtype), nil
	case n == 1 && labels[0] == "dns-version":
		r := result{exists: true}
		if qtype == dns.TypeTXT {
			r.answer = []dns.RR{&dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: []string{specVersion}}}
		}
		return r, nil
	case labels[n-1] == "dns" && (n == 1 || n == 2 && labels[0] == "ns"):
		r := result{exists: true}
		if n == 2 {
			r.answer = z.addressRecords(owner, qtype, []netip.Addr{z.address})
		}
		return r, nil
	case labels[n-1] == "pod":
		return z.pod(labels[:n-1], owner, qtype), nil
	case labels[n-1] == "svc":
		return z.service(labels[:n-1], owner, qtype)
	}
	return result{}, nil
}

// apex is the zone itself.
func (z *zone) apex(owner string, qtype uint16) result {
	r := result{exists: true}
	switch qtype {
	case dns.TypeSOA:
		r.answer = []dns.RR{z.soa()}
	case dns.TypeNS:
		r.answer = []dns.RR{&dns.NS{Hdr: header(owner, dns.TypeNS), Ns: "ns.dns." + z.origin}}
		r.extra = z.addressRecords("ns.dns."+z.origin, dns.TypeA, []netip.Addr{z.address})
	}
	return r
}

// pod is a-b-c-d.namespace.pod: the address that the name spells.
func (z *zone) pod(labels []string, owner string, qtype uint16) result {
	switch len(labels) {
	case 0, 1:
		return result{exists: true}
	case 2:
		if ip, ok := spelled(labels[0]); ok {
			return result{exists: true, answer: z.addressRecords(owner, qtype, []netip.Addr{ip})}
		}
	}
	return result{}
}

// service is everything below svc: namespace, service.namespace, host.service.namespace, _port._protocol.service.namespace.
func (z *zone) service(labels []string, owner string, qtype uint16) (result, error) {
	n := len(labels)
	if n == 0 {
		return result{exists: true}, nil
	}
	namespace := labels[n-1]
	if n == 1 {
		keys, err := z.services.IndexKeys(cache.NamespaceIndex, namespace)
		return result{exists: len(keys) > 0}, err
	}
	obj, ok, err := z.services.GetByKey(namespace + "/" + labels[n-2])
	if err != nil || !ok {
		return result{}, err
	}
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return result{}, nil
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		if n > 2 {
			return result{}, nil
		}
		target := dns.Fqdn(svc.Spec.ExternalName)
		return result{exists: true, follow: target, answer: []dns.RR{&dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: target}}}, nil
	}
	if !hasClusterIP(svc) && svc.Spec.ClusterIP != corev1.ClusterIPNone {
		return result{}, nil // not allocated yet
	}
	switch n {
	case 2:
		return z.wholeService(svc, owner, qtype)
	case 3:
		if strings.HasPrefix(labels[0], "_") {
			return result{exists: slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return protocolLabel(p.Protocol) == labels[0] })}, nil
		}
		return z.host(svc, labels[0], owner, qtype)
	case 4:
		return z.port(svc, labels[0], labels[1], owner, qtype)
	}
	return result{}, nil
}

func (z *zone) wholeService(svc *corev1.Service, owner string, qtype uint16) (result, error) {
	r := result{exists: true}
	if qtype == dns.TypeSRV {
		return z.srv(svc, owner, func(string, corev1.Protocol) bool { return true })
	}
	if hasClusterIP(svc) {
		r.answer = z.addressRecords(owner, qtype, parse(svc.Spec.ClusterIPs))
		return r, nil
	}
	hosts, err := z.hosts(svc)
	if err != nil {
		return r, err
	}
	var ips []netip.Addr
	for _, h := range hosts {
		ips = append(ips, h.ip)
	}
	r.answer = z.addressRecords(owner, qtype, ips)
	rand.Shuffle(len(r.answer), func(i, j int) { r.answer[i], r.answer[j] = r.answer[j], r.answer[i] })
	return r, nil
}

// host is one endpoint of a service by its host name, or by its address with dashes.
func (z *zone) host(svc *corev1.Service, label, owner string, qtype uint16) (result, error) {
	hosts, err := z.hosts(svc)
	if err != nil {
		return result{}, err
	}
	var ips []netip.Addr
	for _, h := range hosts {
		if h.name == label {
			ips = append(ips, h.ip)
		}
	}
	return result{exists: len(ips) > 0, answer: z.addressRecords(owner, qtype, ips)}, nil
}

// port is _port._protocol of a service.
func (z *zone) port(svc *corev1.Service, port, protocol, owner string, qtype uint16) (result, error) {
	r, err := z.srv(svc, owner, func(name string, p corev1.Protocol) bool {
		return name != "" && "_"+name == port && protocolLabel(p) == protocol
	})
	if qtype != dns.TypeSRV {
		r.answer, r.extra = nil, nil
	}
	return r, err
}

// srv returns SRV records of the ports that want allows, and the addresses of their targets.
func (z *zone) srv(svc *corev1.Service, owner string, want func(name string, p corev1.Protocol) bool) (result, error) {
	var r result
	add := func(port int32, target string) {
		r.answer = append(r.answer, &dns.SRV{Hdr: header(owner, dns.TypeSRV), Port: uint16(port), Target: target})
	}
	for _, p := range svc.Spec.Ports {
		r.exists = r.exists || want(p.Name, p.Protocol)
	}
	if hasClusterIP(svc) {
		target := svc.Name + "." + svc.Namespace + ".svc." + z.origin
		for _, p := range svc.Spec.Ports {
			if want(p.Name, p.Protocol) {
				add(p.Port, target)
			}
		}
		if len(r.answer) > 0 {
			r.extra = z.anyAddressRecords(target, parse(svc.Spec.ClusterIPs))
		}
	} else {
		hosts, err := z.hosts(svc)
		if err != nil {
			return r, err
		}
		for _, h := range hosts {
			target := h.name + "." + svc.Name + "." + svc.Namespace + ".svc." + z.origin
			named := false
			for _, p := range h.ports {
				if p.Port == nil || !want(value(p.Name), value(p.Protocol)) {
					continue
				}
				add(*p.Port, target)
				named = true
			}
			if named {
				r.extra = append(r.extra, z.anyAddressRecords(target, []netip.Addr{h.ip})...)
			}
		}
	}
	for _, rr := range r.answer {
		rr.(*dns.SRV).Weight = uint16(max(1, 100/len(r.answer)))
	}
	return r, nil
}

// reverse answers what names an address has in the cluster.
func (z *zone) reverse(ip netip.Addr, owner string) ([]dns.RR, error) {
	var records []dns.RR
	add := func(name string) {
		records = append(records, &dns.PTR{Hdr: header(owner, dns.TypePTR), Ptr: name + ".svc." + z.origin})
	}
	found, err := z.services.ByIndex(byClusterIP, ip.String())
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if svc, ok := o.(*corev1.Service); ok {
			add(svc.Name + "." + svc.Namespace)
		}
	}
	if found, err = z.slices.ByIndex(byAddress, ip.String()); err != nil {
		return nil, err
	}
	for _, o := range found {
		slice, ok := o.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		for _, e := range slice.Endpoints {
			if ready(e) && slices.Contains(e.Addresses, ip.String()) {
				add(hostName(e, ip) + "." + slice.Labels[discoveryv1.LabelServiceName] + "." + slice.Namespace)
			}
		}
	}
	return records, nil
}

// soa is the zone's authority, which says for how long nothing is to be remembered.
func (z *zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.origin, dns.TypeSOA), Ns: "ns.dns." + z.origin, Mbox: "hostmaster." + z.origin,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

// host is a ready endpoint.
type host struct {
	name  string
	ip    netip.Addr
	ports []discoveryv1.EndpointPort
}

// hosts returns a service's ready endpoints, each address once.
func (z *zone) hosts(svc *corev1.Service) ([]host, error) {
	list, err := endpoints.Of(z.slices, svc.Namespace, svc.Name)
	if err != nil {
		return nil, err
	}
	var hosts []host
	seen := map[netip.Addr]bool{}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if !ready(e) {
				continue
			}
			for _, ip := range parse(e.Addresses) {
				if !seen[ip] {
					seen[ip] = true
					hosts = append(hosts, host{hostName(e, ip), ip, slice.Ports})
				}
			}
		}
	}
	return hosts, nil
}

func (z *zone) addressRecords(owner string, qtype uint16, ips []netip.Addr) []dns.RR {
	var records []dns.RR
	for _, ip := range ips {
		switch {
		case qtype == dns.TypeA && ip.Is4():
			records = append(records, &dns.A{Hdr: header(owner, dns.TypeA), A: ip.AsSlice()})
		case qtype == dns.TypeAAAA && ip.Is6():
			records = append(records, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: ip.AsSlice()})
		}
	}
	return records
}

func (z *zone) anyAddressRecords(owner string, ips []netip.Addr) []dns.RR {
	return append(z.addressRecords(owner, dns.TypeA, ips), z.addressRecords(owner, dns.TypeAAAA, ips)...)
}

func header(owner string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// hostName is an endpoint's host name, or else its address with dashes.
func hostName(e discoveryv1.Endpoint, ip netip.Addr) string {
	if name := value(e.Hostname); name != "" {
		return name
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(ip.String())
}

// spelled reads an address in which dashes stand for dots or colons.
func spelled(label string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return ip, true
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return ip, err == nil
}

func ready(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

func hasClusterIP(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

func protocolLabel(p corev1.Protocol) string {
	if p == "" {
		p = corev1.ProtocolTCP
	}
	return "_" + strings.ToLower(string(p))
}

func parse(texts []string) []netip.Addr {
	var ips []netip.Addr
	for _, t := range texts {
		if ip, err := netip.ParseAddr(t); err == nil {
			ips = append(ips, ip.Unmap())
		}
	}
	return ips
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
