// SPDX-License-Identifier: Apache-2.0

// This file holds what a ReplicationController is: the forerunner of ReplicaSet.

package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsReplicationController takes selector and labels from the template where they are left open.
func SetDefaultsReplicationController(rc *corev1.ReplicationController) {
	setIfNil(&rc.Spec.Replicas, 1)
	if rc.Spec.Template == nil {
		return
	}
	if fromTemplate := rc.Spec.Template.Labels; fromTemplate != nil {
		if len(rc.Spec.Selector) == 0 {
			rc.Spec.Selector = fromTemplate
		}
		if len(rc.Labels) == 0 {
			rc.Labels = fromTemplate
		}
	}
	SetDefaultsPodTemplateSpec(rc.Spec.Template)
}

// PrepareReplicationControllerForCreate prepares the template.
func PrepareReplicationControllerForCreate(rc *corev1.ReplicationController) {
	if rc.Spec.Template != nil {
		PreparePodTemplateSpec(rc.Spec.Template, nil)
	}
}

// PrepareReplicationControllerForUpdate prepares the template.
func PrepareReplicationControllerForUpdate(rc, before *corev1.ReplicationController) {
	if rc.Spec.Template != nil {
		PreparePodTemplateSpec(rc.Spec.Template, before.Spec.Template)
	}
}

// ValidateReplicationController checks a new ReplicationController.
func ValidateReplicationController(rc *corev1.ReplicationController) field.ErrorList {
	return append(check.MetadataLongName(&rc.ObjectMeta), validateControllerSpec(&rc.Spec)...)
}

// ValidateReplicationControllerUpdate checks an update of a ReplicationController.
func ValidateReplicationControllerUpdate(rc, before *corev1.ReplicationController) field.ErrorList {
	return append(check.MetadataUpdate(&rc.ObjectMeta, &before.ObjectMeta), validateControllerSpec(&rc.Spec)...)
}

func validateControllerSpec(spec *corev1.ReplicationControllerSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds))
	if len(spec.Selector) == 0 {
		l.Required(p.Child("selector"), "")
	}
	if spec.Replicas == nil {
		l.Required(p.Child("replicas"), "")
	} else {
		l.Add(check.NonNegative(p.Child("replicas"), *spec.Replicas))
	}
	template, p := spec.Template, p.Child("template")
	if template == nil {
		l.Required(p, "")
		return l.Errors()
	}
	if selector := labels.SelectorFromSet(spec.Selector); !selector.Empty() && !selector.Matches(labels.Set(template.Labels)) {
		l.Invalid(p.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`")
	}
	l.Add(ValidatePodTemplateSpec(p, template))
	l.Add(check.OneOf(p.Child("spec", "restartPolicy"), template.Spec.RestartPolicy, corev1.RestartPolicyAlways))
	if template.Spec.ActiveDeadlineSeconds != nil {
		l.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
	return l.Errors()
}

// ValidateReplicationControllerStatusUpdate checks an update of a ReplicationController's status.
func ValidateReplicationControllerStatusUpdate(rc, before *corev1.ReplicationController) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &rc.Status
	l.Add(check.MetadataUpdate(&rc.ObjectMeta, &before.ObjectMeta))
	l.Add(check.NonNegative(p.Child("replicas"), s.Replicas))
	l.Add(check.NonNegative(p.Child("fullyLabeledReplicas"), s.FullyLabeledReplicas))
	l.Add(check.NonNegative(p.Child("readyReplicas"), s.ReadyReplicas))
	l.Add(check.NonNegative(p.Child("availableReplicas"), s.AvailableReplicas))
	l.Add(check.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration))
	l.Add(check.ReplicaCounts(p, s.Replicas, check.Count{Name: "fullyLabeledReplicas", Value: s.FullyLabeledReplicas},
		check.Count{Name: "readyReplicas", Value: s.ReadyReplicas}, check.Count{Name: "availableReplicas", Value: s.AvailableReplicas}))
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Invalid(p.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return l.Errors()
}
