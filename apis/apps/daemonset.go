// SPDX-License-Identifier: Apache-2.0

// This file holds what a DaemonSet is.

package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsDaemonSet fills in what a DaemonSet leaves open.
func SetDefaultsDaemonSet(ds *appsv1.DaemonSet) {
	spec := &ds.Spec
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setIfNil(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setIfNil(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setIfNil(&spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setIfNil(&spec.RevisionHistoryLimit, 10)
	core.SetDefaultsPodTemplateSpec(&spec.Template)
	// A field of kube-apiserver's own type, which its conversion shows on every object: who writes a DaemonSet manages it.
	setTemplateGeneration(ds, templateGeneration(ds))
}

// PrepareDaemonSetForCreate starts the generation of the template, which apps/v1 shows as an annotation.
func PrepareDaemonSetForCreate(ds *appsv1.DaemonSet) {
	core.PreparePodTemplateSpec(&ds.Spec.Template, nil)
	setTemplateGeneration(ds, max(templateGeneration(ds), 1))
}

// PrepareDaemonSetForUpdate counts the generation of the template up when the template changes.
func PrepareDaemonSetForUpdate(ds, before *appsv1.DaemonSet) {
	core.PreparePodTemplateSpec(&ds.Spec.Template, &before.Spec.Template)
	generation := templateGeneration(before)
	if !equality.Semantic.DeepEqual(ds.Spec.Template, before.Spec.Template) {
		generation++
	}
	setTemplateGeneration(ds, generation)
}

func templateGeneration(ds *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func setTemplateGeneration(ds *appsv1.DaemonSet, generation int64) {
	if ds.Annotations == nil {
		ds.Annotations = map[string]string{}
	}
	ds.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(generation, 10)
}

// ValidateDaemonSet checks a new DaemonSet.
func ValidateDaemonSet(ds *appsv1.DaemonSet) field.ErrorList {
	return append(check.Metadata(&ds.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateDaemonSetSpec(&ds.Spec)...)
}

// ValidateDaemonSetUpdate checks an update of a DaemonSet.
func ValidateDaemonSetUpdate(ds, before *appsv1.DaemonSet) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&ds.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("spec", "selector"), ds.Spec.Selector, before.Spec.Selector))
	l.Add(validateDaemonSetSpec(&ds.Spec))
	return l.Errors()
}

func validateDaemonSetSpec(spec *appsv1.DaemonSetSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.LabelSelector(p.Child("selector"), spec.Selector))
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		l.Invalid(p.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`")
	}
	if s := spec.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		l.Invalid(p.Child("selector"), s, "empty selector is invalid for daemonset")
	}
	l.Add(core.ValidatePodTemplateSpec(p.Child("template"), &spec.Template))
	l.Add(validateAlwaysRunning(p.Child("template"), &spec.Template, "DaemonSet"))
	l.Add(check.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds))
	l.Add(validateDaemonSetStrategy(p.Child("updateStrategy"), &spec.UpdateStrategy))
	l.Add(check.NonNegativeIfSet(p.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit))
	return l.Errors()
}

func validateDaemonSetStrategy(p *field.Path, strategy *appsv1.DaemonSetUpdateStrategy) field.ErrorList {
	var l check.List
	switch strategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		p, update := p.Child("rollingUpdate"), strategy.RollingUpdate
		if update == nil {
			l.Required(p, "")
			break
		}
		unavailable, surge := ptr.Deref(update.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(update.MaxSurge, intstr.IntOrString{})
		l.Add(check.IntOrPercent(p.Child("maxUnavailable"), unavailable))
		l.Add(check.IntOrPercent(p.Child("maxSurge"), surge))
		l.Add(check.AtMostAll(p.Child("maxUnavailable"), unavailable))
		l.Add(check.AtMostAll(p.Child("maxSurge"), surge))
		switch short, over := check.Number(unavailable) != 0, check.Number(surge) != 0; {
		case short && over:
			l.Invalid(p.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero")
		case !short && !over:
			l.Required(p.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
		}
	default:
		l.Add(check.NotSupported(p, strategy, appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType))
	}
	return l.Errors()
}

// ValidateDaemonSetStatusUpdate checks an update of a DaemonSet's status.
func ValidateDaemonSetStatusUpdate(ds, before *appsv1.DaemonSet) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &ds.Status
	l.Add(check.MetadataUpdate(&ds.ObjectMeta, &before.ObjectMeta))
	l.Add(check.NonNegative(p.Child("currentNumberScheduled"), s.CurrentNumberScheduled))
	l.Add(check.NonNegative(p.Child("numberMisscheduled"), s.NumberMisscheduled))
	l.Add(check.NonNegative(p.Child("desiredNumberScheduled"), s.DesiredNumberScheduled))
	l.Add(check.NonNegative(p.Child("numberReady"), s.NumberReady))
	l.Add(check.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration))
	l.Add(check.NonNegative(p.Child("updatedNumberScheduled"), s.UpdatedNumberScheduled))
	l.Add(check.NonNegative(p.Child("numberAvailable"), s.NumberAvailable))
	l.Add(check.NonNegative(p.Child("numberUnavailable"), s.NumberUnavailable))
	l.Add(check.NonNegativeIfSet(p.Child("collisionCount"), s.CollisionCount))
	l.Add(validateCollisionCount(p, s.CollisionCount, before.Status.CollisionCount))
	return l.Errors()
}
