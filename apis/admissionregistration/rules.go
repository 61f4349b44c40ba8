// SPDX-License-Identifier: Apache-2.0

// This file holds what webhooks and policies share: which requests they are for.

package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func failurePolicy(p *field.Path, policy admissionv1.FailurePolicyType) field.ErrorList {
	return check.OneOf(p, policy, admissionv1.Fail, admissionv1.Ignore)
}

func matchPolicy(p *field.Path, policy admissionv1.MatchPolicyType) field.ErrorList {
	return check.OneOf(p, policy, admissionv1.Equivalent, admissionv1.Exact)
}

func reinvocationPolicy(p *field.Path, policy admissionv1.ReinvocationPolicyType) field.ErrorList {
	return check.OneOf(p, policy, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
}

func validateMatchResources(p *field.Path, m *admissionv1.MatchResources) field.ErrorList {
	var l check.List
	if m == nil {
		return nil
	}
	if m.MatchPolicy == nil {
		l.Required(p.Child("matchPolicy"), "")
	} else {
		l.Add(matchPolicy(p.Child("matchPolicy"), *m.MatchPolicy))
	}
	if m.NamespaceSelector == nil {
		l.Required(p.Child("namespaceSelector"), "")
	}
	l.Add(check.LabelSelector(p.Child("namespaceSelector"), m.NamespaceSelector))
	if m.ObjectSelector == nil {
		l.Required(p.Child("objectSelector"), "")
	}
	l.Add(check.LabelSelector(p.Child("objectSelector"), m.ObjectSelector))
	l.Add(validateNamedRules(p.Child("resourceRules"), m.ResourceRules))
	l.Add(validateNamedRules(p.Child("excludeResourceRules"), m.ExcludeResourceRules))
	return l.Errors()
}

func validateNamedRules(p *field.Path, rules []admissionv1.NamedRuleWithOperations) field.ErrorList {
	var l check.List
	for i := range rules {
		names := sets.New[string]()
		for j, name := range rules[i].ResourceNames {
			at := p.Index(i).Child("resourceNames").Index(j)
			l.Each(at, name, content.IsPathSegmentName(name))
			if names.Has(name) {
				l.Duplicate(at, name)
			}
			names.Insert(name)
		}
		l.Add(validateRule(p.Index(i), &rules[i].RuleWithOperations))
	}
	return l.Errors()
}

func validateRule(p *field.Path, r *admissionv1.RuleWithOperations) field.ErrorList {
	var l check.List
	if len(r.Operations) == 0 {
		l.Required(p.Child("operations"), "")
	}
	l.Add(alone(p.Child("operations"), r.Operations, "operations"))
	for i, operation := range r.Operations {
		l.Add(check.OneOf(p.Child("operations").Index(i), operation,
			admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update))
	}
	if len(r.APIGroups) == 0 {
		l.Required(p.Child("apiGroups"), "")
	}
	l.Add(alone(p.Child("apiGroups"), r.APIGroups, "API groups"))
	if len(r.APIVersions) == 0 {
		l.Required(p.Child("apiVersions"), "")
	}
	l.Add(alone(p.Child("apiVersions"), r.APIVersions, "API versions"))
	for i, version := range r.APIVersions {
		if version == "" {
			l.Required(p.Child("apiVersions").Index(i), "")
		}
	}
	l.Add(validateResources(p.Child("resources"), r.Resources))
	if r.Scope != nil {
		l.Add(check.OneOf(p.Child("scope"), *r.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope))
	}
	return l.Errors()
}

// alone reports a wildcard among other values.
func alone[T ~string](p *field.Path, values []T, what string) field.ErrorList {
	if len(values) < 2 || !slices.Contains(values, "*") {
		return nil
	}
	return field.ErrorList{field.Invalid(p, values, fmt.Sprintf("if '*' is present, must not specify other %s", what))}
}

func validateResources(p *field.Path, resources []string) field.ErrorList {
	var l check.List
	if len(resources) == 0 {
		l.Required(p, "")
	}
	allSubresourcesOf, allResourcesWith := sets.New[string](), sets.New[string]()
	plain := false
	for i, name := range resources {
		if name == "" {
			l.Required(p.Index(i), "")
			continue
		}
		resource, sub, nested := strings.Cut(name, "/")
		if !nested {
			plain = name != "*"
			continue
		}
		if allSubresourcesOf.Has(resource) {
			l.Invalid(p.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, name))
		}
		if allResourcesWith.Has(sub) {
			l.Invalid(p.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name))
		}
		if sub == "*" {
			allSubresourcesOf.Insert(resource)
		}
		if resource == "*" {
			allResourcesWith.Insert(sub)
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		l.Invalid(p, resources, "if '*/*' is present, must not specify other resources")
	}
	if plain && slices.Contains(resources, "*") {
		l.Invalid(p, resources, "if '*' is present, must not specify other resources without subresources")
	}
	return l.Errors()
}

// maxMatchConditions bounds the conditions that are evaluated for each request.
const maxMatchConditions = 64

func validateMatchConditions(p *field.Path, conditions []admissionv1.MatchCondition, params bool) field.ErrorList {
	var l check.List
	if len(conditions) > maxMatchConditions {
		l.TooMany(p, len(conditions), maxMatchConditions)
	}
	names := sets.New[string]()
	for i, c := range conditions {
		at := p.Index(i)
		if expression := strings.TrimSpace(c.Expression); expression == "" {
			l.Required(at.Child("expression"), "")
		} else {
			l.Add(compileMatchCondition(at.Child("expression"), expression, params))
		}
		if c.Name == "" {
			l.Required(at.Child("name"), "")
			continue
		}
		l.Add(check.QualifiedName(at.Child("name"), c.Name))
		if names.Has(c.Name) {
			l.Duplicate(at.Child("name"), c.Name)
		}
		names.Insert(c.Name)
	}
	return l.Errors()
}
