// SPDX-License-Identifier: Apache-2.0

// This file holds what LimitRange and ResourceQuota are.

package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsLimitRange derives the limits of containers that leave them open: by default the maximum, and requests by
// default the limit, or else the minimum.
func SetDefaultsLimitRange(limits *corev1.LimitRange) {
	for i := range limits.Spec.Limits {
		item := &limits.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			if item.Default == nil {
				item.Default = corev1.ResourceList{}
			}
			if item.DefaultRequest == nil {
				item.DefaultRequest = corev1.ResourceList{}
			}
			addMissing(item.Default, item.Max)
			addMissing(item.DefaultRequest, item.Default)
			addMissing(item.DefaultRequest, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundUp(list)
		}
	}
}

func addMissing(list, from corev1.ResourceList) {
	for name, quantity := range from {
		if _, ok := list[name]; !ok {
			list[name] = quantity.DeepCopy()
		}
	}
}

// PrepareLimitRangeForCreate names a LimitRange that has no name.
func PrepareLimitRangeForCreate(limits *corev1.LimitRange) {
	setIfEmpty(&limits.Name, string(uuid.NewUUID()))
}

// ValidateLimitRange checks a new LimitRange.
func ValidateLimitRange(limits *corev1.LimitRange) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&limits.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	types := sets.New[corev1.LimitType]()
	for i := range limits.Spec.Limits {
		item, p := &limits.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		l.Add(validateLimitType(p.Child("type"), item.Type))
		if types.Has(item.Type) {
			l.Duplicate(p.Child("type"), item.Type)
		}
		types.Insert(item.Type)
		l.Add(validateLimitItem(p, item))
	}
	return l.Errors()
}

// ValidateLimitRangeUpdate checks an update of a LimitRange.
func ValidateLimitRangeUpdate(limits, _ *corev1.LimitRange) field.ErrorList {
	return ValidateLimitRange(limits)
}

func validateLimitType(p *field.Path, kind corev1.LimitType) field.ErrorList {
	var l check.List
	switch messages := validation.IsQualifiedName(string(kind)); {
	case len(messages) > 0:
		l.Each(p, kind, messages)
	case kind == corev1.LimitTypePod, kind == corev1.LimitTypeContainer, kind == corev1.LimitTypePersistentVolumeClaim:
	case !strings.Contains(string(kind), "/"):
		l.Invalid(p, kind, "must be a standard limit type or fully qualified")
	}
	return l.Errors()
}

func validateLimitItem(p *field.Path, item *corev1.LimitRangeItem) field.ErrorList {
	var l check.List
	validateName := validateResourceName
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		validateName = ValidateContainerResourceName
	}
	names := corev1.ResourceList{}
	one := func(name string, list corev1.ResourceList) {
		for _, key := range sortedNames(list) {
			l.Add(validateName(p.Child(name).Key(string(key)), key))
			names[key] = list[key]
		}
	}
	one("max", item.Max)
	one("min", item.Min)
	defaults, defaultRequests := item.Default, item.DefaultRequest
	if item.Type == corev1.LimitTypePod {
		const why = "may not be specified when `type` is 'Pod'"
		if len(item.Default) > 0 {
			l.Forbidden(p.Child("default"), why)
		}
		if len(item.DefaultRequest) > 0 {
			l.Forbidden(p.Child("defaultRequest"), why)
		}
		defaults, defaultRequests = nil, nil
	} else {
		one("default", item.Default)
		one("defaultRequest", item.DefaultRequest)
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, hasMin := item.Min[corev1.ResourceStorage]
		_, hasMax := item.Max[corev1.ResourceStorage]
		if !hasMin && !hasMax {
			l.Required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	one("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for _, name := range sortedNames(names) {
		l.Add(validateLimitOrder(p, name, item, defaults, defaultRequests))
	}
	return l.Errors()
}

// validateLimitOrder checks that minimum, default request, default and maximum of one resource ascend.
func validateLimitOrder(p *field.Path, name corev1.ResourceName, item *corev1.LimitRangeItem, defaults, defaultRequests corev1.ResourceList) field.ErrorList {
	var l check.List
	key := string(name)
	low, hasLow := item.Min[name]
	high, hasHigh := item.Max[name]
	limit, hasLimit := defaults[name]
	request, hasRequest := defaultRequests[name]
	ratio, hasRatio := item.MaxLimitRequestRatio[name]
	order := func(both bool, a, b resource.Quantity, at string, shown resource.Quantity, format string) {
		if both && a.Cmp(b) > 0 {
			l.Invalid(p.Child(at).Key(key), shown, fmt.Sprintf(format, a.String(), b.String()))
		}
	}
	order(hasLow && hasHigh, low, high, "min", low, "min value %s is greater than max value %s")
	order(hasRequest && hasLow, low, request, "defaultRequest", request, "min value %s is greater than default request value %s")
	order(hasRequest && hasHigh, request, high, "defaultRequest", request, "default request value %s is greater than max value %s")
	order(hasRequest && hasLimit, request, limit, "defaultRequest", request, "default request value %s is greater than default limit value %s")
	order(hasLimit && hasLow, low, limit, "default", low, "min value %s is greater than default value %s")
	order(hasLimit && hasHigh, limit, high, "default", high, "default value %s is greater than max value %s")
	if hasRatio && ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		l.Invalid(p.Child("maxLimitRequestRatio").Key(key), ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	if hasRatio && hasLow && hasHigh {
		if most := high.AsApproximateFloat64() / low.AsApproximateFloat64(); ratio.AsApproximateFloat64() > most {
			l.Invalid(p.Child("maxLimitRequestRatio").Key(key), ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), most))
		}
	}
	if !overcommitAllowed(name) && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		l.Invalid(p.Child("defaultRequest").Key(key), request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), key))
	}
	return l.Errors()
}

