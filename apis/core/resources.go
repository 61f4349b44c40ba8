// SPDX-License-Identifier: Apache-2.0

// This file holds what is known about resource names, the rules for requests and limits, and the quality-of-service
// class that follows from them. Each is linear in the number of resources and containers.

package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PodQOSClass returns the class that requests and limits of the pod's containers, or of the pod itself, put it in:
// Guaranteed when each has cpu and memory limits equal to its requests, BestEffort when nothing is asked for.
func PodQOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	count := func(r corev1.ResourceRequirements) {
		addCompute(requests, r.Requests)
		if addCompute(limits, r.Limits) < 2 {
			guaranteed = false
		}
	}
	if own := pod.Spec.Resources; own != nil {
		addCompute(requests, own.Requests)
		if addCompute(limits, own.Limits) < 2 && len(own.Limits) > 0 {
			guaranteed = false
		}
	} else {
		for i := range pod.Spec.Containers {
			count(pod.Spec.Containers[i].Resources)
		}
		for i := range pod.Spec.InitContainers {
			count(pod.Spec.InitContainers[i].Resources)
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	if !guaranteed || len(requests) != len(limits) {
		return corev1.PodQOSBurstable
	}
	for name, request := range requests {
		if limit, ok := limits[name]; !ok || limit.Cmp(request) != 0 {
			return corev1.PodQOSBurstable
		}
	}
	return corev1.PodQOSGuaranteed
}

// addCompute adds cpu and memory of list to sum and returns how many of the two are there.
func addCompute(sum, list corev1.ResourceList) int {
	found := 0
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		quantity, ok := list[name]
		if !ok || quantity.Sign() <= 0 {
			continue
		}
		found++
		total := sum[name]
		total.Add(quantity)
		sum[name] = total
	}
	return found
}

func isHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func isQuotaHugePage(name corev1.ResourceName) bool {
	return isHugePage(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// isNative tells whether Kubernetes itself knows the resource: its name has no domain, or kubernetes.io.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtendedResource tells whether the resource is a device plugin's or an operator's.
func IsExtendedResource(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

func overcommitAllowed(name corev1.ResourceName) bool { return isNative(name) && !isHugePage(name) }

// isCounted tells whether the resource counts objects, which must come in whole numbers.
func isCounted(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return false
}

func isContainerResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || isHugePage(name)
}

func isQuotaResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage,
		corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
		corev1.ResourceLimitsEphemeralStorage:
		return true
	}
	return isCounted(name) || isContainerResource(name) || isQuotaHugePage(name)
}

func validateResourceName(p *field.Path, name corev1.ResourceName) field.ErrorList {
	var l check.List
	if messages := validation.IsQualifiedName(string(name)); len(messages) > 0 {
		l.Each(p, name, messages)
	} else if !strings.Contains(string(name), "/") && name != corev1.ResourceStorage && !isQuotaResource(name) {
		l.Invalid(p, name, "must be a standard resource type or fully qualified")
	}
	return l.Errors()
}

// ValidateContainerResourceName checks the name of a resource that a container asks for: a standard one, or an
// extended one with a domain.
func ValidateContainerResourceName(p *field.Path, name corev1.ResourceName) field.ErrorList {
	var l check.List
	l.Add(validateResourceName(p, name))
	switch {
	case !strings.Contains(string(name), "/"):
		if !isContainerResource(name) {
			l.Invalid(p, name, "must be a standard resource for containers")
		}
	case !isNative(name) && !IsExtendedResource(name):
		l.Invalid(p, name, "doesn't follow extended resource name standard")
	}
	return l.Errors()
}

func validatePodResourceName(p *field.Path, name corev1.ResourceName) field.ErrorList {
	if errs := validateResourceName(p, name); len(errs) > 0 {
		return errs
	}
	if resourcehelper.IsSupportedPodLevelResource(name) {
		return nil
	}
	return check.OneOf(p, name, sets.List(resourcehelper.SupportedPodLevelResources())...)
}

