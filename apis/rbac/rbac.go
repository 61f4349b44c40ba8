// SPDX-License-Identifier: Apache-2.0

// Package rbac says what roles and bindings are: their defaults and what may be written. Whether the writer may grant
// what is written (escalation) is for the authorizer to say. All is linear in the number of rules and subjects.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsRoleBinding fills in API groups.
func SetDefaultsRoleBinding(binding *rbacv1.RoleBinding) {
	setDefaults(&binding.RoleRef, binding.Subjects)
}

// SetDefaultsClusterRoleBinding fills in API groups.
func SetDefaultsClusterRoleBinding(binding *rbacv1.ClusterRoleBinding) {
	setDefaults(&binding.RoleRef, binding.Subjects)
}

func setDefaults(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	for i := range subjects {
		if s := &subjects[i]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

// ValidateRole checks a new Role.
func ValidateRole(role *rbacv1.Role) field.ErrorList {
	return append(check.Metadata(&role.ObjectMeta, check.PathSegmentName), validateRules(role.Rules, true)...)
}

// ValidateRoleUpdate checks an update of a Role.
func ValidateRoleUpdate(role, before *rbacv1.Role) field.ErrorList {
	return append(ValidateRole(role), check.MetadataUpdate(&role.ObjectMeta, &before.ObjectMeta)...)
}

// ValidateClusterRole checks a new ClusterRole.
func ValidateClusterRole(role *rbacv1.ClusterRole) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&role.ObjectMeta, check.PathSegmentName))
	l.Add(validateRules(role.Rules, false))
	if rule := role.AggregationRule; rule != nil {
		p := field.NewPath("aggregationRule", "clusterRoleSelectors")
		if len(rule.ClusterRoleSelectors) == 0 {
			l.Required(p, "at least one clusterRoleSelector required if aggregationRule is non-nil")
		}
		for i := range rule.ClusterRoleSelectors {
			l.Add(check.LabelSelector(p.Index(i), &rule.ClusterRoleSelectors[i]))
			if selector, err := metav1.LabelSelectorAsSelector(&rule.ClusterRoleSelectors[i]); err != nil {
				l.Invalid(p.Index(i), selector, "invalid label selector.")
			}
		}
	}
	return l.Errors()
}

// ValidateClusterRoleUpdate checks an update of a ClusterRole.
func ValidateClusterRoleUpdate(role, before *rbacv1.ClusterRole) field.ErrorList {
	return append(ValidateClusterRole(role), check.MetadataUpdate(&role.ObjectMeta, &before.ObjectMeta)...)
}

func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var l check.List
	for i, rule := range rules {
		p := field.NewPath("rules").Index(i)
		if len(rule.Verbs) == 0 {
			l.Required(p.Child("verbs"), "verbs must contain at least one value")
		}
		if len(rule.NonResourceURLs) > 0 {
			if namespaced {
				l.Invalid(p.Child("nonResourceURLs"), rule.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(rule.APIGroups) > 0 || len(rule.Resources) > 0 || len(rule.ResourceNames) > 0 {
				l.Invalid(p.Child("nonResourceURLs"), rule.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(rule.APIGroups) == 0 {
			l.Required(p.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(rule.Resources) == 0 {
			l.Required(p.Child("resources"), "resource rules must supply at least one resource")
		}
	}
	return l.Errors()
}

// ValidateRoleBinding checks a new RoleBinding.
func ValidateRoleBinding(binding *rbacv1.RoleBinding) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&binding.ObjectMeta, check.PathSegmentName))
	l.Add(validateRoleRef(binding.RoleRef, "Role", "ClusterRole"))
	l.Add(validateSubjects(binding.Subjects, true))
	return l.Errors()
}

// ValidateRoleBindingUpdate checks an update of a RoleBinding: it may not come to mean another role.
func ValidateRoleBindingUpdate(binding, before *rbacv1.RoleBinding) field.ErrorList {
	var l check.List
	l.Add(ValidateRoleBinding(binding))
	l.Add(check.MetadataUpdate(&binding.ObjectMeta, &before.ObjectMeta))
	l.Add(validateSameRole(binding.RoleRef, before.RoleRef))
	return l.Errors()
}

// ValidateClusterRoleBinding checks a new ClusterRoleBinding.
func ValidateClusterRoleBinding(binding *rbacv1.ClusterRoleBinding) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&binding.ObjectMeta, check.PathSegmentName))
	l.Add(validateRoleRef(binding.RoleRef, "ClusterRole"))
	l.Add(validateSubjects(binding.Subjects, false))
	return l.Errors()
}

// ValidateClusterRoleBindingUpdate checks an update of a ClusterRoleBinding.
func ValidateClusterRoleBindingUpdate(binding, before *rbacv1.ClusterRoleBinding) field.ErrorList {
	var l check.List
	l.Add(ValidateClusterRoleBinding(binding))
	l.Add(check.MetadataUpdate(&binding.ObjectMeta, &before.ObjectMeta))
	l.Add(validateSameRole(binding.RoleRef, before.RoleRef))
	return l.Errors()
}

func validateRoleRef(ref rbacv1.RoleRef, kinds ...string) field.ErrorList {
	var l check.List
	p := field.NewPath("roleRef")
	l.Add(check.OneOf(p.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName))
	l.Add(check.OneOf(p.Child("kind"), ref.Kind, kinds...))
	if ref.Name == "" {
		l.Required(p.Child("name"), "")
	} else {
		l.Each(p.Child("name"), ref.Name, check.PathSegmentName(ref.Name, false))
	}
	return l.Errors()
}

func validateSameRole(now, before rbacv1.RoleRef) field.ErrorList {
	if now == before {
		return nil
	}
	var l check.List
	l.Invalid(field.NewPath("roleRef"), now, "cannot change roleRef")
	return l.Errors()
}

func validateSubjects(subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	var l check.List
	for i, s := range subjects {
		p := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			l.Required(p.Child("name"), "")
		}
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Name != "" {
				l.Each(p.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))
			}
			l.Add(check.OneOf(p.Child("apiGroup"), s.APIGroup, ""))
			if !namespaced && s.Namespace == "" {
				l.Required(p.Child("namespace"), "")
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
			l.Add(check.OneOf(p.Child("apiGroup"), s.APIGroup, rbacv1.GroupName))
		default:
			l.Add(check.OneOf(p.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind))
		}
	}
	return l.Errors()
}
