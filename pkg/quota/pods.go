// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/hivemind-project/hivemind/apis/core"
)

// podResources are what a quota limits by these names; others go by what they begin with, see matchesPod.
var podResources = []corev1.ResourceName{
	count("pods"), corev1.ResourcePods,
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
}

// compulsory are what every container must ask for once a quota limits it, and no other resource is to join them: LimitRanges exist to
// fill in what is left out.
var compulsory = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

func pods(list List) apiquota.Evaluator {
	return &evaluator[corev1.Pod]{
		resource: schema.GroupResource{Resource: "pods"}, list: list,
		handles: handlesPod, matching: matchesPod, usage: podUsage, inScope: podInScope, constraints: podConstraints,
	}
}

// handlesPod takes what changes how much a pod uses, or in which scope it is.
func handlesPod(a admission.Attributes) bool {
	switch a.GetSubresource() {
	case "":
		if a.GetOperation() != admission.Update {
			return a.GetOperation() == admission.Create
		}
		pod, err := as[corev1.Pod](a.GetObject())
		old, errOld := as[corev1.Pod](a.GetOldObject())
		return err == nil && errOld == nil && hasDeadline(pod) != hasDeadline(old)
	case "resize":
		return a.GetOperation() == admission.Update
	}
	return false
}

func matchesPod(name corev1.ResourceName) bool {
	return slices.Contains(podResources, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) && (!native(name) || isDeviceClass(requested(name)))
}

// requested is the resource that requests.<resource> limits.
func requested(name corev1.ResourceName) corev1.ResourceName {
	return corev1.ResourceName(strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix))
}

// native resources are Kubernetes' own, which have no domain or its domain.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

func isDeviceClass(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix)
}

// podUsage is what the pod counts for. One that has ended, or should have long been gone, uses nothing but its place in the storage.
func podUsage(pod *corev1.Pod) corev1.ResourceList {
	usage := corev1.ResourceList{count("pods"): number(1)}
	if !Charged(pod) {
		return usage
	}
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(usage, compute(resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)))
	return usage
}

// Charged tells whether the pod uses resources of its namespace.
func Charged(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	grace := time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
	return !time.Now().After(pod.DeletionTimestamp.Add(grace))
}

// compute names requests and limits as quotas do.
func compute(requests, limits corev1.ResourceList) corev1.ResourceList {
	usage := corev1.ResourceList{corev1.ResourcePods: number(1)}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := requests[name]; ok {
			usage[name], usage[corev1.DefaultResourceRequestsPrefix+name] = q, q
		}
		if q, ok := limits[name]; ok {
			usage["limits."+name] = q
		}
	}
	for name, q := range requests {
		switch {
		case strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			usage[name], usage[corev1.DefaultResourceRequestsPrefix+name] = q, q
		case !native(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix), isDeviceClass(name):
			usage[corev1.DefaultResourceRequestsPrefix+name] = q
		}
	}
	return usage
}

func podInScope(selector corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) (bool, error) {
	switch selector.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return hasDeadline(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !hasDeadline(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		if pod.Spec.PriorityClassName == "" {
			return selects(selector)
		}
		return selects(selector, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
}

func hasDeadline(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// bestEffort goes by the status, where it says.
func bestEffort(pod *corev1.Pod) bool {
	class := pod.Status.QOSClass
	if class == "" {
		class = core.PodQOSClass(pod)
	}
	return class == corev1.PodQOSBestEffort
}

func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	var weighted []corev1.WeightedPodAffinityTerm
	if a.PodAffinity != nil {
		terms, weighted = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	}
	if a.PodAntiAffinity != nil {
		terms = slices.Concat(terms, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		weighted = slices.Concat(weighted, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	crosses := func(t *corev1.PodAffinityTerm) bool { return len(t.Namespaces) != 0 || t.NamespaceSelector != nil }
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return crosses(&t) }) ||
		slices.ContainsFunc(weighted, func(t corev1.WeightedPodAffinityTerm) bool { return crosses(&t.PodAffinityTerm) })
}

// podConstraints refuses a pod with containers that do not ask for what is limited, unless the pod asks for all of them.
func podConstraints(required []corev1.ResourceName, pod *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			given := compute(containers[i].Resources.Requests, containers[i].Resources.Limits)
			for _, name := range required {
				if _, ok := given[name]; !ok && slices.Contains(compulsory, name) {
					missing[string(name)] = append(missing[string(name)], containers[i].Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		containers := missing[name]
		slices.Sort(containers)
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Compact(containers), ",")))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}
