// SPDX-License-Identifier: Apache-2.0

// This file holds what may be done with a Pod: its creation, the few fields of it that may change, and what the server
// fills in. A pod is immutable but for images, deadline, tolerations and scheduling gates; ephemeral containers and
// resources change through subresources of their own.

package core

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PreparePodForCreate sets what a new pod's status says and resolves label keys in its selectors.
func PreparePodForCreate(pod *corev1.Pod) {
	class := pod.Status.QOSClass // who creates a pod may have said one
	setIfEmpty(&class, PodQOSClass(pod))
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: class}
	dropUnservedPodFields(&pod.Spec, nil)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type:               corev1.PodScheduled,
			Status:             corev1.ConditionFalse,
			Reason:             corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
			LastTransitionTime: metav1.Now(),
		}}
	}
	mergeLabelKeys(pod)
}

// PreparePodForUpdate takes fields out that no part of the cluster acts on, unless the pod had them already.
func PreparePodForUpdate(pod, before *corev1.Pod) {
	dropUnservedPodFields(&pod.Spec, &before.Spec)
}

// PreparePodTemplateSpec takes fields out of a workload's template that no part of the cluster acts on, unless the
// template had them before; before is nil on create.
func PreparePodTemplateSpec(template, before *corev1.PodTemplateSpec) {
	if before == nil {
		dropUnservedPodFields(&template.Spec, nil)
	} else {
		dropUnservedPodFields(&template.Spec, &before.Spec)
	}
}

// mergeLabelKeys turns matchLabelKeys and mismatchLabelKeys into requirements of the selectors they stand beside, with
// the values of the pod's own labels (KEP-3633, KEP-3243).
func mergeLabelKeys(pod *corev1.Pod) {
	merge := func(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator) {
		if selector == nil {
			return
		}
		for _, key := range keys {
			if value, ok := pod.Labels[key]; ok {
				selector.MatchExpressions = append(selector.MatchExpressions,
					metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}})
			}
		}
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range preferred {
			term := &preferred[i].PodAffinityTerm
			merge(term.LabelSelector, term.MatchLabelKeys, metav1.LabelSelectorOpIn)
			merge(term.LabelSelector, term.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
		}
		for i := range required {
			merge(required[i].LabelSelector, required[i].MatchLabelKeys, metav1.LabelSelectorOpIn)
			merge(required[i].LabelSelector, required[i].MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
		}
	}
	if affinity := pod.Spec.Affinity; affinity != nil {
		if a := affinity.PodAffinity; a != nil {
			terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a := affinity.PodAntiAffinity; a != nil {
			terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// ValidatePod checks a new Pod.
func ValidatePod(pod *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(validatePodMetaAndSpec(pod))
	if len(pod.Spec.EphemeralContainers) > 0 {
		l.Forbidden(p.Child("ephemeralContainers"), "cannot be set on create")
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		l.Forbidden(p.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	l.Add(validateProfilesMatch(p, &pod.ObjectMeta, &pod.Spec))
	return l.Errors()
}

func validatePodMetaAndSpec(pod *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.Metadata(&pod.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(ValidatePodAnnotations(field.NewPath("metadata", "annotations"), pod.Annotations, &pod.Spec))
	l.Add(validatePodSpec(p, &pod.Spec, &pod.ObjectMeta, true))
	if pod.Spec.ServiceAccountName == "" {
		for i, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					l.Forbidden(p.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
						"must not be specified when serviceAccountName is not set")
				}
			}
		}
	}
	for i := range pod.Spec.Containers {
		l.Add(validateImageWhitespace(p.Child("containers").Index(i), &pod.Spec.Containers[i]))
	}
	for i := range pod.Spec.InitContainers {
		l.Add(validateImageWhitespace(p.Child("initContainers").Index(i), &pod.Spec.InitContainers[i]))
	}
	return l.Errors()
}

// ValidatePodAnnotations checks the annotations that mean something on a pod or a pod template.
func ValidatePodAnnotations(p *field.Path, annotations map[string]string, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		l.Invalid(p.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set")
	}
	if value := annotations[corev1.TolerationsAnnotationKey]; value != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(value), &tolerations); err != nil {
			l.Invalid(p, corev1.TolerationsAnnotationKey, err.Error())
		} else {
			l.Add(ValidateTolerations(p.Child(corev1.TolerationsAnnotationKey), tolerations))
		}
	}
	if cost, ok := annotations[corev1.PodDeletionCost]; ok && !isInt32(cost) {
		l.Invalid(p.Key(corev1.PodDeletionCost), cost, "must be a 32bit integer")
	}
	l.Add(validateProfileAnnotations(p, annotations, spec))
	return l.Errors()
}

// isInt32 accepts decimal numbers without a plus sign or leading zeros.
func isInt32(value string) bool {
	if value == "" || value[0] == '+' || value[0] == '0' && value != "0" {
		return false
	}
	_, err := strconv.ParseInt(value, 10, 32)
	return err == nil
}

// ValidatePodUpdate checks an update of a Pod.
func ValidatePodUpdate(pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&pod.ObjectMeta, &before.ObjectMeta))
	l.Add(validatePodMetaAndSpec(pod))
	l.Add(validatePodAnnotationsUpdate(pod, before))
	for _, list := range []struct {
		name       string
		now, older []corev1.Container
	}{
		{"containers", pod.Spec.Containers, before.Spec.Containers},
		{"initContainers", pod.Spec.InitContainers, before.Spec.InitContainers},
	} {
		at := p.Child(list.name)
		if len(list.now) != len(list.older) {
			l.Forbidden(at, "pod updates may not add or remove containers")
			return l.Errors()
		}
		for i := range list.now {
			if list.now[i].Image == "" {
				l.Required(at.Index(i).Child("image"), "")
			}
			l.Add(validateImageWhitespace(at.Index(i), &list.now[i]))
		}
	}
	if errs, stop := validateDeadlineUpdate(p.Child("activeDeadlineSeconds"), pod.Spec.ActiveDeadlineSeconds, before.Spec.ActiveDeadlineSeconds); stop {
		l.Add(errs)
		return l.Errors()
	} else {
		l.Add(errs)
	}
	l.Add(validateTolerationsUpdate(p.Child("tolerations"), pod.Spec.Tolerations, before.Spec.Tolerations))
	l.Add(validateGatesUpdate(p.Child("schedulingGates"), pod.Spec.SchedulingGates, before.Spec.SchedulingGates))
	if !equality.Semantic.DeepEqual(pod.Spec, before.Spec) {
		l.Add(validatePodSpecUpdate(p, &pod.Spec, &before.Spec))
	}
	return l.Errors()
}

