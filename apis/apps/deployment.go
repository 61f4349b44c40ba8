// SPDX-License-Identifier: Apache-2.0

// This file holds what a Deployment is, and the rules for how many pods a rolling update may be short or in excess of.

package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsDeployment fills in what a Deployment leaves open.
func SetDefaultsDeployment(d *appsv1.Deployment) {
	spec := &d.Spec
	setIfNil(&spec.Replicas, 1)
	if spec.Strategy.Type == "" {
		spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		setIfNil(&spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setIfNil(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setIfNil(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	setIfNil(&spec.RevisionHistoryLimit, 10)
	setIfNil(&spec.ProgressDeadlineSeconds, 600)
	core.SetDefaultsPodTemplateSpec(&spec.Template)
}

// PrepareDeploymentForCreate prepares the template.
func PrepareDeploymentForCreate(d *appsv1.Deployment) {
	core.PreparePodTemplateSpec(&d.Spec.Template, nil)
}

// PrepareDeploymentForUpdate prepares the template.
func PrepareDeploymentForUpdate(d, before *appsv1.Deployment) {
	core.PreparePodTemplateSpec(&d.Spec.Template, &before.Spec.Template)
}

// DeploymentChanged says whether an update counts in the generation: annotations do too, since revisions are told by them.
func DeploymentChanged(d, before *appsv1.Deployment) bool {
	return !equality.Semantic.DeepEqual(d.Spec, before.Spec) || !equality.Semantic.DeepEqual(d.Annotations, before.Annotations)
}

// ValidateDeployment checks a new Deployment.
func ValidateDeployment(d *appsv1.Deployment) field.ErrorList {
	return append(check.Metadata(&d.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateDeploymentSpec(&d.Spec)...)
}

// ValidateDeploymentUpdate checks an update of a Deployment.
func ValidateDeploymentUpdate(d, before *appsv1.Deployment) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&d.ObjectMeta, &before.ObjectMeta))
	l.Add(validateDeploymentSpec(&d.Spec))
	l.Add(check.Immutable(field.NewPath("spec", "selector"), d.Spec.Selector, before.Spec.Selector))
	return l.Errors()
}

func validateDeploymentSpec(spec *appsv1.DeploymentSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.NonNegativeIfSet(p.Child("replicas"), spec.Replicas))
	l.Add(validateSelectorAndTemplate(p, spec.Selector, &spec.Template))
	l.Add(validateStrategy(p.Child("strategy"), &spec.Strategy))
	l.Add(check.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds))
	l.Add(check.NonNegativeIfSet(p.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit))
	if deadline := spec.ProgressDeadlineSeconds; deadline != nil {
		l.Add(check.NonNegative(p.Child("progressDeadlineSeconds"), *deadline))
		if *deadline <= spec.MinReadySeconds {
			l.Invalid(p.Child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds")
		}
	}
	return l.Errors()
}

func validateStrategy(p *field.Path, strategy *appsv1.DeploymentStrategy) field.ErrorList {
	var l check.List
	update := strategy.RollingUpdate
	switch strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if update != nil {
			l.Forbidden(p.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(appsv1.RecreateDeploymentStrategyType)+"'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		p := p.Child("rollingUpdate")
		if update == nil {
			l.Required(p, "this should be defaulted and never be nil")
			break
		}
		unavailable, surge := ptr.Deref(update.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(update.MaxSurge, intstr.IntOrString{})
		l.Add(check.IntOrPercent(p.Child("maxUnavailable"), unavailable))
		l.Add(check.IntOrPercent(p.Child("maxSurge"), surge))
		if check.Number(unavailable) == 0 && check.Number(surge) == 0 {
			l.Invalid(p.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0")
		}
		l.Add(check.AtMostAll(p.Child("maxUnavailable"), unavailable))
	default:
		l.Add(check.NotSupported(p, strategy, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType))
	}
	return l.Errors()
}

// ValidateDeploymentStatusUpdate checks an update of a Deployment's status.
func ValidateDeploymentStatusUpdate(d, before *appsv1.Deployment) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &d.Status
	l.Add(check.MetadataUpdate(&d.ObjectMeta, &before.ObjectMeta))
	l.Add(check.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration))
	l.Add(check.NonNegative(p.Child("replicas"), s.Replicas))
	l.Add(check.NonNegative(p.Child("updatedReplicas"), s.UpdatedReplicas))
	l.Add(check.NonNegative(p.Child("readyReplicas"), s.ReadyReplicas))
	l.Add(check.NonNegative(p.Child("availableReplicas"), s.AvailableReplicas))
	l.Add(check.NonNegative(p.Child("unavailableReplicas"), s.UnavailableReplicas))
	l.Add(check.NonNegativeIfSet(p.Child("terminatingReplicas"), s.TerminatingReplicas))
	l.Add(check.NonNegativeIfSet(p.Child("collisionCount"), s.CollisionCount))
	l.Add(check.ReplicaCounts(p, s.Replicas, check.Count{Name: "updatedReplicas", Value: s.UpdatedReplicas},
		check.Count{Name: "readyReplicas", Value: s.ReadyReplicas}, check.Count{Name: "availableReplicas", Value: s.AvailableReplicas}))
	l.Add(validateAvailable(p, s.AvailableReplicas, s.ReadyReplicas, "readyReplicas"))
	l.Add(validateCollisionCount(p, s.CollisionCount, before.Status.CollisionCount))
	return l.Errors()
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
