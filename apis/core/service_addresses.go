// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for the addresses and IP families of a Service, and for how they may change: the first
// address stays, a second one may be added or released.

package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateServiceClusterIPs checks what a client says of addresses and families, before any is allocated. before is the service as it was, and
// empty for a new one.
func ValidateServiceClusterIPs(service, before *corev1.Service) field.ErrorList {
	return validateClusterIPs(field.NewPath("spec"), &service.Spec, &before.Spec)
}

// validateClusterIPs checks addresses and families of a service.
func validateClusterIPs(p *field.Path, spec, before *corev1.ServiceSpec) field.ErrorList {
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var l check.List
	ips := p.Child("clusterIPs")
	switch {
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		l.Required(ips, "")
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		l.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`")
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		l.Invalid(ips, spec.ClusterIPs, "must be empty when `clusterIP` is not specified")
	}
	families := sets.New[corev1.IPFamily]()
	for i, family := range spec.IPFamilies {
		l.Add(check.OneOf(p.Child("ipFamilies").Index(i), family, corev1.IPv4Protocol, corev1.IPv6Protocol))
		if families.Has(family) {
			l.Duplicate(p.Child("ipFamilies").Index(i), family)
		}
		families.Insert(family)
	}
	if policy := spec.IPFamilyPolicy; policy != nil {
		l.Add(check.OneOf(p.Child("ipFamilyPolicy"), *policy,
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack))
	}
	invalid := false
	for i, ip := range spec.ClusterIPs {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				invalid = true
				l.Invalid(ips, spec.ClusterIPs, "'None' must be the first and only value")
			}
			continue
		}
		errs := check.IP(ips.Index(i), ip, before.ClusterIPs...)
		invalid = invalid || len(errs) > 0
		l.Add(errs)
	}
	if len(spec.ClusterIPs) > 2 {
		l.Invalid(ips, spec.ClusterIPs, "may only hold up to 2 values")
	}
	if invalid {
		return l.Errors()
	}
	if len(spec.ClusterIPs) > 1 {
		if dualStack, err := netutils.IsDualStackIPStrings(spec.ClusterIPs); err != nil || !dualStack {
			l.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family")
		}
	}
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone || i >= len(spec.IPFamilies) {
			break
		}
		switch family := spec.IPFamilies[i]; {
		case family == corev1.IPv4Protocol && netutils.IsIPv6String(ip), family == corev1.IPv6Protocol && !netutils.IsIPv6String(ip):
			l.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", family, i))
		}
	}
	return l.Errors()
}

func validateClusterIPsUpdate(p *field.Path, spec, before *corev1.ServiceSpec) field.ErrorList {
	if spec.Type == corev1.ServiceTypeExternalName || before.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var l check.List
	ips, now, older := p.Child("clusterIPs"), spec.ClusterIPs, before.ClusterIPs
	if len(now) == len(older) {
		for i := range older {
			if older[i] != now[i] {
				l.Invalid(ips.Index(i), now, "may not change once set")
			}
		}
		return l.Errors()
	}
	if len(now) == 0 {
		l.Invalid(ips.Index(0), now, "primary clusterIP can not be unset")
	} else if len(older) > 0 && now[0] != older[0] {
		l.Invalid(ips.Index(0), now, "may not change once set")
	}
	if len(now) == 1 && len(older) > 1 {
		l.Add(validateReleaseSecondary(p, spec, "clusterIP"))
	}
	return l.Errors()
}

func validateIPFamiliesUpdate(p *field.Path, spec, before *corev1.ServiceSpec) field.ErrorList {
	headless := len(spec.ClusterIPs) == 1 && spec.ClusterIPs[0] == corev1.ClusterIPNone
	wasHeadless := len(before.ClusterIPs) == 1 && before.ClusterIPs[0] == corev1.ClusterIPNone
	if spec.Type == corev1.ServiceTypeExternalName || before.Type == corev1.ServiceTypeExternalName || headless || wasHeadless {
		return nil
	}
	var l check.List
	first, now, older := p.Child("ipFamilies").Index(0), spec.IPFamilies, before.IPFamilies
	if len(now) == len(older) {
		for i := range older {
			if older[i] != now[i] {
				l.Invalid(first, now, "may not change once set")
			}
		}
		return l.Errors()
	}
	if len(now) < len(older) && len(spec.ClusterIPs) == 0 {
		l.Invalid(first, now, "primary ipFamily can not be unset")
	}
	if len(now) > 0 && len(older) > 0 && now[0] != older[0] {
		l.Invalid(first, spec.ClusterIPs, "may not change once set")
	}
	if len(now) == 1 && len(older) > 1 {
		l.Add(validateReleaseSecondary(p, spec, "ipFamily"))
	}
	return l.Errors()
}

func validateReleaseSecondary(p *field.Path, spec *corev1.ServiceSpec, what string) field.ErrorList {
	if spec.IPFamilyPolicy != nil && *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("ipFamilyPolicy"), spec.IPFamilyPolicy,
		fmt.Sprintf("must be set to 'SingleStack' when releasing the secondary %s", what))}
}
