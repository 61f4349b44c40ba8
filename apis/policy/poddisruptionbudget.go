// SPDX-License-Identifier: Apache-2.0

// Package policy says what a PodDisruptionBudget is.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidatePodDisruptionBudget checks a new PodDisruptionBudget.
func ValidatePodDisruptionBudget(pdb *policyv1.PodDisruptionBudget) field.ErrorList {
	var l check.List
	p, spec := field.NewPath("spec"), &pdb.Spec
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		l.Invalid(p, *spec, "minAvailable and maxUnavailable cannot be both set")
	}
	for _, bound := range []struct {
		name  string
		value *intstr.IntOrString
	}{{"minAvailable", spec.MinAvailable}, {"maxUnavailable", spec.MaxUnavailable}} {
		if bound.value != nil {
			l.Add(check.IntOrPercent(p.Child(bound.name), *bound.value))
			l.Add(check.AtMostAll(p.Child(bound.name), *bound.value))
		}
	}
	l.Add(check.LabelSelector(p.Child("selector"), spec.Selector))
	if policy := spec.UnhealthyPodEvictionPolicy; policy != nil {
		l.Add(check.OneOf(p.Child("unhealthyPodEvictionPolicy"), *policy, policyv1.AlwaysAllow, policyv1.IfHealthyBudget))
	}
	return l.Errors()
}

// ValidatePodDisruptionBudgetUpdate checks an update of a PodDisruptionBudget.
func ValidatePodDisruptionBudgetUpdate(pdb, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	return ValidatePodDisruptionBudget(pdb)
}

// ValidatePodDisruptionBudgetStatusUpdate checks an update of a PodDisruptionBudget's status.
func ValidatePodDisruptionBudgetStatusUpdate(pdb, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &pdb.Status
	l.Add(metavalidation.ValidateConditions(s.Conditions, p.Child("conditions")))
	l.Add(check.NonNegative(p.Child("disruptionsAllowed"), s.DisruptionsAllowed))
	l.Add(check.NonNegative(p.Child("currentHealthy"), s.CurrentHealthy))
	l.Add(check.NonNegative(p.Child("desiredHealthy"), s.DesiredHealthy))
	l.Add(check.NonNegative(p.Child("expectedPods"), s.ExpectedPods))
	return l.Errors()
}
