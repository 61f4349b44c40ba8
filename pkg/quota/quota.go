// SPDX-License-Identifier: Apache-2.0

// Package quota measures objects for ResourceQuotas: what a pod, a service and a claim use of what a quota can limit. Any other
// resource is counted. Admission charges by it and the resourcequota controller counts anew by it; both see k8s.io/api types.
// See https://kubernetes.io/docs/concepts/policy/resource-quotas/.
package quota

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// List returns the objects of a resource in a namespace.
type List func(resource schema.GroupResource, namespace string) ([]runtime.Object, error)

// aliases are the names from before every resource could be counted as count/<resource>.
var aliases = map[schema.GroupResource]corev1.ResourceName{
	{Resource: "configmaps"}:             corev1.ResourceConfigMaps,
	{Resource: "resourcequotas"}:         corev1.ResourceQuotas,
	{Resource: "replicationcontrollers"}: corev1.ResourceReplicationControllers,
	{Resource: "secrets"}:                corev1.ResourceSecrets,
}

// Evaluators returns what measures the kinds that a quota knows by more than their number, or by an older name. list may be nil where
// nothing is counted anew.
func Evaluators(list List) []apiquota.Evaluator {
	all := []apiquota.Evaluator{pods(list), services(list), claims(list)}
	for counted, alias := range aliases {
		all = append(all, generic.NewObjectCountEvaluator(counted, list.of(counted), alias))
	}
	return all
}

// Counter returns what counts the objects of a resource as count/<resource>.
func Counter(counted schema.GroupResource, list List) apiquota.Evaluator {
	return generic.NewObjectCountEvaluator(counted, list.of(counted), aliases[counted])
}

func (l List) of(resource schema.GroupResource) generic.ListFuncByNamespace {
	return func(namespace string) ([]runtime.Object, error) { return l(resource, namespace) }
}

// evaluator measures objects of T. Functions that are nil have nothing to say.
type evaluator[T any] struct {
	resource schema.GroupResource
	list     List
	handles  func(a admission.Attributes) bool
	matching func(corev1.ResourceName) bool
	usage    func(*T) corev1.ResourceList
	// inScope tells whether a selector of scopes selects the object.
	inScope func(corev1.ScopedResourceSelectorRequirement, *T) (bool, error)
	// constraints refuses an object that does not say how much it uses of what is limited.
	constraints func(required []corev1.ResourceName, obj *T) error
}

func (e *evaluator[T]) GroupResource() schema.GroupResource { return e.resource }

func (e *evaluator[T]) Handles(a admission.Attributes) bool { return e.handles(a) }

func (e *evaluator[T]) Constraints(required []corev1.ResourceName, item runtime.Object) error {
	obj, err := as[T](item)
	if err != nil || e.constraints == nil {
		return err
	}
	return e.constraints(required, obj)
}

func (e *evaluator[T]) Matches(quota *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(quota, item, e.MatchingResources, e.matchesScope)
}

func (e *evaluator[T]) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	matching := []corev1.ResourceName{}
	for _, name := range names {
		if e.matching(name) {
			matching = append(matching, name)
		}
	}
	return matching
}

func (e *evaluator[T]) MatchingScopes(item runtime.Object, selectors []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	matching := []corev1.ScopedResourceSelectorRequirement{}
	for _, selector := range selectors {
		ok, err := e.matchesScope(selector, item)
		if err != nil {
			return matching, fmt.Errorf("error on matching scope %v: %w", selector, err)
		}
		if ok {
			matching = append(matching, selector)
		}
	}
	return matching, nil
}

func (e *evaluator[T]) UncoveredQuotaScopes(limited, matched []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	uncovered := []corev1.ScopedResourceSelectorRequirement{}
	if e.inScope == nil {
		return uncovered, nil
	}
	covered := map[corev1.ResourceQuotaScope]bool{}
	for _, m := range matched {
		covered[m.ScopeName] = true
	}
	for _, l := range limited {
		if !covered[l.ScopeName] {
			uncovered = append(uncovered, l)
		}
	}
	return uncovered, nil
}

func (e *evaluator[T]) Usage(item runtime.Object) (corev1.ResourceList, error) {
	obj, err := as[T](item)
	if err != nil {
		return nil, err
	}
	return e.usage(obj), nil
}

func (e *evaluator[T]) UsageStats(options apiquota.UsageStatsOptions) (apiquota.UsageStats, error) {
	return generic.CalculateUsageStats(options, e.list.of(e.resource), e.matchesScope, e.Usage)
}

func (e *evaluator[T]) matchesScope(selector corev1.ScopedResourceSelectorRequirement, item runtime.Object) (bool, error) {
	obj, err := as[T](item)
	if err != nil || e.inScope == nil {
		return false, err
	}
	return e.inScope(selector, obj)
}

func as[T any](item runtime.Object) (*T, error) {
	obj, ok := any(item).(*T)
	if !ok {
		return nil, fmt.Errorf("expect %T, got %T", obj, item)
	}
	return obj, nil
}

// selects tells whether a selector of scopes selects the value, "" for none.
func selects(s corev1.ScopedResourceSelectorRequirement, values ...string) (bool, error) {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	operator, ok := operators[s.Operator]
	if !ok {
		return false, fmt.Errorf("failed to parse and convert selector: %q is not a valid scope selector operator", s.Operator)
	}
	r, err := labels.NewRequirement(string(s.ScopeName), operator, s.Values)
	if err != nil {
		return false, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	if len(values) == 0 {
		return r.Matches(labels.Set{}), nil
	}
	for _, v := range values {
		if r.Matches(labels.Set{string(s.ScopeName): v}) {
			return true, nil
		}
	}
	return false, nil
}

func count(name string) corev1.ResourceName {
	return generic.ObjectCountQuotaResourceNameFor(schema.GroupResource{Resource: name})
}

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }
