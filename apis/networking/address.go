// SPDX-License-Identifier: Apache-2.0

// This file says how services hold their cluster addresses (KEP-1880): by an IPAddress of the address's name, within a ServiceCIDR.

package networking

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceAddressManager is who IPAddresses of services say that they are managed by.
const ServiceAddressManager = "ipallocator.k8s.io"

// NewServiceAddress returns the IPAddress by which the service of that name holds addr.
func NewServiceAddress(addr netip.Addr, namespace, name string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name:   addr.String(),
			Labels: map[string]string{networkingv1.LabelIPAddressFamily: string(AddressFamily(addr)), networkingv1.LabelManagedBy: ServiceAddressManager},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: name}},
	}
}

// AddressFamily is the family of addr.
func AddressFamily(addr netip.Addr) corev1.IPFamily {
	if addr.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// GivesAddress says whether a service can have addr of the ServiceCIDR: one of its prefixes contains it, and it is neither the network's own
// address nor, of IPv4, the broadcast address.
func GivesAddress(cidr *networkingv1.ServiceCIDR, addr netip.Addr) bool {
	for _, text := range cidr.Spec.CIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || !prefix.Contains(addr) || prefix.Masked().Addr() == addr {
			continue
		}
		if addr.Is4() && !prefix.Contains(addr.Next()) { // the last of the prefix
			continue
		}
		return true
	}
	return false
}
