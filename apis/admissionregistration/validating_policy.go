// SPDX-License-Identifier: Apache-2.0

// This file holds the validation of ValidatingAdmissionPolicy and its binding, and what mutating policies share with it.

package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/util/jsonpath"

	"github.com/hivemind-project/hivemind/apis/check"
)

const (
	maxAuditAnnotations          = 20
	maxAuditAnnotationExpression = 5 * 1024
)

// ValidateValidatingAdmissionPolicy checks a new ValidatingAdmissionPolicy.
func ValidateValidatingAdmissionPolicy(policy *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	var l check.List
	l.Add(metadata(&policy.ObjectMeta))
	p, spec := field.NewPath("spec"), &policy.Spec
	l.Add(validatePolicyFrame(p, spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints, spec.MatchConditions, false))
	s, err := newScope(spec.ParamKind != nil, len(spec.Variables) > 0)
	if err != nil {
		l.Internal(p, err)
		return l.Errors()
	}
	for i := range spec.Variables {
		l.Add(s.define(p.Child("variables").Index(i), &spec.Variables[i]))
	}
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		const either = "validations or auditAnnotations must contain at least one item"
		l.Required(p.Child("validations"), either)
		l.Required(p.Child("auditAnnotations"), either)
		return l.Errors()
	}
	for i := range spec.Validations {
		l.Add(s.validation(p.Child("validations").Index(i), &spec.Validations[i]))
	}
	l.Add(s.auditAnnotations(p.Child("auditAnnotations"), policy.Name, spec.AuditAnnotations))
	return l.Errors()
}

// ValidateValidatingAdmissionPolicyUpdate checks an update of a ValidatingAdmissionPolicy.
func ValidateValidatingAdmissionPolicyUpdate(now, before *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateValidatingAdmissionPolicy(now)...)
}

// ValidateValidatingAdmissionPolicyStatusUpdate checks an update of a ValidatingAdmissionPolicy's status.
func ValidateValidatingAdmissionPolicyStatusUpdate(now, before *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	var l check.List
	l.Add(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta))
	p := field.NewPath("status")
	if types := now.Status.TypeChecking; types != nil {
		for i, w := range types.ExpressionWarnings {
			at := p.Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				l.Required(at.Child("warning"), "")
			}
			l.Add(validateFieldRef(at.Child("fieldRef"), strings.TrimSpace(w.FieldRef)))
		}
	}
	l.Add(metavalidation.ValidateConditions(now.Status.Conditions, p.Child("conditions")))
	return l.Errors()
}

func validateFieldRef(p *field.Path, ref string) field.ErrorList {
	if ref == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
		return field.ErrorList{field.Invalid(p, ref, fmt.Sprintf("invalid JSONPath: %v", err))}
	}
	return nil
}

// ValidateValidatingAdmissionPolicyBinding checks a new ValidatingAdmissionPolicyBinding.
func ValidateValidatingAdmissionPolicyBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	var l check.List
	l.Add(metadata(&b.ObjectMeta))
	p := field.NewPath("spec")
	l.Add(validateBindingFrame(p, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources))
	p = p.Child("validationActions")
	actions := sets.New[admissionv1.ValidationAction]()
	for i, action := range b.Spec.ValidationActions {
		l.Add(check.OneOf(p.Index(i), action, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn))
		if actions.Has(action) {
			l.Duplicate(p.Index(i), action)
		}
		actions.Insert(action)
	}
	if actions.HasAll(admissionv1.Deny, admissionv1.Warn) {
		l.Invalid(p, b.Spec.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(actions) == 0 {
		l.Required(p, "at least one validation action is required")
	}
	return l.Errors()
}

// ValidateValidatingAdmissionPolicyBindingUpdate checks an update of a ValidatingAdmissionPolicyBinding.
func ValidateValidatingAdmissionPolicyBindingUpdate(now, before *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateValidatingAdmissionPolicyBinding(now)...)
}

// validatePolicyFrame checks what all policies have. Requests to delete cannot be mutated.
func validatePolicyFrame(p *field.Path, failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, match *admissionv1.MatchResources, conditions []admissionv1.MatchCondition, mutating bool) field.ErrorList {
	var l check.List
	if failure == nil {
		l.Required(p.Child("failurePolicy"), "")
	} else {
		l.Add(failurePolicy(p.Child("failurePolicy"), *failure))
	}
	if params != nil {
		l.Add(validateParamKind(p.Child("paramKind"), params))
	}
	if at := p.Child("matchConstraints"); match == nil {
		l.Required(at, "")
	} else {
		l.Add(validateMatchResources(at, match))
		if len(match.ResourceRules) == 0 {
			l.Required(at.Child("resourceRules"), "")
		}
		if mutating {
			l.Add(validateMutableOperations(at, match))
		}
	}
	l.Add(validateMatchConditions(p.Child("matchConditions"), conditions, params != nil))
	return l.Errors()
}

