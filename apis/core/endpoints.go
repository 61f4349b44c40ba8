// SPDX-License-Identifier: Apache-2.0

// This file holds what Endpoints are.

package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsEndpoints fills in what Endpoints leave open.
func SetDefaultsEndpoints(endpoints *corev1.Endpoints) {
	for i := range endpoints.Subsets {
		for j := range endpoints.Subsets[i].Ports {
			setIfEmpty(&endpoints.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

// ValidateEndpoints checks new Endpoints.
func ValidateEndpoints(endpoints *corev1.Endpoints) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&endpoints.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	for i, subset := range endpoints.Subsets {
		p := field.NewPath("subsets").Index(i)
		if len(subset.Addresses) == 0 && len(subset.NotReadyAddresses) == 0 {
			l.Required(p, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range subset.Addresses {
			l.Add(validateEndpointAddress(p.Child("addresses").Index(j), &subset.Addresses[j]))
		}
		for j := range subset.NotReadyAddresses {
			l.Add(validateEndpointAddress(p.Child("notReadyAddresses").Index(j), &subset.NotReadyAddresses[j]))
		}
		for j, port := range subset.Ports {
			p := p.Child("ports").Index(j)
			if port.Name != "" {
				l.Add(check.DNSLabel(p.Child("name"), port.Name))
			} else if len(subset.Ports) > 1 {
				l.Required(p.Child("name"), "")
			}
			l.Each(p.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))
			l.Add(validateProtocol(p.Child("protocol"), port.Protocol))
			if port.AppProtocol != nil {
				l.Add(check.QualifiedName(p.Child("appProtocol"), *port.AppProtocol))
			}
		}
	}
	return l.Errors()
}

// ValidateEndpointsUpdate checks an update of Endpoints.
func ValidateEndpointsUpdate(endpoints, before *corev1.Endpoints) field.ErrorList {
	return append(check.MetadataUpdate(&endpoints.ObjectMeta, &before.ObjectMeta), ValidateEndpoints(endpoints)...)
}

func validateEndpointAddress(p *field.Path, address *corev1.EndpointAddress) field.ErrorList {
	var l check.List
	l.Add(check.IP(p.Child("ip"), address.IP))
	if address.Hostname != "" {
		l.Add(check.DNSLabel(p.Child("hostname"), address.Hostname))
	}
	if address.NodeName != nil {
		l.Each(p.Child("nodeName"), *address.NodeName, apivalidation.NameIsDNSSubdomain(*address.NodeName, false))
	}
	l.Add(check.EndpointIP(p.Child("ip"), address.IP))
	return l.Errors()
}
