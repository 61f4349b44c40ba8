// SPDX-License-Identifier: Apache-2.0

// Package discovery says what an EndpointSlice is. A slice holds at most 1000 endpoints; validation is linear in them.
package discovery

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

const (
	maxEndpoints = 1000
	maxAddresses = 100
	maxPorts     = 20000
	maxTopology  = 16
	maxHints     = 8
)

// SetDefaultsEndpointSlice fills in what ports leave open.
func SetDefaultsEndpointSlice(slice *discoveryv1.EndpointSlice) {
	for i := range slice.Ports {
		port := &slice.Ports[i]
		if port.Name == nil {
			port.Name = ptr.To("")
		}
		if port.Protocol == nil {
			port.Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

// PrepareEndpointSliceForCreate takes out the topology of an older version of the API.
func PrepareEndpointSliceForCreate(slice *discoveryv1.EndpointSlice) {
	for i := range slice.Endpoints {
		slice.Endpoints[i].DeprecatedTopology = nil
	}
}

// PrepareEndpointSliceForUpdate does what PrepareEndpointSliceForCreate does, if endpoints changed at all.
func PrepareEndpointSliceForUpdate(slice, before *discoveryv1.EndpointSlice) {
	if !equality.Semantic.DeepEqual(slice.Endpoints, before.Endpoints) {
		PrepareEndpointSliceForCreate(slice)
	}
}

// EndpointSliceChanged tells whether an update counts as a new generation: content and labels do, other metadata does
// not.
func EndpointSliceChanged(slice, before *discoveryv1.EndpointSlice) bool {
	return slice.AddressType != before.AddressType || !equality.Semantic.DeepEqual(slice.Endpoints, before.Endpoints) ||
		!equality.Semantic.DeepEqual(slice.Ports, before.Ports) || !equality.Semantic.DeepEqual(slice.Labels, before.Labels)
}

// ValidateEndpointSlice checks a new EndpointSlice.
func ValidateEndpointSlice(slice *discoveryv1.EndpointSlice) field.ErrorList {
	return append(validateSlice(slice), validateEndpoints(slice)...)
}

// validateSlice checks all but the endpoints.
func validateSlice(slice *discoveryv1.EndpointSlice) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&slice.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(check.RequiredOneOf(field.NewPath("addressType"), slice.AddressType,
		discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6))
	l.Add(validatePorts(field.NewPath("ports"), slice.Ports))
	return l.Errors()
}

func validateEndpoints(slice *discoveryv1.EndpointSlice) field.ErrorList {
	var l check.List
	p := field.NewPath("endpoints")
	if n := len(slice.Endpoints); n > maxEndpoints {
		l.TooMany(p, n, maxEndpoints)
		return l.Errors()
	}
	for i := range slice.Endpoints {
		l.Add(validateEndpoint(p.Index(i), &slice.Endpoints[i], slice.AddressType))
	}
	return l.Errors()
}

// ValidateEndpointSliceUpdate checks an update of an EndpointSlice. Endpoints that stay as they are need not be what they must be now.
func ValidateEndpointSliceUpdate(slice, before *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateSlice(slice)
	if wrong := validateEndpoints(slice); len(wrong) > 0 && !equality.Semantic.DeepEqual(slice.Endpoints, before.Endpoints) {
		errs = append(errs, wrong...)
	}
	return append(errs, check.Immutable(field.NewPath("addressType"), slice.AddressType, before.AddressType)...)
}

func validatePorts(p *field.Path, ports []discoveryv1.EndpointPort) field.ErrorList {
	var l check.List
	if n := len(ports); n > maxPorts {
		l.TooMany(p, n, maxPorts)
		return l.Errors()
	}
	names := map[string]bool{}
	for i, port := range ports {
		p := p.Index(i)
		name := ptr.Deref(port.Name, "")
		if name != "" {
			l.Add(check.DNSLabel(p.Child("name"), name))
		}
		if names[name] {
			l.Duplicate(p.Child("name"), port.Name)
		}
		names[name] = true
		if port.Protocol == nil {
			l.Required(p.Child("protocol"), "")
		} else {
			l.Add(check.OneOf(p.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP))
		}
		if port.AppProtocol != nil {
			l.Add(check.QualifiedName(p.Child("appProtocol"), *port.AppProtocol))
		}
	}
	return l.Errors()
}

func validateEndpoint(p *field.Path, endpoint *discoveryv1.Endpoint, kind discoveryv1.AddressType) field.ErrorList {
	var l check.List
	at := p.Child("addresses")
	if n := len(endpoint.Addresses); n == 0 {
		l.Required(at, "must contain at least 1 address")
	} else if n > maxAddresses {
		l.TooMany(at, n, maxAddresses)
	}
	for i, address := range endpoint.Addresses {
		switch kind {
		case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
			if errs := validateIP(at.Index(i), address, kind); len(errs) > 0 {
				l.Add(errs)
				continue
			}
			if kind == discoveryv1.AddressTypeIPv4 && !netutils.IsIPv4String(address) || kind == discoveryv1.AddressTypeIPv6 && !netutils.IsIPv6String(address) {
				l.Invalid(at, address, "must be an "+string(kind)+" address")
			}
			l.Add(check.EndpointIP(at.Index(i), address))
		case discoveryv1.AddressTypeFQDN:
			l.Add(validation.IsFullyQualifiedDomainName(at.Index(i), address))
		}
	}
	if name := endpoint.NodeName; name != nil {
		l.Each(p.Child("nodeName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))
	}
	if n := len(endpoint.DeprecatedTopology); n > maxTopology {
		l.TooMany(p.Child("deprecatedTopology"), n, maxTopology)
	}
	l.Add(check.Labels(p.Child("deprecatedTopology"), endpoint.DeprecatedTopology))
	if endpoint.Hostname != nil {
		l.Add(check.DNSLabel(p.Child("hostname"), *endpoint.Hostname))
	}
	if endpoint.Hints != nil {
		l.Add(validateHints(p.Child("hints"), endpoint.Hints))
	}
	return l.Errors()
}

func validateIP(p *field.Path, address string, kind discoveryv1.AddressType) field.ErrorList {
	if kind == discoveryv1.AddressTypeIPv6 {
		return validation.IsValidIP(p, address)
	}
	return check.IP(p, address)
}

func validateHints(p *field.Path, hints *discoveryv1.EndpointHints) field.ErrorList {
	var l check.List
	var zones, nodes []string
	for _, zone := range hints.ForZones {
		zones = append(zones, zone.Name)
	}
	for _, node := range hints.ForNodes {
		nodes = append(nodes, node.Name)
	}
	for _, list := range []struct {
		path     *field.Path
		names    []string
		problems func(string) []string
	}{
		{p.Child("forZones"), zones, validation.IsValidLabelValue},
		{p.Child("forNodes"), nodes, func(name string) []string { return apivalidation.NameIsDNSSubdomain(name, false) }},
	} {
		if n := len(list.names); n > maxHints {
			l.TooMany(list.path, n, maxHints)
			return l.Errors()
		}
		for i, name := range list.names {
			p := list.path.Index(i).Child("name")
			if slices.Contains(list.names[:i], name) {
				l.Duplicate(p, name)
			}
			l.Each(p, name, list.problems(name))
		}
	}
	return l.Errors()
}
