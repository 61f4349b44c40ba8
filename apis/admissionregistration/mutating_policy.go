// SPDX-License-Identifier: Apache-2.0

// This file holds the validation of MutatingAdmissionPolicy and its binding.

package admissionregistration

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateMutatingAdmissionPolicy checks a new MutatingAdmissionPolicy.
func ValidateMutatingAdmissionPolicy(policy *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	var l check.List
	l.Add(metadata(&policy.ObjectMeta))
	p, spec := field.NewPath("spec"), &policy.Spec
	l.Add(validatePolicyFrame(p, spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints, spec.MatchConditions, true))
	s, err := newScope(spec.ParamKind != nil, true)
	if err != nil {
		l.Internal(p, err)
		return l.Errors()
	}
	for i := range spec.Variables {
		l.Add(s.define(p.Child("variables").Index(i), &spec.Variables[i]))
	}
	if len(spec.Mutations) == 0 {
		l.Required(p.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range spec.Mutations {
		l.Add(s.mutation(p.Child("mutations").Index(i), &spec.Mutations[i]))
	}
	if spec.ReinvocationPolicy == "" {
		l.Required(p.Child("reinvocationPolicy"), "")
	} else {
		l.Add(reinvocationPolicy(p.Child("reinvocationPolicy"), spec.ReinvocationPolicy))
	}
	return l.Errors()
}

// ValidateMutatingAdmissionPolicyUpdate checks an update of a MutatingAdmissionPolicy.
func ValidateMutatingAdmissionPolicyUpdate(now, before *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateMutatingAdmissionPolicy(now)...)
}

// ValidateMutatingAdmissionPolicyBinding checks a new MutatingAdmissionPolicyBinding.
func ValidateMutatingAdmissionPolicyBinding(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	var l check.List
	l.Add(metadata(&b.ObjectMeta))
	p := field.NewPath("spec")
	l.Add(validateBindingFrame(p, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources))
	if b.Spec.MatchResources != nil {
		l.Add(validateMutableOperations(p.Child("matchResources"), b.Spec.MatchResources))
	}
	return l.Errors()
}

// ValidateMutatingAdmissionPolicyBindingUpdate checks an update of a MutatingAdmissionPolicyBinding.
func ValidateMutatingAdmissionPolicyBindingUpdate(now, before *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateMutatingAdmissionPolicyBinding(now)...)
}

func validateMutableOperations(p *field.Path, match *admissionv1.MatchResources) field.ErrorList {
	var l check.List
	for _, rule := range match.ResourceRules {
		for _, operation := range rule.Operations {
			l.Add(check.OneOf(p.Child("resourceRules", "operations"), operation,
				admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update))
		}
	}
	return l.Errors()
}

func (s *scope) mutation(p *field.Path, m *admissionv1.Mutation) field.ErrorList {
	var l check.List
	apply, jsonPatch := p.Child("applyConfiguration"), p.Child("jsonPatch")
	switch m.PatchType {
	case "":
		l.Required(p.Child("patchType"), "")
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			l.Required(jsonPatch, "must be specified when patchType is JSONPatch")
		} else if expression := strings.TrimSpace(m.JSONPatch.Expression); expression == "" {
			l.Required(jsonPatch.Child("expression"), "")
		} else {
			l.Add(s.compile(jsonPatch.Child("expression"), &patch.JSONPatchCondition{Expression: expression}, s.options(true, true)))
		}
		if m.ApplyConfiguration != nil {
			l.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			l.Required(apply, "must be specified when patchType is ApplyConfiguration")
		} else if expression := strings.TrimSpace(m.ApplyConfiguration.Expression); expression == "" {
			l.Required(apply.Child("expression"), "")
		} else {
			l.Add(s.compile(apply.Child("expression"), &patch.ApplyConfigurationCondition{Expression: expression}, s.options(true, true)))
		}
		if m.JSONPatch != nil {
			l.Invalid(jsonPatch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		l.Add(check.OneOf(p.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch))
	}
	return l.Errors()
}