// validateQuantity checks the amount of a resource: never negative, and whole where only whole ones exist.
func validateQuantity(p *field.Path, name corev1.ResourceName, quantity resource.Quantity) field.ErrorList {
	var l check.List
	l.Add(check.NonNegativeQuantity(p, quantity))
	if (isCounted(name) || IsExtendedResource(name)) && quantity.MilliValue()%1000 != 0 {
		l.Invalid(p, quantity, "must be an integer")
	}
	return l.Errors()
}

func validateContainerResources(p *field.Path, r *corev1.ResourceRequirements, podClaims sets.Set[string]) field.ErrorList {
	return validateResources(p, r, ValidateContainerResourceName, podClaims)
}

func validateResources(p *field.Path, r *corev1.ResourceRequirements, validateName func(*field.Path, corev1.ResourceName) field.ErrorList, podClaims sets.Set[string]) field.ErrorList {
	var l check.List
	limits, requests := p.Child("limits"), p.Child("requests")
	hugePages, compute := false, false
	one := func(p *field.Path, name corev1.ResourceName, quantity resource.Quantity) {
		l.Add(validateName(p, name))
		l.Add(validateQuantity(p, name, quantity))
	}
	note := func(p *field.Path, name corev1.ResourceName, quantity resource.Quantity) {
		if isHugePage(name) {
			hugePages = true
			if !divisibleByPage(name, quantity) {
				l.Invalid(p, quantity.String(), fmt.Sprintf("%s is not positive integer multiple of %s", quantity.String(), name))
			}
		}
		compute = compute || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range sortedNames(r.Limits) {
		quantity := r.Limits[name]
		one(limits.Key(string(name)), name, quantity)
		note(limits.Key(string(name)), name, quantity)
	}
	for _, name := range sortedNames(r.Requests) {
		quantity := r.Requests[name]
		one(requests.Key(string(name)), name, quantity)
		switch limit, limited := r.Limits[name]; {
		case !limited && !overcommitAllowed(name):
			l.Required(limits, "Limit must be set for non overcommitable resources")
		case limited && !overcommitAllowed(name) && quantity.Cmp(limit) != 0:
			l.Invalid(requests, quantity.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))
		case limited && quantity.Cmp(limit) > 0:
			l.Invalid(requests, quantity.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))
		}
		note(requests.Key(string(name)), name, quantity)
	}
	if hugePages && !compute {
		l.Forbidden(p, "HugePages require cpu or memory")
	}
	l.Add(validateResourceClaims(p.Child("claims"), r.Claims, podClaims))
	return l.Errors()
}

// divisibleByPage tells whether the quantity is a whole number of pages of the size that the name ends with.
func divisibleByPage(name corev1.ResourceName, quantity resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 {
		return false
	}
	return quantity.Value()%size.Value() == 0
}

// validateResourceClaims checks that each claim of a container is one of the pod's, and named once: whole, or by
// different requests in it.
func validateResourceClaims(p *field.Path, claims []corev1.ResourceClaim, podClaims sets.Set[string]) field.ErrorList {
	var l check.List
	seen := sets.New[string]()
	for i, claim := range claims {
		p := p.Index(i)
		if claim.Name == "" {
			l.Required(p, "")
			continue
		}
		key := claim.Name
		if seen.Has(claim.Name) {
			l.Duplicate(p, claim.Name)
		} else {
			if claim.Request != "" {
				l.Add(check.DNSLabel(p.Child("request"), claim.Request))
				key += "/" + claim.Request
			}
			if seen.Has(key) {
				l.Duplicate(p, key)
			} else if claim.Request == "" {
				for other := range seen {
					if name, _, partial := strings.Cut(other, "/"); partial && name == claim.Name {
						l.Duplicate(p, claim.Name)
					}
				}
			}
			seen.Insert(key)
		}
		if !podClaims.Has(claim.Name) {
			err := field.NotFound(p, claim.Name)
			err.Detail = "must be one of the names in pod.spec.resourceClaims"
			if podClaims.Len() == 0 {
				err.Detail += " which is empty"
			} else {
				err.Detail += ": " + strings.Join(sets.List(podClaims), ", ")
			}
			l.Add(field.ErrorList{err})
		}
	}
	return l.Errors()
}

// sortedNames returns the resources of a list in order, so that errors come in the same order every time.
func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	names := make([]corev1.ResourceName, 0, len(list))
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
