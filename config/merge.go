// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

func mergeClusterRole(existing, wanted *rbacv1.ClusterRole) (*rbacv1.ClusterRole, bool) {
	merged := existing.DeepCopy()
	changed := mergeMeta(merged, wanted)
	changed = mergeRules(&merged.Rules, wanted.Rules) || changed
	if mergeAggregation(merged, wanted) || changed {
		return merged, false
	}
	return nil, false
}

func mergeRole(existing, wanted *rbacv1.Role) (*rbacv1.Role, bool) {
	merged := existing.DeepCopy()
	changed := mergeMeta(merged, wanted)
	if mergeRules(&merged.Rules, wanted.Rules) || changed {
		return merged, false
	}
	return nil, false
}

// mergeClusterRoleBinding replaces a binding to another role, since roleRef cannot be changed.
func mergeClusterRoleBinding(existing, wanted *rbacv1.ClusterRoleBinding) (*rbacv1.ClusterRoleBinding, bool) {
	merged := existing.DeepCopy()
	changed := mergeMeta(merged, wanted)
	if mergeSubjects(&merged.Subjects, wanted.Subjects) || changed {
		return merged, existing.RoleRef != wanted.RoleRef
	}
	return nil, existing.RoleRef != wanted.RoleRef
}

func mergeRoleBinding(existing, wanted *rbacv1.RoleBinding) (*rbacv1.RoleBinding, bool) {
	merged := existing.DeepCopy()
	changed := mergeMeta(merged, wanted)
	if mergeSubjects(&merged.Subjects, wanted.Subjects) || changed {
		return merged, existing.RoleRef != wanted.RoleRef
	}
	return nil, existing.RoleRef != wanted.RoleRef
}

// mergeMeta adds the labels and annotations that are missing; those that are there win.
func mergeMeta(merged, wanted metav1.Object) (changed bool) {
	labels, more := addMissing(merged.GetLabels(), wanted.GetLabels())
	merged.SetLabels(labels)
	annotations, andMore := addMissing(merged.GetAnnotations(), wanted.GetAnnotations())
	merged.SetAnnotations(annotations)
	return more || andMore
}

func addMissing(to, from map[string]string) (_ map[string]string, changed bool) {
	for key, value := range from {
		if _, ok := to[key]; ok {
			continue
		}
		if to == nil {
			to = map[string]string{}
		}
		to[key], changed = value, true
	}
	return to, changed
}

// mergeRules adds what the rules do not cover; another way to say the same is no change.
func mergeRules(rules *[]rbacv1.PolicyRule, wanted []rbacv1.PolicyRule) (changed bool) {
	covered, missing := validation.Covers(*rules, wanted)
	*rules = append(*rules, missing...)
	return !covered
}

func mergeSubjects(subjects *[]rbacv1.Subject, wanted []rbacv1.Subject) (changed bool) {
	for _, s := range wanted {
		if !slices.Contains(*subjects, s) {
			*subjects, changed = append(*subjects, s), true
		}
	}
	return changed
}

// mergeAggregation makes a role one that gathers rules, or one that does not, as wanted, and adds missing selectors.
func mergeAggregation(merged, wanted *rbacv1.ClusterRole) (changed bool) {
	if wanted.AggregationRule == nil {
		changed = merged.AggregationRule != nil
		merged.AggregationRule = nil
		return changed
	}
	if merged.AggregationRule == nil {
		merged.AggregationRule = &rbacv1.AggregationRule{}
	}
	selectors := &merged.AggregationRule.ClusterRoleSelectors
	for _, s := range wanted.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(*selectors, func(have metav1.LabelSelector) bool { return apiequality.Semantic.DeepEqual(have, s) }) {
			*selectors, changed = append(*selectors, s), true
		}
	}
	return changed
}
