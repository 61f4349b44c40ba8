// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for the two subresources by which a running pod changes: ephemeralcontainers adds containers
// to look into it (KEP-277), resize changes what its containers get of cpu and memory (KEP-1287).

package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PreparePodForEphemeralContainersUpdate keeps everything of the pod but its ephemeral containers.
func PreparePodForEphemeralContainersUpdate(pod, before *corev1.Pod) {
	containers := pod.Spec.EphemeralContainers
	pod.Spec = *before.Spec.DeepCopy()
	pod.Status = *before.Status.DeepCopy()
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &before.ObjectMeta)
	pod.Spec.EphemeralContainers = containers
	dropUnservedPodFields(&pod.Spec, &before.Spec)
}

// ValidatePodEphemeralContainersUpdate lets ephemeral containers be added, not changed or removed.
func ValidatePodEphemeralContainersUpdate(pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	if _, mirror := before.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		l.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")
		return l.Errors()
	}
	l.Add(check.MetadataUpdate(&pod.ObjectMeta, &before.ObjectMeta))
	l.Add(validatePodMetaAndSpec(pod))
	l.Add(validatePodAnnotationsUpdate(pod, before))
	now := map[string]*corev1.EphemeralContainer{}
	for i := range pod.Spec.EphemeralContainers {
		now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
	}
	p := field.NewPath("spec", "ephemeralContainers")
	for _, older := range before.Spec.EphemeralContainers {
		if c, ok := now[older.Name]; !ok {
			l.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", older.Name))
		} else if !equality.Semantic.DeepEqual(older, *c) {
			l.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", older.Name, check.Difference(older, *c)))
		}
	}
	return l.Errors()
}

// PreparePodForResize keeps everything of the pod but resources and resize policies, as long as its containers are the
// same ones in the same order.
func PreparePodForResize(pod, before *corev1.Pod) {
	if len(pod.Spec.Containers) != len(before.Spec.Containers) || len(pod.Spec.InitContainers) != len(before.Spec.InitContainers) {
		return
	}
	keep := func(now, older []corev1.Container) []corev1.Container {
		kept := make([]corev1.Container, len(older))
		for i := range older {
			if now[i].Name != older[i].Name {
				return now
			}
			kept[i] = *older[i].DeepCopy()
			kept[i].Resources, kept[i].ResizePolicy = now[i].Resources, now[i].ResizePolicy
		}
		if len(kept) == 0 {
			return now
		}
		return kept
	}
	containers, inits := keep(pod.Spec.Containers, before.Spec.Containers), keep(pod.Spec.InitContainers, before.Spec.InitContainers)
	resources := pod.Spec.Resources
	pod.Spec = *before.Spec.DeepCopy()
	pod.Spec.Containers, pod.Spec.InitContainers, pod.Spec.Resources = containers, inits, resources
	pod.Status = *before.Status.DeepCopy()
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &before.ObjectMeta)
}