// validatePodSpecUpdate undoes the changes that are allowed, in a copy, and reports any that remain.
func validatePodSpecUpdate(p *field.Path, spec, before *corev1.PodSpec) field.ErrorList {
	var l check.List
	rest := spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = before.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = before.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = before.ActiveDeadlineSeconds
	rest.SchedulingGates = before.SchedulingGates
	rest.Tolerations = before.Tolerations
	if len(before.SchedulingGates) > 0 {
		l.Add(validateGatedPodUpdate(p, rest, before))
	}
	if !equality.Semantic.DeepEqual(rest, before) {
		l.Forbidden(p, fmt.Sprintf("pod updates may not change fields other than %s\n%v", strings.Join([]string{
			"`spec.containers[*].image`",
			"`spec.initContainers[*].image`",
			"`spec.activeDeadlineSeconds`",
			"`spec.tolerations` (only additions to existing tolerations)",
			"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
		}, ","), check.Difference(before, rest)))
	}
	return l.Errors()
}

// validateGatedPodUpdate lets a pod that is not yet up for scheduling be confined further: its node selector and
// required node affinity may grow, not change. What is allowed is undone in rest.
func validateGatedPodUpdate(p *field.Path, rest, before *corev1.PodSpec) field.ErrorList {
	var l check.List
	for key, value := range before.NodeSelector {
		if now, ok := rest.NodeSelector[key]; !ok || now != value {
			l.Invalid(p.Child("nodeSelector"), rest.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	rest.NodeSelector = before.NodeSelector

	var older, now *corev1.NodeAffinity
	if before.Affinity != nil {
		older = before.Affinity.NodeAffinity
	}
	if rest.Affinity != nil {
		now = rest.Affinity.NodeAffinity
	}
	if equality.Semantic.DeepEqual(older, now) {
		return l.Errors()
	}
	l.Add(validateNodeAffinityUpdate(p.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"), now, older))
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: older}
	case before.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = older
	}
	return l.Errors()
}

func validateNodeAffinityUpdate(p *field.Path, now, older *corev1.NodeAffinity) field.ErrorList {
	if older == nil || older.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	var l check.List
	olderTerms := older.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var terms []corev1.NodeSelectorTerm
	if now != nil && now.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = now.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	if len(olderTerms) > 0 && len(olderTerms) != len(terms) {
		l.Invalid(p, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return l.Errors()
	}
	onlyAdded := func(now, older []corev1.NodeSelectorRequirement) bool {
		return len(now) >= len(older) && (len(older) == 0 || equality.Semantic.DeepEqual(now[:len(older)], older))
	}
	for i, o := range olderTerms {
		n := terms[i]
		// An empty term matches nothing; anything added to it would widen the choice.
		filled := len(o.MatchExpressions)+len(o.MatchFields) == 0 && len(n.MatchExpressions)+len(n.MatchFields) > 0
		if filled || !onlyAdded(n.MatchExpressions, o.MatchExpressions) || !onlyAdded(n.MatchFields, o.MatchFields) {
			l.Invalid(p.Index(i), n, "only additions are allowed (no mutations or deletions)")
		}
	}
	return l.Errors()
}

// validateDeadlineUpdate lets a deadline be set or brought forward; stop means that comparing further makes no sense.
func validateDeadlineUpdate(p *field.Path, now, older *int64) (errs field.ErrorList, stop bool) {
	switch {
	case now == nil && older != nil:
		return field.ErrorList{field.Invalid(p, now, "must not update from a positive integer to nil value")}, false
	case now == nil:
		return nil, false
	case *now < 0 || *now > math.MaxInt32:
		return field.ErrorList{field.Invalid(p, *now, validation.InclusiveRangeError(0, math.MaxInt32))}, true
	case older != nil && *older < *now:
		return field.ErrorList{field.Invalid(p, *now, "must be less than or equal to previous value")}, true
	}
	return nil, false
}

func validateTolerationsUpdate(p *field.Path, now, older []corev1.Toleration) field.ErrorList {
	for _, o := range older {
		kept := slices.ContainsFunc(now, func(n corev1.Toleration) bool {
			o.TolerationSeconds = n.TolerationSeconds
			return reflect.DeepEqual(o, n)
		})
		if !kept {
			return field.ErrorList{field.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return ValidateTolerations(p, now)
}

func validateGatesUpdate(p *field.Path, now, older []corev1.PodSchedulingGate) field.ErrorList {
	var l check.List
	known := sets.New[string]()
	for _, gate := range older {
		known.Insert(gate.Name)
	}
	for i, gate := range now {
		if !known.Has(gate.Name) {
			l.Forbidden(p.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name))
		}
	}
	return l.Errors()
}

// validatePodAnnotationsUpdate keeps the annotations that a running pod was built by.
func validatePodAnnotationsUpdate(pod, before *corev1.Pod) field.ErrorList {
	var l check.List
	p := field.NewPath("metadata", "annotations")
	appArmor := func(key string) bool {
		return strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
	}
	for key, older := range before.Annotations {
		if now, ok := pod.Annotations[key]; ok && now == older {
			continue
		}
		if appArmor(key) {
			l.Forbidden(p.Key(key), "may not remove or update AppArmor annotations")
		}
		if key == corev1.MirrorPodAnnotationKey {
			l.Forbidden(p.Key(key), "may not remove or update mirror pod annotation")
		}
	}
	for key := range pod.Annotations {
		if _, ok := before.Annotations[key]; ok {
			continue
		}
		if appArmor(key) {
			l.Forbidden(p.Key(key), "may not add AppArmor annotations")
		}
		if key == corev1.MirrorPodAnnotationKey {
			l.Forbidden(p.Key(key), "may not add mirror pod annotation")
		}
	}
	l.Add(ValidatePodAnnotations(p, pod.Annotations, &pod.Spec))
	return l.Errors()
}

// PreparePodTemplateForCreate prepares the template as those of workloads are.
func PreparePodTemplateForCreate(template *corev1.PodTemplate) {
	PreparePodTemplateSpec(&template.Template, nil)
}

// PreparePodTemplateForUpdate prepares the template as those of workloads are.
func PreparePodTemplateForUpdate(template, before *corev1.PodTemplate) {
	PreparePodTemplateSpec(&template.Template, &before.Template)
}

// ValidatePodTemplate checks a new PodTemplate.
func ValidatePodTemplate(template *corev1.PodTemplate) field.ErrorList {
	errs := check.Metadata(&template.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, ValidatePodTemplateSpec(field.NewPath("template"), &template.Template)...)
}

// ValidatePodTemplateUpdate checks an update of a PodTemplate.
func ValidatePodTemplateUpdate(template, before *corev1.PodTemplate) field.ErrorList {
	errs := check.MetadataUpdate(&template.ObjectMeta, &before.ObjectMeta)
	return append(errs, ValidatePodTemplateSpec(field.NewPath("template"), &template.Template)...)
}

// ValidateBinding checks the binding of a pod to a node.
func ValidateBinding(binding *corev1.Binding) field.ErrorList {
	var l check.List
	p := field.NewPath("target")
	if kind := binding.Target.Kind; kind != "" {
		if kind != "Node" {
			l.Add(check.NotSupported(p.Child("kind"), kind, "Node", "<empty>"))
		}
	}
	if binding.Target.Name == "" {
		l.Required(p.Child("name"), "")
	}
	return l.Errors()
}
