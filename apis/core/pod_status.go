// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for what a kubelet or controller may write to the status of a Pod.

package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PreparePodForStatusUpdate keeps what writers of an older mind would drop: the quality-of-service class and the
// generations that status and conditions were observed at. A status update neither deletes a pod nor changes its owner.
func PreparePodForStatusUpdate(pod, before *corev1.Pod) {
	pod.DeletionTimestamp = nil
	pod.OwnerReferences = before.OwnerReferences
	setIfEmpty(&pod.Status.QOSClass, before.Status.QOSClass)
	setIfEmpty(&pod.Status.ObservedGeneration, before.Status.ObservedGeneration)
	older := map[corev1.PodConditionType]int64{}
	for _, c := range before.Status.Conditions {
		older[c.Type] = c.ObservedGeneration
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		setIfEmpty(&c.ObservedGeneration, older[c.Type])
	}
}

// ValidatePodStatusUpdate checks an update of a Pod's status.
func ValidatePodStatusUpdate(pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("status")
	status, older := &pod.Status, &before.Status
	l.Add(check.MetadataUpdate(&pod.ObjectMeta, &before.ObjectMeta))
	l.Add(validatePodAnnotationsUpdate(pod, before))
	l.Add(validatePodConditions(p.Child("conditions"), status.Conditions))
	if pod.Spec.NodeName != before.Spec.NodeName {
		l.Forbidden(p.Child("nodeName"), "may not be changed directly")
	}
	if name := status.NominatedNodeName; name != older.NominatedNodeName && name != "" {
		l.Each(p.Child("nominatedNodeName"), name, apivalidation.NameIsDNSSubdomain(name, false))
		if before.Spec.NodeName != "" {
			l.Forbidden(p.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if status.ObservedGeneration < 0 {
		l.Invalid(p.Child("observedGeneration"), status.ObservedGeneration, "must be a non-negative integer")
	}
	l.Add(check.Immutable(p.Child("qosClass"), status.QOSClass, older.QOSClass))
	l.Add(validateRestarts(p.Child("containerStatuses"), status.ContainerStatuses, older.ContainerStatuses, before.Spec.Containers, &before.Spec))
	l.Add(validateRestarts(p.Child("initContainerStatuses"), status.InitContainerStatuses, older.InitContainerStatuses, before.Spec.InitContainers, &before.Spec))
	l.Add(validateRestarts(p.Child("ephemeralContainerStatuses"), status.EphemeralContainerStatuses, older.EphemeralContainerStatuses, nil, nil))
	l.Add(validateResourceClaimStatuses(p, pod))

	var olderPodIPs, olderHostIPs, podIPs, hostIPs []string
	for _, ip := range older.PodIPs {
		olderPodIPs = append(olderPodIPs, ip.IP)
	}
	for _, ip := range older.HostIPs {
		olderHostIPs = append(olderHostIPs, ip.IP)
	}
	for _, ip := range status.PodIPs {
		podIPs = append(podIPs, ip.IP)
	}
	for _, ip := range status.HostIPs {
		hostIPs = append(hostIPs, ip.IP)
	}
	l.Add(validateDualStack(p.Child("podIPs"), podIPs, olderPodIPs, status.PodIPs))
	if len(hostIPs) > 0 && status.HostIP != hostIPs[0] {
		l.Invalid(p.Child("hostIPs").Index(0).Child("ip"), hostIPs[0], "must be equal to `hostIP`")
	}
	l.Add(validateDualStack(p.Child("hostIPs"), hostIPs, olderHostIPs, status.HostIPs))

	l.Add(validateContainerStatuses(p.Child("containerStatuses"), status.ContainerStatuses, pod.Spec.Containers, pod.Spec.OS))
	l.Add(validateContainerStatuses(p.Child("initContainerStatuses"), status.InitContainerStatuses, pod.Spec.InitContainers, pod.Spec.OS))
	for i, c := range status.EphemeralContainerStatuses {
		at := p.Child("ephemeralContainerStatuses").Index(i)
		l.Add(validateContainerUser(at, c.User, pod.Spec.OS))
		if len(c.AllocatedResourcesStatus) > 0 {
			l.Forbidden(at.Child("allocatedResourcesStatus"), "must not be specified in container status")
		}
	}
	return l.Errors()
}

func validatePodConditions(p *field.Path, conditions []corev1.PodCondition) field.ErrorList {
	var l check.List
	for i, c := range conditions {
		if c.ObservedGeneration < 0 {
			l.Invalid(p.Index(i).Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer")
		}
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			l.Add(check.QualifiedName(p.Index(i).Child("Type"), string(c.Type)))
		}
	}
	return l.Errors()
}

// validateRestarts reports containers that ended and are said to run again although their policy does not let them.
// Ephemeral containers, which have no policy (spec is nil), never run again.
func validateRestarts(p *field.Path, now, older []corev1.ContainerStatus, containers []corev1.Container, spec *corev1.PodSpec) field.ErrorList {
	if spec != nil && mayRestartAll(spec) {
		return nil
	}
	var l check.List
	for i, o := range older {
		if o.State.Terminated == nil {
			continue
		}
		for _, n := range now {
			if n.Name != o.Name || n.State.Terminated != nil {
				continue
			}
			c := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == o.Name })
			if c < 0 || !ContainerMayRestart(&containers[c], spec.RestartPolicy, o.State.Terminated.ExitCode) {
				l.Forbidden(p.Index(i).Child("state"), "may not be transitioned to non-terminated state")
			}
			break
		}
	}
	return l.Errors()
}

// mayRestartAll tells whether some container's end may restart the whole pod (KEP-5532).
func mayRestartAll(spec *corev1.PodSpec) bool {
	all := false
	visitContainers(nil, spec, func(_ *field.Path, c *corev1.Container) {
		for _, rule := range c.RestartPolicyRules {
			all = all || rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}
	})
	return all
}

// ContainerMayRestart tells whether a container that ended with exitCode runs again, by its own rules and policy, or
// else by the pod's (KEP-5307).
func ContainerMayRestart(c *corev1.Container, podPolicy corev1.RestartPolicy, exitCode int32) bool {
	if c.RestartPolicy != nil {
		for _, rule := range c.RestartPolicyRules {
			if rule.ExitCodes == nil {
				continue
			}
			listed := slices.Contains(rule.ExitCodes.Values, exitCode)
			if listed == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
		podPolicy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch podPolicy {
	case corev1.RestartPolicyAlways:
		return true
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	return false
}

// validateDualStack checks the addresses of a pod or host: one, or one of each family.
func validateDualStack(p *field.Path, ips, known []string, shown any) field.ErrorList {
	var l check.List
	for i, ip := range ips {
		l.Add(check.IP(p.Index(i), ip, known...))
	}
	if len(ips) > 1 {
		dualStack, err := netutils.IsDualStackIPStrings(ips)
		if err != nil {
			l.Internal(p, fmt.Errorf("failed to check for dual stack with error:%v", err))
		}
		if !dualStack || len(ips) > 2 {
			l.Invalid(p, shown, "may specify no more than one IP for each IP family")
		}
	}
	return l.Errors()
}

func validateResourceClaimStatuses(p *field.Path, pod *corev1.Pod) field.ErrorList {
	var l check.List
	names := sets.New[string]()
	for i, status := range pod.Status.ResourceClaimStatuses {
		p := p.Child("resourceClaimStatuses").Index(i)
		if !slices.ContainsFunc(pod.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == status.Name }) {
			l.Invalid(p.Child("name"), status.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if names.Has(status.Name) {
			l.Duplicate(p.Child("name"), status.Name)
		}
		names.Insert(status.Name)
		if status.ResourceClaimName != nil {
			l.Each(p.Child("resourceClaimName"), status.ResourceClaimName, apivalidation.NameIsDNSSubdomain(*status.ResourceClaimName, false))
		}
	}
	return l.Errors()
}

func validateContainerStatuses(p *field.Path, statuses []corev1.ContainerStatus, containers []corev1.Container, os *corev1.PodOS) field.ErrorList {
	var l check.List
	for i, status := range statuses {
		p := p.Index(i)
		l.Add(validateContainerUser(p, status.User, os))
		found := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == status.Name })
		for j, allocated := range status.AllocatedResourcesStatus {
			p := p.Child("allocatedResourcesStatus").Index(j)
			if found >= 0 {
				l.Add(validateAllocatedName(p.Child("name"), allocated.Name, &containers[found].Resources))
			}
			ids := sets.New[corev1.ResourceID]()
			for k, health := range allocated.Resources {
				p := p.Child("resources").Index(k)
				l.Add(check.OneOf(p.Child("health"), health.Health,
					corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown))
				if ids.Has(health.ResourceID) {
					l.Duplicate(p.Child("resourceID"), health.ResourceID)
				}
				ids.Insert(health.ResourceID)
			}
		}
	}
	return l.Errors()
}

func validateAllocatedName(p *field.Path, name corev1.ResourceName, resources *corev1.ResourceRequirements) field.ErrorList {
	if claimed, ok := strings.CutPrefix(string(name), "claim:"); ok {
		for _, claim := range resources.Claims {
			want := claim.Name
			if claim.Request != "" {
				want += "/" + claim.Request
			}
			if claimed == want {
				return nil
			}
		}
		return field.ErrorList{field.Invalid(p, name,
			"must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")}
	}
	if _, ok := resources.Requests[name]; ok {
		return nil
	}
	return field.ErrorList{field.Invalid(p, name, "must match one of the container's resource requests")}
}

func validateContainerUser(p *field.Path, user *corev1.ContainerUser, os *corev1.PodOS) field.ErrorList {
	if user == nil || user.Linux == nil {
		return nil
	}
	var l check.List
	p = p.Child("user", "linux")
	if os != nil && os.Name == corev1.Windows {
		l.Forbidden(p, "cannot be set for a windows pod")
		return l.Errors()
	}
	l.Each(p.Child("uid"), user.Linux.UID, validation.IsValidUserID(user.Linux.UID))
	l.Each(p.Child("gid"), user.Linux.GID, validation.IsValidGroupID(user.Linux.GID))
	for i, group := range user.Linux.SupplementalGroups {
		l.Each(p.Child("supplementalGroups").Index(i), group, validation.IsValidGroupID(group))
	}
	return l.Errors()
}