// ValidatePodResize lets cpu and memory of containers, sidecars, init containers and the pod as a whole change, within
// the pod's class of service.
func ValidatePodResize(pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	if _, mirror := before.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		l.Forbidden(field.NewPath(""), "static pods cannot be resized")
		return l.Errors()
	}
	if before.Spec.OS != nil && before.Spec.OS.Name == corev1.Windows {
		l.Forbidden(field.NewPath(""), "windows pods cannot be resized")
		return l.Errors()
	}
	l.Add(check.MetadataUpdate(&pod.ObjectMeta, &before.ObjectMeta))
	l.Add(validatePodMetaAndSpec(pod))
	class := before.Status.QOSClass
	if class == "" {
		class = PodQOSClass(before)
	}
	if class != PodQOSClass(pod) {
		l.Invalid(p, pod.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !nodeResizes(before) {
		l.Forbidden(p, "Pod running on node without support for resize")
	}
	rest := pod.Spec.DeepCopy()
	l.Add(validatePodLevelResize(p, rest, &before.Spec))
	if errs := validateSameContainers(p, pod, before); len(errs) > 0 {
		l.Add(errs)
		return l.Errors()
	}
	for i := range before.Spec.InitContainers {
		l.Add(validateOnlyResized(p.Child("initContainers").Index(i), &rest.InitContainers[i], &before.Spec.InitContainers[i], true))
	}
	for i := range before.Spec.Containers {
		l.Add(validateOnlyResized(p.Child("containers").Index(i), &rest.Containers[i], &before.Spec.Containers[i], false))
	}
	if errs := l.Errors(); len(errs) > 0 {
		return errs
	}
	if !equality.Semantic.DeepEqual(*rest, before.Spec) {
		l.Forbidden(p, onlyComputeMutable)
	}
	return l.Errors()
}

const onlyComputeMutable = "only cpu and memory resources are mutable"

// nodeResizes tells whether the node reports the resources of running containers; one that does not cannot resize.
func nodeResizes(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func validateSameContainers(p *field.Path, pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	for _, list := range []struct {
		name       string
		now, older []corev1.Container
	}{
		{"containers", pod.Spec.Containers, before.Spec.Containers},
		{"initContainers", pod.Spec.InitContainers, before.Spec.InitContainers},
	} {
		if len(list.now) != len(list.older) {
			l.Forbidden(p.Child(list.name), list.name+" may not be added or removed on resize")
			continue
		}
		for i := range list.older {
			if list.now[i].Name != list.older[i].Name {
				l.Forbidden(p.Child(list.name).Index(i).Child("name"), list.name+" may not be renamed or reordered on resize")
			}
		}
	}
	return l.Errors()
}

// validateOnlyResized checks that of a container nothing but cpu and memory changed, and undoes that change in c.
func validateOnlyResized(p *field.Path, c, before *corev1.Container, isInit bool) field.ErrorList {
	var l check.List
	if removed(c.Resources.Requests, before.Resources.Requests) {
		l.Forbidden(p.Child("resources", "requests"), "resource requests cannot be removed")
	}
	if removed(c.Resources.Limits, before.Resources.Limits) {
		l.Forbidden(p.Child("resources", "limits"), "resource limits cannot be removed")
	}
	changed := !equality.Semantic.DeepEqual(c, before)
	c.Resources = corev1.ResourceRequirements{
		Limits:   withComputeOf(c.Resources.Limits, before.Resources.Limits),
		Requests: withComputeOf(c.Resources.Requests, before.Resources.Requests),
	}
	if !equality.Semantic.DeepEqual(c, before) {
		if isInit {
			l.Forbidden(p, "only cpu and memory resources for init or sidecar containers are mutable")
		} else {
			l.Forbidden(field.NewPath("spec"), onlyComputeMutable)
		}
	}
	if isInit && changed && !isSidecar(c) {
		for _, policy := range c.ResizePolicy {
			if policy.RestartPolicy == corev1.RestartContainer {
				l.Forbidden(p, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
			}
		}
	}
	return l.Errors()
}

// validatePodLevelResize checks the resources of the pod as a whole, and undoes the change that is allowed in rest.
func validatePodLevelResize(p *field.Path, rest, before *corev1.PodSpec) field.ErrorList {
	isSet := func(r *corev1.ResourceRequirements) bool { return r != nil && len(r.Requests)+len(r.Limits) > 0 }
	if !isSet(rest.Resources) && !isSet(before.Resources) {
		return nil
	}
	var l check.List
	if rest.Resources == nil {
		l.Forbidden(p.Child("resources"), "pod-level resources cannot be removed")
		return l.Errors()
	}
	older := corev1.ResourceRequirements{}
	if before.Resources != nil {
		older = *before.Resources
		if removed(rest.Resources.Requests, older.Requests) {
			l.Forbidden(p.Child("resources", "requests"), "pod-level resource requests cannot be removed")
		}
		if removed(rest.Resources.Limits, older.Limits) {
			l.Forbidden(p.Child("resources", "limits"), "pod-level resource limits cannot be removed")
		}
	}
	rest.Resources.Requests = withComputeOf(rest.Resources.Requests, older.Requests)
	rest.Resources.Limits = withComputeOf(rest.Resources.Limits, older.Limits)
	if before.Resources == nil && !isSet(rest.Resources) && len(rest.Resources.Claims) == 0 {
		rest.Resources = nil
	}
	if !equality.Semantic.DeepEqual(rest.Resources, before.Resources) {
		l.Forbidden(p, onlyComputeMutable+" at pod-level")
	}
	return l.Errors()
}

// withComputeOf returns list with the cpu and memory of older in the place of its own.
func withComputeOf(list, older corev1.ResourceList) corev1.ResourceList {
	if list == nil && older == nil {
		return nil
	}
	merged := corev1.ResourceList{}
	for name, quantity := range list {
		merged[name] = quantity
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(merged, name)
		if quantity, ok := older[name]; ok {
			merged[name] = quantity
		}
	}
	return merged
}

func removed(list, older corev1.ResourceList) bool {
	for name := range older {
		if _, ok := list[name]; !ok {
			return true
		}
	}
	return false
}
