// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for a pod's specification as a whole, wherever it stands: in a pod or in a template.

package core

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/resource"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidatePodTemplateSpec checks the pod template of a workload at p.
func ValidatePodTemplateSpec(p *field.Path, template *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	l.Add(check.Labels(p.Child("labels"), template.Labels))
	l.Add(check.Annotations(p.Child("annotations"), template.Annotations))
	l.Add(ValidatePodAnnotations(p.Child("annotations"), template.Annotations, &template.Spec))
	l.Add(validatePodSpec(p.Child("spec"), &template.Spec, nil, false))
	l.Add(validateProfilesMatch(p.Child("spec"), &template.ObjectMeta, &template.Spec))
	if len(template.Spec.EphemeralContainers) > 0 {
		l.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return l.Errors()
}

// validatePodSpec checks a pod's specification. meta is the pod's, nil for a template; inPod makes the rules apply that
// hold only once nobody will change the specification any more.
func validatePodSpec(p *field.Path, spec *corev1.PodSpec, meta *metav1.ObjectMeta, inPod bool) field.ErrorList {
	var l check.List
	if spec.TerminationGracePeriodSeconds == nil {
		l.Required(p.Child("terminationGracePeriodSeconds"), "")
	}
	scope := &containerScope{spec: spec, claims: sets.New[string]()}
	var errs field.ErrorList
	scope.volumes, errs = validateVolumes(p.Child("volumes"), spec.Volumes, meta, inPod)
	l.Add(errs)
	for _, claim := range spec.ResourceClaims {
		if claim.Name != "" {
			scope.claims.Insert(claim.Name)
		}
	}
	l.Add(validatePodResourceClaims(p.Child("resourceClaims"), spec.ResourceClaims, meta))
	l.Add(validateContainers(p.Child("containers"), scope))
	l.Add(validateInitContainers(p.Child("initContainers"), scope))
	l.Add(validateEphemeralContainers(p.Child("ephemeralContainers"), scope))
	l.Add(validatePodResources(p.Child("resources"), spec, scope.claims))
	l.Add(validateHostNetworkPorts(p.Child("containers"), spec, inPod))
	l.Add(check.RequiredOneOf(p.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	l.Add(check.RequiredOneOf(p.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone))
	l.Add(check.Labels(p.Child("nodeSelector"), spec.NodeSelector))
	l.Add(validatePodSecurityContext(p.Child("securityContext"), spec))
	l.Add(validateAffinity(p.Child("affinity"), spec.Affinity))
	l.Add(validateDNSConfig(p.Child("dnsConfig"), spec.DNSConfig, spec.DNSPolicy))
	l.Add(validateReadinessGates(p.Child("readinessGates"), spec.ReadinessGates))
	l.Add(validateSchedulingGates(p.Child("schedulingGates"), spec.SchedulingGates))
	l.Add(validateTopologySpread(p.Child("topologySpreadConstraints"), spec.TopologySpreadConstraints))
	l.Add(validateHostProcess(p, spec))
	l.Add(validateHostUsers(p, spec))
	l.Add(validateHostnameOverride(p, spec))
	l.Add(validatePodNames(p, spec))
	l.Add(validatePodPlacement(p, spec))
	l.Add(validateOS(p, spec))
	l.Add(validateFileKeyVolumes(p, spec))
	return l.Errors()
}

func validatePodResourceClaims(p *field.Path, claims []corev1.PodResourceClaim, meta *metav1.ObjectMeta) field.ErrorList {
	var l check.List
	names := sets.New[string]()
	for i, claim := range claims {
		p := p.Index(i)
		if meta != nil {
			if _, mirror := meta.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				l.Forbidden(field.NewPath(""), "static pods do not support resource claims")
				continue
			}
		}
		switch {
		case claim.Name == "":
			l.Required(p.Child("name"), "")
		case names.Has(claim.Name):
			l.Duplicate(p.Child("name"), claim.Name)
		default:
			l.Add(check.DNSLabel(p.Child("name"), claim.Name))
			names.Insert(claim.Name)
		}
		if claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil {
			l.Invalid(p, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		}
		if claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil {
			l.Invalid(p, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if name := claim.ResourceClaimName; name != nil {
			l.Each(p.Child("resourceClaimName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))
		}
		if name := claim.ResourceClaimTemplateName; name != nil {
			l.Each(p.Child("resourceClaimTemplateName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))
		}
	}
	return l.Errors()
}

// validatePodResources checks the resources that a pod asks for as a whole (KEP-2837): its containers must fit in.
func validatePodResources(p *field.Path, spec *corev1.PodSpec, claims sets.Set[string]) field.ErrorList {
	own := spec.Resources
	if own == nil {
		return nil
	}
	var l check.List
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		l.Forbidden(p, "may not be set for a windows pod")
		return l.Errors()
	}
	if own.Claims != nil {
		l.Forbidden(p.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	l.Add(validateResources(p, own, validatePodResourceName, claims))

	pod := &corev1.Pod{Spec: *spec}
	requests := resource.AggregateContainerRequests(pod, resource.PodResourcesOptions{})
	for _, name := range sortedNames(requests) {
		sum := requests[name]
		if whole, ok := own.Requests[name]; ok && sum.Cmp(whole) > 0 {
			l.Invalid(p.Child("requests").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String()))
		}
	}
	limits := resource.AggregateContainerLimits(pod, resource.PodResourcesOptions{})
	for _, name := range sortedNames(limits) {
		sum := limits[name]
		if whole, ok := own.Limits[name]; ok && isHugePage(name) && sum.Cmp(whole) > 0 {
			l.Invalid(p.Child("limits").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String()))
		}
	}
	for i, c := range spec.Containers {
		for _, name := range sortedNames(c.Resources.Limits) {
			limit := c.Resources.Limits[name]
			if whole, ok := own.Limits[name]; ok && limit.Cmp(whole) > 0 {
				l.Invalid(p.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", whole.String()))
			}
		}
	}
	return l.Errors()
}

func validateHostNetworkPorts(p *field.Path, spec *corev1.PodSpec, inPod bool) field.ErrorList {
	if !spec.HostNetwork {
		return nil
	}
	var l check.List
	for i, c := range spec.Containers {
		for j, port := range c.Ports {
			if (inPod || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				l.Invalid(p.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
	return l.Errors()
}

func validateDNSConfig(p *field.Path, config *corev1.PodDNSConfig, policy corev1.DNSPolicy) field.ErrorList {
	const maxNameservers, maxSearches, maxSearchChars = 3, 32, 2048
	var l check.List
	if policy == corev1.DNSNone {
		switch {
		case config == nil:
			l.Required(p, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))
		case len(config.Nameservers) == 0:
			l.Required(p.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))
			return l.Errors()
		}
	}
	if config == nil {
		return l.Errors()
	}
	if len(config.Nameservers) > maxNameservers {
		l.Invalid(p.Child("nameservers"), config.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers))
	}
	for i, server := range config.Nameservers {
		l.Add(check.IP(p.Child("nameservers").Index(i), server))
	}
	if len(config.Searches) > maxSearches {
		l.Invalid(p.Child("searches"), config.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearches))
	}
	if len(strings.Join(config.Searches, " ")) > maxSearchChars {
		l.Invalid(p.Child("searches"), config.Searches,
			fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchChars))
	}
	for i, search := range config.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			l.Each(p.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))
		}
	}
	for i, option := range config.Options {
		if option.Name == "" {
			l.Required(p.Child("options").Index(i), "must not be empty")
		}
	}
	return l.Errors()
}

func validateHostUsers(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if inHostUsers(spec) {
		return nil
	}
	var l check.List
	const why = "when `hostUsers` is false"
	if spec.HostNetwork {
		l.Forbidden(p.Child("hostNetwork"), why)
	}
	if spec.HostPID {
		l.Forbidden(p.Child("HostPID"), why)
	}
	if spec.HostIPC {
		l.Forbidden(p.Child("HostIPC"), why)
	}
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		if len(c.VolumeDevices) > 0 {
			l.Forbidden(p.Child("volumeDevices"), why)
		}
	})
	return l.Errors()
}

func validateHostnameOverride(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.HostnameOverride == nil {
		return nil
	}
	var l check.List
	const longest = 64
	at := p.Child("hostnameOverride")
	if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
		l.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if spec.HostNetwork {
		l.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	if len(*spec.HostnameOverride) > longest {
		l.TooLong(at, longest)
	}
	l.Add(check.DNSSubdomain(at, *spec.HostnameOverride))
	return l.Errors()
}

// validatePodNames checks the names that a pod refers to other objects by, and its own on the network.
func validatePodNames(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	object := func(name, value string) {
		if value != "" {
			l.Each(p.Child(name), value, apivalidation.NameIsDNSSubdomain(value, false))
		}
	}
	object("serviceAccountName", spec.ServiceAccountName)
	object("nodeName", spec.NodeName)
	if s := spec.ActiveDeadlineSeconds; s != nil && (*s < 1 || *s > math.MaxInt32) {
		l.Invalid(p.Child("activeDeadlineSeconds"), *s, validation.InclusiveRangeError(1, math.MaxInt32))
	}
	if spec.Hostname != "" {
		l.Add(check.DNSLabel(p.Child("hostname"), spec.Hostname))
	}
	if spec.Subdomain != "" {
		l.Add(check.DNSLabel(p.Child("subdomain"), spec.Subdomain))
	}
	l.Add(ValidateTolerations(p.Child("tolerations"), spec.Tolerations))
	for i, alias := range spec.HostAliases {
		p := p.Child("hostAliases").Index(i)
		l.Add(check.IP(p.Child("ip"), alias.IP))
		for j, name := range alias.Hostnames {
			l.Add(check.DNSSubdomain(p.Child("hostnames").Index(j), name))
		}
	}
	object("priorityClassName", spec.PriorityClassName)
	if spec.RuntimeClassName != nil {
		l.Each(p.Child("runtimeClassName"), *spec.RuntimeClassName, apivalidation.NameIsDNSSubdomain(*spec.RuntimeClassName, false))
	}
	return l.Errors()
}

func validatePodPlacement(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	if spec.PreemptionPolicy != nil {
		l.Add(ValidatePreemptionPolicy(p.Child("preemptionPolicy"), *spec.PreemptionPolicy))
	}
	if spec.Overhead != nil {
		l.Add(ValidateOverhead(p.Child("overhead"), spec.Overhead))
	}
	if group := spec.SchedulingGroup; group != nil {
		p := p.Child("schedulingGroup", "podGroupName")
		if group.PodGroupName == nil {
			l.Invalid(p, group.PodGroupName, "must specify one of: `podGroupName`")
		} else {
			l.Each(p, *group.PodGroupName, apivalidation.NameIsDNSSubdomain(*group.PodGroupName, false))
		}
	}
	return l.Errors()
}

// ValidatePreemptionPolicy checks whether pods of a priority may evict others.
func ValidatePreemptionPolicy(p *field.Path, policy corev1.PreemptionPolicy) field.ErrorList {
	return check.RequiredOneOf(p, policy, corev1.PreemptLowerPriority, corev1.PreemptNever)
}

// ValidateOverhead checks the resources that a runtime takes beside the containers'.
func ValidateOverhead(p *field.Path, overhead corev1.ResourceList) field.ErrorList {
	return validateContainerResources(p, &corev1.ResourceRequirements{Limits: overhead}, nil)
}
