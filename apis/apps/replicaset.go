// SPDX-License-Identifier: Apache-2.0

// Package apps says what an object of the apps group is: its defaults, and what creates, updates and status updates may
// contain. The functions are named to the rule of package core, and cost time linear in the size of the object.
//
// This file holds ReplicaSet, and the rules for the template that it and Deployment share.
package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsReplicaSet fills in what a ReplicaSet leaves open.
func SetDefaultsReplicaSet(rs *appsv1.ReplicaSet) {
	if rs.Spec.Replicas == nil {
		rs.Spec.Replicas = ptr.To[int32](1)
	}
	core.SetDefaultsPodTemplateSpec(&rs.Spec.Template)
}

// PrepareReplicaSetForCreate prepares the template.
func PrepareReplicaSetForCreate(rs *appsv1.ReplicaSet) {
	core.PreparePodTemplateSpec(&rs.Spec.Template, nil)
}

// PrepareReplicaSetForUpdate prepares the template.
func PrepareReplicaSetForUpdate(rs, before *appsv1.ReplicaSet) {
	core.PreparePodTemplateSpec(&rs.Spec.Template, &before.Spec.Template)
}

// ValidateReplicaSet checks a new ReplicaSet.
func ValidateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	return append(check.Metadata(&rs.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateReplicaSetSpec(&rs.Spec)...)
}

// ValidateReplicaSetUpdate checks an update of a ReplicaSet.
func ValidateReplicaSetUpdate(rs, before *appsv1.ReplicaSet) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&rs.ObjectMeta, &before.ObjectMeta))
	l.Add(validateReplicaSetSpec(&rs.Spec))
	l.Add(check.Immutable(field.NewPath("spec", "selector"), rs.Spec.Selector, before.Spec.Selector))
	return l.Errors()
}

func validateReplicaSetSpec(spec *appsv1.ReplicaSetSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.NonNegativeIfSet(p.Child("replicas"), spec.Replicas))
	l.Add(check.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds))
	l.Add(validateSelectorAndTemplate(p, spec.Selector, &spec.Template))
	return l.Errors()
}

// ValidateReplicaSetStatusUpdate checks an update of a ReplicaSet's status.
func ValidateReplicaSetStatusUpdate(rs, before *appsv1.ReplicaSet) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &rs.Status
	l.Add(check.MetadataUpdate(&rs.ObjectMeta, &before.ObjectMeta))
	l.Add(check.NonNegative(p.Child("replicas"), s.Replicas))
	l.Add(check.NonNegative(p.Child("fullyLabeledReplicas"), s.FullyLabeledReplicas))
	l.Add(check.NonNegative(p.Child("readyReplicas"), s.ReadyReplicas))
	l.Add(check.NonNegative(p.Child("availableReplicas"), s.AvailableReplicas))
	l.Add(check.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration))
	l.Add(check.NonNegativeIfSet(p.Child("terminatingReplicas"), s.TerminatingReplicas))
	l.Add(check.ReplicaCounts(p, s.Replicas, check.Count{Name: "fullyLabeledReplicas", Value: s.FullyLabeledReplicas},
		check.Count{Name: "readyReplicas", Value: s.ReadyReplicas}, check.Count{Name: "availableReplicas", Value: s.AvailableReplicas}))
	l.Add(validateAvailable(p, s.AvailableReplicas, s.ReadyReplicas, "readyReplicas"))
	return l.Errors()
}

func validateAvailable(p *field.Path, available, ready int32, readyField string) field.ErrorList {
	if available <= ready {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("availableReplicas"), available, "cannot be greater than "+readyField)}
}

// validateCollisionCount lets the number of name collisions only grow.
func validateCollisionCount(p *field.Path, now, before *int32) field.ErrorList {
	if !check.Decremented(now, before) {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("collisionCount"), ptr.Deref(now, 0), "cannot be decremented")}
}

// validateSelectorAndTemplate checks a selector that must be there, and the template that it must select.
func validateSelectorAndTemplate(p *field.Path, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	l.Add(validateSelector(p.Child("selector"), selector, "deployment"))
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		l.Invalid(p.Child("selector"), selector, "invalid label selector")
		return l.Errors()
	}
	p = p.Child("template")
	l.Add(validateSelected(p, parsed, template))
	l.Add(core.ValidatePodTemplateSpec(p, template))
	l.Add(validateAlwaysRunning(p, template, "ReplicaSet"))
	return l.Errors()
}

// validateSelector checks a workload's selector. ReplicaSets call themselves deployments in it, as Kubernetes does.
func validateSelector(p *field.Path, selector *metav1.LabelSelector, kind string) field.ErrorList {
	var l check.List
	if selector == nil {
		l.Required(p, "")
		return l.Errors()
	}
	l.Add(check.LabelSelector(p, selector))
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		l.Invalid(p, selector, "empty selector is invalid for "+kind)
	}
	return l.Errors()
}

func validateSelected(p *field.Path, selector labels.Selector, template *corev1.PodTemplateSpec) field.ErrorList {
	if selector.Empty() || selector.Matches(labels.Set(template.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`")}
}

// validateAlwaysRunning checks that the pods of a workload that runs for ever do so too.
func validateAlwaysRunning(p *field.Path, template *corev1.PodTemplateSpec, kind string) field.ErrorList {
	var l check.List
	l.Add(check.OneOf(p.Child("spec", "restartPolicy"), template.Spec.RestartPolicy, corev1.RestartPolicyAlways))
	if template.Spec.ActiveDeadlineSeconds != nil {
		l.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported")
	}
	return l.Errors()
}