func validateParamKind(p *field.Path, kind *admissionv1.ParamKind) field.ErrorList {
	var l check.List
	at := p.Child("apiVersion")
	group, version, grouped := strings.Cut(kind.APIVersion, "/")
	if !grouped {
		group, version = "", kind.APIVersion
	}
	switch {
	case kind.APIVersion == "":
		l.Required(at, "")
	case strings.Contains(version, "/"):
		l.Invalid(at, kind.APIVersion, "unexpected GroupVersion string: "+kind.APIVersion)
	default:
		if messages := utilvalidation.IsDNS1123Subdomain(group); group != "" && len(messages) > 0 {
			l.Invalid(at, group, strings.Join(messages, ","))
		}
		if version == "" {
			l.Invalid(at, kind.APIVersion, "version must be specified")
		} else if messages := utilvalidation.IsDNS1035Label(version); len(messages) > 0 {
			l.Invalid(at, version, strings.Join(messages, ","))
		}
	}
	if kind.Kind == "" {
		l.Required(p.Child("kind"), "")
	} else if messages := utilvalidation.IsDNS1035Label(strings.ToLower(kind.Kind)); len(messages) > 0 {
		l.Invalid(p.Child("kind"), kind.Kind, "may have mixed case, but should otherwise match: "+strings.Join(messages, ","))
	}
	return l.Errors()
}

// validateBindingFrame checks what all bindings have.
func validateBindingFrame(p *field.Path, policy string, params *admissionv1.ParamRef, match *admissionv1.MatchResources) field.ErrorList {
	var l check.List
	if policy == "" {
		l.Required(p.Child("policyName"), "")
	} else {
		l.Each(p.Child("policyName"), policy, validation.NameIsDNSSubdomain(policy, false))
	}
	if params != nil {
		l.Add(validateParamRef(p.Child("paramRef"), params))
	}
	l.Add(validateMatchResources(p.Child("matchResources"), match))
	return l.Errors()
}

func validateParamRef(p *field.Path, ref *admissionv1.ParamRef) field.ErrorList {
	var l check.List
	both := ref.Name != "" && ref.Selector != nil
	if ref.Name != "" {
		l.Each(p.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))
	}
	if both {
		l.Forbidden(p.Child("name"), "name and selector are mutually exclusive")
	}
	l.Add(check.LabelSelector(p.Child("selector"), ref.Selector))
	if both {
		l.Forbidden(p.Child("selector"), "name and selector are mutually exclusive")
	}
	if ref.Name == "" && ref.Selector == nil {
		l.Required(p, "one of name or selector must be specified")
	}
	if at := p.Child("parameterNotFoundAction"); ref.ParameterNotFoundAction == nil {
		l.Required(at, "")
	} else {
		l.Add(check.RequiredOneOf(at, *ref.ParameterNotFoundAction, admissionv1.DenyAction, admissionv1.AllowAction))
	}
	return l.Errors()
}

func (s *scope) validation(p *field.Path, v *admissionv1.Validation) field.ErrorList {
	var l check.List
	if strings.TrimSpace(v.Expression) == "" {
		l.Required(p.Child("expression"), "expression is not specified")
	} else {
		l.Add(s.compile(p.Child("expression"), &validating.ValidationCondition{Expression: v.Expression}, s.options(true, false)))
	}
	if at := p.Child("messageExpression"); v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		l.Invalid(at, v.MessageExpression, "must be non-empty if specified")
	} else if v.MessageExpression != "" {
		l.Add(s.compile(at, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, s.options(false, false)))
	}
	if message := strings.TrimSpace(v.Message); v.Message != "" && message == "" {
		l.Invalid(p.Child("message"), v.Message, "must be non-empty if specified")
	} else if strings.ContainsAny(message, "\n\r") {
		l.Invalid(p.Child("message"), v.Message, "must not contain line breaks")
	}
	if v.Reason != nil {
		l.Add(check.OneOf(p.Child("reason"), *v.Reason,
			metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge))
	}
	return l.Errors()
}

func (s *scope) auditAnnotations(p *field.Path, policy string, annotations []admissionv1.AuditAnnotation) field.ErrorList {
	var l check.List
	if len(annotations) > maxAuditAnnotations {
		l.Invalid(p, annotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	keys := sets.New[string]()
	for i, a := range annotations {
		at := p.Index(i)
		if policy == "" {
			l.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			l.Add(check.QualifiedName(at.Child("key"), policy+"/"+a.Key))
		}
		switch expression := strings.TrimSpace(a.ValueExpression); {
		case expression == "":
			l.Required(at.Child("valueExpression"), "valueExpression is not specified")
		case len(expression) > maxAuditAnnotationExpression:
			l.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAuditAnnotationExpression))
		default:
			l.Add(s.compile(at.Child("valueExpression"), &validating.AuditAnnotationCondition{ValueExpression: expression}, s.options(true, false)))
		}
		if keys.Has(a.Key) {
			l.Duplicate(at.Child("key"), a.Key)
		}
		keys.Insert(a.Key)
	}
	return l.Errors()
}