// SetDefaultsResourceQuota rounds quantities.
func SetDefaultsResourceQuota(quota *corev1.ResourceQuota) {
	roundUp(quota.Spec.Hard)
	roundUp(quota.Status.Hard)
	roundUp(quota.Status.Used)
}

// ValidateResourceQuota checks a new ResourceQuota.
func ValidateResourceQuota(quota *corev1.ResourceQuota) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&quota.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateQuotaSpec(field.NewPath("spec"), &quota.Spec))
	l.Add(validateQuotaStatus(field.NewPath("status"), &quota.Status))
	return l.Errors()
}

// ValidateResourceQuotaUpdate checks an update of a ResourceQuota.
func ValidateResourceQuotaUpdate(quota, before *corev1.ResourceQuota) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&quota.ObjectMeta, &before.ObjectMeta))
	l.Add(validateQuotaSpec(p, &quota.Spec))
	if !sets.New(quota.Spec.Scopes...).Equal(sets.New(before.Spec.Scopes...)) {
		l.Invalid(p.Child("scopes"), quota.Spec.Scopes, apivalidation.FieldImmutableErrorMsg)
	}
	return l.Errors()
}

// ValidateResourceQuotaStatusUpdate checks an update of a ResourceQuota's status.
func ValidateResourceQuotaStatusUpdate(quota, before *corev1.ResourceQuota) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&quota.ObjectMeta, &before.ObjectMeta))
	if quota.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	l.Add(validateQuotaStatus(field.NewPath("status"), &quota.Status))
	return l.Errors()
}

func validateQuotaStatus(p *field.Path, status *corev1.ResourceQuotaStatus) field.ErrorList {
	return append(validateQuotaList(p.Child("hard"), status.Hard), validateQuotaList(p.Child("used"), status.Used)...)
}

func validateQuotaList(p *field.Path, list corev1.ResourceList) field.ErrorList {
	var l check.List
	for _, name := range sortedNames(list) {
		p := p.Key(string(name))
		l.Add(validateResourceName(p, name))
		if !strings.Contains(string(name), "/") && !isQuotaResource(name) {
			l.Invalid(p, name, "must be a standard resource for quota")
		}
		l.Add(validateQuantity(p, name, list[name]))
	}
	return l.Errors()
}

func validateQuotaSpec(p *field.Path, spec *corev1.ResourceQuotaSpec) field.ErrorList {
	var l check.List
	l.Add(validateQuotaList(p.Child("hard"), spec.Hard))
	names := sortedNames(spec.Hard)
	scopes := sets.New[corev1.ResourceQuotaScope]()
	for _, scope := range spec.Scopes {
		if !isQuotaScope(scope) {
			l.Invalid(p.Child("scopes"), spec.Scopes, "unsupported scope")
		}
		for _, name := range names {
			if isQuotaResource(name) && !scopeCounts(scope, name) {
				l.Invalid(p.Child("scopes"), spec.Scopes, "unsupported scope applied to resource")
			}
		}
		scopes.Insert(scope)
	}
	l.Add(validateScopeConflicts(p.Child("scopes"), scopes, spec))
	if spec.ScopeSelector == nil {
		return l.Errors()
	}
	at := p.Child("scopeSelector", "matchExpressions")
	selected := sets.New[corev1.ResourceQuotaScope]()
	for _, r := range spec.ScopeSelector.MatchExpressions {
		if !isQuotaScope(r.ScopeName) {
			l.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		for _, name := range names {
			if isQuotaResource(name) && !scopeCounts(r.ScopeName, name) {
				l.Invalid(at, spec.ScopeSelector, "unsupported scope applied to resource")
			}
		}
		l.Add(validateScopeOperator(at, r))
		selected.Insert(r.ScopeName)
	}
	l.Add(validateScopeConflicts(at, selected, spec))
	return l.Errors()
}

func validateScopeOperator(p *field.Path, r corev1.ScopedResourceSelectorRequirement) field.ErrorList {
	var l check.List
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
		corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		if r.Operator != corev1.ScopeSelectorOpExists {
			l.Invalid(p.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
				"ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			l.Required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			l.Invalid(p.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		l.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	return l.Errors()
}

// validateScopeConflicts reports scopes that no object can be in at once.
func validateScopeConflicts(p *field.Path, scopes sets.Set[corev1.ResourceQuotaScope], spec *corev1.ResourceQuotaSpec) field.ErrorList {
	var l check.List
	if scopes.HasAll(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) {
		l.Invalid(p, spec.Scopes, "conflicting scopes")
	}
	if scopes.HasAll(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating) {
		l.Invalid(p, spec.Scopes, "conflicting scopes")
	}
	return l.Errors()
}

func isQuotaScope(scope corev1.ResourceQuotaScope) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// scopeCounts tells whether objects of the scope use the resource at all.
func scopeCounts(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		switch name {
		case corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
			corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory:
			return true
		}
		return false
	}
	return true
}
