// SPDX-License-Identifier: Apache-2.0

// This file holds NetworkPolicy, and IPAddress and ServiceCIDR, which the allocation of service addresses is kept in.

package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsNetworkPolicy fills in protocols, and the types of policy from the rules that are there.
func SetDefaultsNetworkPolicy(policy *networkingv1.NetworkPolicy) {
	if len(policy.Spec.PolicyTypes) == 0 {
		policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(policy.Spec.Egress) > 0 {
			policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	ports := func(ports []networkingv1.NetworkPolicyPort) {
		for i := range ports {
			if ports[i].Protocol == nil {
				ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
			}
		}
	}
	for i := range policy.Spec.Ingress {
		ports(policy.Spec.Ingress[i].Ports)
	}
	for i := range policy.Spec.Egress {
		ports(policy.Spec.Egress[i].Ports)
	}
}

// ValidateNetworkPolicy checks a new NetworkPolicy.
func ValidateNetworkPolicy(policy *networkingv1.NetworkPolicy) field.ErrorList {
	return append(check.Metadata(&policy.ObjectMeta, apivalidation.NameIsDNSSubdomain), validatePolicySpec(&policy.Spec)...)
}

// ValidateNetworkPolicyUpdate checks an update of a NetworkPolicy.
func ValidateNetworkPolicyUpdate(policy, before *networkingv1.NetworkPolicy) field.ErrorList {
	return append(check.MetadataUpdate(&policy.ObjectMeta, &before.ObjectMeta), validatePolicySpec(&policy.Spec)...)
}

func validatePolicySpec(spec *networkingv1.NetworkPolicySpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.LabelSelector(p.Child("podSelector"), &spec.PodSelector))
	rule := func(p *field.Path, ports []networkingv1.NetworkPolicyPort, peersName string, peers []networkingv1.NetworkPolicyPeer) {
		for i := range ports {
			l.Add(validatePolicyPort(p.Child("ports").Index(i), &ports[i]))
		}
		for i := range peers {
			l.Add(validatePeer(p.Child(peersName).Index(i), &peers[i]))
		}
	}
	for i, ingress := range spec.Ingress {
		rule(p.Child("ingress").Index(i), ingress.Ports, "from", ingress.From)
	}
	for i, egress := range spec.Egress {
		rule(p.Child("egress").Index(i), egress.Ports, "to", egress.To)
	}
	if len(spec.PolicyTypes) > 2 {
		l.Invalid(p.Child("policyTypes"), &spec.PolicyTypes, "may not specify more than two policyTypes")
		return l.Errors()
	}
	for i, kind := range spec.PolicyTypes {
		l.Add(check.OneOf(p.Child("policyTypes").Index(i), kind, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
	}
	return l.Errors()
}

func validatePolicyPort(p *field.Path, port *networkingv1.NetworkPolicyPort) field.ErrorList {
	var l check.List
	if port.Protocol != nil {
		l.Add(check.OneOf(p.Child("protocol"), *port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
	}
	end := p.Child("endPort")
	switch {
	case port.Port == nil:
		if port.EndPort != nil {
			l.Invalid(end, *port.EndPort, "may not be specified when `port` is not specified")
		}
	case port.Port.Type == intstr.Int:
		l.Each(p.Child("port"), port.Port.IntVal, validation.IsValidPortNum(int(port.Port.IntVal)))
		if port.EndPort != nil {
			if *port.EndPort < port.Port.IntVal {
				l.Invalid(end, port.Port.IntVal, "must be greater than or equal to `port`")
			}
			l.Each(end, *port.EndPort, validation.IsValidPortNum(int(*port.EndPort)))
		}
	default:
		if port.EndPort != nil {
			l.Invalid(end, *port.EndPort, "may not be specified when `port` is non-numeric")
		}
		l.Each(p.Child("port"), port.Port.StrVal, validation.IsValidPortName(port.Port.StrVal))
	}
	return l.Errors()
}

func validatePeer(p *field.Path, peer *networkingv1.NetworkPolicyPeer) field.ErrorList {
	var l check.List
	selects := peer.PodSelector != nil || peer.NamespaceSelector != nil
	l.Add(check.LabelSelector(p.Child("podSelector"), peer.PodSelector))
	l.Add(check.LabelSelector(p.Child("namespaceSelector"), peer.NamespaceSelector))
	if peer.IPBlock != nil {
		l.Add(validateIPBlock(p.Child("ipBlock"), peer.IPBlock))
	}
	switch {
	case !selects && peer.IPBlock == nil:
		l.Required(p, "must specify a peer")
	case selects && peer.IPBlock != nil:
		l.Forbidden(p, "may not specify both ipBlock and another peer")
	}
	return l.Errors()
}

func validateIPBlock(p *field.Path, block *networkingv1.IPBlock) field.ErrorList {
	var l check.List
	if block.CIDR == "" {
		l.Required(p.Child("cidr"), "")
		return l.Errors()
	}
	l.Add(check.CIDR(p.Child("cidr"), block.CIDR))
	_, whole, err := netutils.ParseCIDRSloppy(block.CIDR)
	if err != nil {
		return l.Errors() // Said already, by check.CIDR.
	}
	for i, cidr := range block.Except {
		p := p.Child("except").Index(i)
		l.Add(check.CIDR(p, cidr))
		_, part, err := netutils.ParseCIDRSloppy(cidr)
		if err != nil {
			continue
		}
		wholeBits, _ := whole.Mask.Size()
		partBits, _ := part.Mask.Size()
		if !whole.Contains(part.IP) || wholeBits >= partBits {
			l.Invalid(p, cidr, "must be a strict subset of `cidr`")
		}
	}
	return l.Errors()
}

// ValidateIPAddress checks a new IPAddress, whose name is the address.
func ValidateIPAddress(address *networkingv1.IPAddress) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&address.ObjectMeta, func(name string, _ bool) []string {
		var problems []string
		for _, err := range validation.IsValidIP(&field.Path{}, name) {
			problems = append(problems, err.Detail)
		}
		return problems
	}))
	p, ref := field.NewPath("spec", "parentRef"), address.Spec.ParentRef
	if ref == nil {
		l.Required(p, "")
		return l.Errors()
	}
	if ref.Group != "" {
		l.Each(p.Child("group"), ref.Group, validation.IsDNS1123Subdomain(ref.Group))
	}
	for _, f := range []struct {
		name, value string
		needed      bool
	}{{"resource", ref.Resource, true}, {"name", ref.Name, true}, {"namespace", ref.Namespace, false}} {
		if f.value != "" {
			l.Each(p.Child(f.name), f.value, check.PathSegmentName(f.value, false))
		} else if f.needed {
			l.Required(p.Child(f.name), "")
		}
	}
	return l.Errors()
}

// ValidateIPAddressUpdate checks an update of an IPAddress: it never passes to another object.
func ValidateIPAddressUpdate(address, before *networkingv1.IPAddress) field.ErrorList {
	errs := append(ValidateIPAddress(address), check.MetadataUpdate(&address.ObjectMeta, &before.ObjectMeta)...)
	return append(errs, check.Immutable(field.NewPath("spec", "parentRef"), address.Spec.ParentRef, before.Spec.ParentRef)...)
}

// ValidateServiceCIDR checks a new ServiceCIDR: one subnet, or one of each family.
func ValidateServiceCIDR(cidr *networkingv1.ServiceCIDR) field.ErrorList {
	return append(check.ClusterMetadata(&cidr.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateServiceCIDRs(&cidr.Spec)...)
}

func validateServiceCIDRs(spec *networkingv1.ServiceCIDRSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec", "cidrs")
	switch len(spec.CIDRs) {
	case 0:
		l.Required(p, "at least one CIDR required")
		return l.Errors()
	case 1, 2:
	default:
		l.Invalid(p, spec, "may only hold up to 2 values")
		return l.Errors()
	}
	for i, cidr := range spec.CIDRs {
		l.Add(validation.IsValidCIDR(p.Index(i), cidr))
	}
	if len(spec.CIDRs) == 2 {
		family := netutils.IPFamilyOfCIDRString(spec.CIDRs[0])
		if family != netutils.IPFamilyUnknown && family == netutils.IPFamilyOfCIDRString(spec.CIDRs[1]) {
			l.Invalid(p, spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
	return l.Errors()
}

// ValidateServiceCIDRUpdate checks an update of a ServiceCIDR: a second subnet may be added, nothing may go.
func ValidateServiceCIDRUpdate(cidr, before *networkingv1.ServiceCIDR) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&cidr.ObjectMeta, &before.ObjectMeta))
	p, now, older := field.NewPath("spec", "cidrs"), cidr.Spec.CIDRs, before.Spec.CIDRs
	if len(now) != len(older) && !(len(older) == 1 && len(now) == 2) {
		l.Invalid(p, now, apivalidation.FieldImmutableErrorMsg)
		return l.Errors()
	}
	for i := range older {
		if now[i] != older[i] {
			l.Invalid(p.Index(i), now[i], apivalidation.FieldImmutableErrorMsg)
		}
	}
	if len(now) > len(older) {
		l.Add(validateServiceCIDRs(&cidr.Spec))
	}
	return l.Errors()
}

// ValidateServiceCIDRStatusUpdate checks an update of a ServiceCIDR's status.
func ValidateServiceCIDRStatusUpdate(cidr, before *networkingv1.ServiceCIDR) field.ErrorList {
	return check.MetadataUpdate(&cidr.ObjectMeta, &before.ObjectMeta)
}
