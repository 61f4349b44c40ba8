// SPDX-License-Identifier: Apache-2.0

// Package autoscaling says what HorizontalPodAutoscaler and Scale are. Autoscalers are stored as autoscaling/v2; ToV1
// and FromV1 join them with autoscaling/v1, which keeps what it has no fields for in annotations.
package autoscaling

import (
	"fmt"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

const (
	defaultCPUUtilization int32 = 80 // Percent of requests.
	maxPeriodSeconds      int32 = 1800
	maxStabilization      int32 = 3600
)

// SetDefaultsHorizontalPodAutoscaler fills in what a HorizontalPodAutoscaler leaves open: one replica at least, 80 % of
// requested CPU, and as fast as pods can be counted.
func SetDefaultsHorizontalPodAutoscaler(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	if hpa.Spec.MinReplicas == nil {
		hpa.Spec.MinReplicas = ptr.To[int32](1)
	}
	if len(hpa.Spec.Metrics) == 0 {
		hpa.Spec.Metrics = []autoscalingv2.MetricSpec{cpuMetric(defaultCPUUtilization)}
	}
	if behavior := hpa.Spec.Behavior; behavior != nil {
		percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
		pods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}
		behavior.ScaleUp = scalingRules(behavior.ScaleUp, ptr.To[int32](0), pods, percent)
		behavior.ScaleDown = scalingRules(behavior.ScaleDown, nil, percent)
	}
	for _, annotation := range roundTripAnnotations() {
		delete(hpa.Annotations, annotation)
	}
}

func cpuMetric(utilization int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name:   corev1.ResourceCPU,
		Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
	}}
}

func scalingRules(rules *autoscalingv2.HPAScalingRules, window *int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if rules == nil {
		rules = &autoscalingv2.HPAScalingRules{}
	}
	if rules.SelectPolicy == nil {
		rules.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
	}
	if rules.StabilizationWindowSeconds == nil {
		rules.StabilizationWindowSeconds = window
	}
	if rules.Policies == nil {
		rules.Policies = policies
	}
	return rules
}

// ValidateHorizontalPodAutoscaler checks a new HorizontalPodAutoscaler.
func ValidateHorizontalPodAutoscaler(hpa *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(check.Metadata(&hpa.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateSpec(&hpa.Spec, true)...)
}

// ValidateHorizontalPodAutoscalerUpdate checks an update of a HorizontalPodAutoscaler.
func ValidateHorizontalPodAutoscalerUpdate(hpa, before *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	now, older := hpa.Spec.ScaleTargetRef, before.Spec.ScaleTargetRef
	retargeted := now.APIVersion != older.APIVersion || now.Kind != older.Kind
	return append(check.MetadataUpdate(&hpa.ObjectMeta, &before.ObjectMeta), validateSpec(&hpa.Spec, retargeted)...)
}

func validateSpec(spec *autoscalingv2.HorizontalPodAutoscalerSpec, checkTargetVersion bool) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	least := spec.MinReplicas
	if least != nil && *least < 1 {
		l.Invalid(p.Child("minReplicas"), *least, "must be greater than or equal to 1")
	}
	switch most := spec.MaxReplicas; {
	case most == 0:
		l.Required(p.Child("maxReplicas"), "must be set and greater than 0")
	case most < 0:
		l.Invalid(p.Child("maxReplicas"), most, "must be greater than or equal to 1")
	}
	if least != nil && spec.MaxReplicas < *least {
		l.Invalid(p.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	target := spec.ScaleTargetRef
	l.Add(validateReference(p.Child("scaleTargetRef"), target, checkTargetVersion, target.Kind == "ReplicationController"))
	fromZero := false
	for i := range spec.Metrics {
		kind := spec.Metrics[i].Type
		fromZero = fromZero || kind == autoscalingv2.ObjectMetricSourceType || kind == autoscalingv2.ExternalMetricSourceType
		l.Add(validateMetric(p.Child("metrics").Index(i), &spec.Metrics[i]))
	}
	if least != nil && *least == 0 && !fromZero {
		l.Forbidden(p.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if spec.Behavior != nil {
		l.Add(validateRules(p.Child("behavior", "scaleUp"), spec.Behavior.ScaleUp))
		l.Add(validateRules(p.Child("behavior", "scaleDown"), spec.Behavior.ScaleDown))
	}
	return l.Errors()
}

func validateReference(p *field.Path, ref autoscalingv2.CrossVersionObjectReference, checkVersion, allowCore bool) field.ErrorList {
	var l check.List
	for _, f := range []struct{ name, value string }{{"kind", ref.Kind}, {"name", ref.Name}} {
		if f.value == "" {
			l.Required(p.Child(f.name), "")
		} else {
			l.Each(p.Child(f.name), f.value, check.PathSegmentName(f.value, false))
		}
	}
	if !checkVersion {
		return l.Errors()
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil {
		l.Invalid(p.Child("apiVersion"), ref.APIVersion, err.Error())
	} else if gv.Group == "" && !allowCore {
		l.Invalid(p.Child("apiVersion"), ref.APIVersion, "apiVersion must specify API group")
	}
	return l.Errors()
}

func validateRules(p *field.Path, rules *autoscalingv2.HPAScalingRules) field.ErrorList {
	if rules == nil {
		return nil
	}
	var l check.List
	if window := rules.StabilizationWindowSeconds; window != nil {
		at := p.Child("stabilizationWindowSeconds")
		if *window < 0 {
			l.Invalid(at, window, "must be greater than or equal to zero")
		}
		if *window > maxStabilization {
			l.Invalid(at, window, fmt.Sprintf("must be less than or equal to %v", maxStabilization))
		}
	}
	if rules.SelectPolicy != nil {
		l.Add(check.OneOf(p.Child("selectPolicy"), *rules.SelectPolicy,
			autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect))
	}
	if len(rules.Policies) == 0 {
		l.Required(p.Child("policies"), "must specify at least one Policy")
	}
	for i, policy := range rules.Policies {
		p := p.Child("policies").Index(i)
		l.Add(check.OneOf(p.Child("type"), policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy))
		l.Add(check.Positive(p.Child("value"), policy.Value))
		l.Add(check.Positive(p.Child("periodSeconds"), policy.PeriodSeconds))
		if policy.PeriodSeconds > maxPeriodSeconds {
			l.Invalid(p.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxPeriodSeconds))
		}
	}
	if rules.Tolerance != nil {
		l.Add(check.NonNegativeQuantity(p.Child("tolerance"), *rules.Tolerance))
	}
	return l.Errors()
}

func validateMetric(p *field.Path, metric *autoscalingv2.MetricSpec) field.ErrorList {
	var l check.List
	types := []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}
	if metric.Type == "" {
		l.Required(p.Child("type"), "must specify a metric source type")
	}
	known := slices.Contains(types, metric.Type)
	if !known {
		l.Add(check.OneOf(p.Child("type"), metric.Type, types...))
	}
	sources := []struct {
		kind     autoscalingv2.MetricSourceType
		name     string
		set      bool
		validate func(*field.Path) field.ErrorList
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", metric.Object != nil, func(p *field.Path) field.ErrorList { return validateObject(p, metric.Object) }},
		{autoscalingv2.ExternalMetricSourceType, "external", metric.External != nil, func(p *field.Path) field.ErrorList { return validateExternal(p, metric.External) }},
		{autoscalingv2.PodsMetricSourceType, "pods", metric.Pods != nil, func(p *field.Path) field.ErrorList { return validatePods(p, metric.Pods) }},
		{autoscalingv2.ResourceMetricSourceType, "resource", metric.Resource != nil, func(p *field.Path) field.ErrorList {
			return validateResource(p, metric.Resource.Name, metric.Resource.Target)
		}},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", metric.ContainerResource != nil, func(p *field.Path) field.ErrorList {
			return validateContainerResource(p, metric.ContainerResource)
		}},
	}
	count := 0
	for _, source := range sources {
		if source.set {
			if count++; count == 1 {
				l.Add(source.validate(p.Child(source.name)))
			}
		}
	}
	for _, source := range sources {
		if source.kind == metric.Type && !source.set {
			l.Required(p.Child(source.name), "must populate information for the given metric source")
		}
	}
	if !known {
		l.Add(check.OneOf(p.Child("type"), metric.Type, types...))
	}
	for _, source := range sources {
		if count > 1 && source.set && source.kind != metric.Type {
			l.Forbidden(p.Child(source.name), "must populate the given metric source only")
		}
	}
	return l.Errors()
}

func validateObject(p *field.Path, source *autoscalingv2.ObjectMetricSource) field.ErrorList {
	var l check.List
	l.Add(validateReference(p.Child("describedObject"), source.DescribedObject, true, true))
	l.Add(validateIdentifier(p.Child("metric"), source.Metric))
	l.Add(validateTarget(p.Child("target"), source.Target))
	if source.Target.Value == nil && source.Target.AverageValue == nil {
		l.Required(p.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
	return l.Errors()
}

func validateExternal(p *field.Path, source *autoscalingv2.ExternalMetricSource) field.ErrorList {
	var l check.List
	l.Add(validateIdentifier(p.Child("metric"), source.Metric))
	l.Add(validateTarget(p.Child("target"), source.Target))
	value, average := source.Target.Value != nil, source.Target.AverageValue != nil
	if !value && !average {
		l.Required(p.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	}
	if value && average {
		l.Forbidden(p.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
	return l.Errors()
}

func validatePods(p *field.Path, source *autoscalingv2.PodsMetricSource) field.ErrorList {
	var l check.List
	l.Add(validateIdentifier(p.Child("metric"), source.Metric))
	l.Add(validateTarget(p.Child("target"), source.Target))
	if source.Target.AverageValue == nil {
		l.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue")
	}
	return l.Errors()
}

func validateContainerResource(p *field.Path, source *autoscalingv2.ContainerResourceMetricSource) field.ErrorList {
	var l check.List
	if source.Name != "" {
		l.Add(core.ValidateContainerResourceName(p.Child("name"), source.Name))
	}
	if source.Container == "" {
		l.Required(p.Child("container"), "must specify a container")
	} else {
		l.Add(check.DNSLabel(p.Child("container"), source.Container))
	}
	l.Add(validateResource(p, source.Name, source.Target))
	return l.Errors()
}

func validateResource(p *field.Path, name corev1.ResourceName, target autoscalingv2.MetricTarget) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(p.Child("name"), "must specify a resource name")
	}
	l.Add(validateTarget(p.Child("target"), target))
	if target.AverageUtilization == nil && target.AverageValue == nil {
		l.Required(p.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization")
	}
	if target.AverageUtilization != nil && target.AverageValue != nil {
		l.Forbidden(p.Child("target", "averageValue"), "may not set both a target raw value and a target utilization")
	}
	return l.Errors()
}

func validateIdentifier(p *field.Path, metric autoscalingv2.MetricIdentifier) field.ErrorList {
	var l check.List
	if metric.Name == "" {
		l.Required(p.Child("name"), "must specify a metric name")
	} else {
		l.Each(p.Child("name"), metric.Name, check.PathSegmentName(metric.Name, false))
	}
	return l.Errors()
}

func validateTarget(p *field.Path, target autoscalingv2.MetricTarget) field.ErrorList {
	var l check.List
	if target.Type == "" {
		l.Required(p.Child("type"), "must specify a metric target type")
	}
	switch target.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		l.Invalid(p.Child("type"), target.Type, "must be either Utilization, Value, or AverageValue")
	}
	if target.Value != nil && target.Value.Sign() <= 0 {
		l.Invalid(p.Child("value"), target.Value, "must be positive")
	}
	if target.AverageValue != nil && target.AverageValue.Sign() <= 0 {
		l.Invalid(p.Child("averageValue"), target.AverageValue, "must be positive")
	}
	if target.AverageUtilization != nil && *target.AverageUtilization < 1 {
		l.Invalid(p.Child("averageUtilization"), target.AverageUtilization, "must be greater than 0")
	}
	return l.Errors()
}

// ValidateHorizontalPodAutoscalerStatusUpdate checks an update of a HorizontalPodAutoscaler's status.
func ValidateHorizontalPodAutoscalerStatusUpdate(hpa, before *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var l check.List
	p := field.NewPath("status")
	l.Add(check.MetadataUpdate(&hpa.ObjectMeta, &before.ObjectMeta))
	l.Add(check.NonNegative(p.Child("currentReplicas"), hpa.Status.CurrentReplicas))
	l.Add(check.NonNegative(p.Child("desiredReplicas"), hpa.Status.DesiredReplicas))
	return l.Errors()
}

// ValidateScale checks what the scale subresource of any workload is given.
func ValidateScale(scale *autoscalingv1.Scale) field.ErrorList {
	errs := check.Metadata(&scale.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, check.NonNegative(field.NewPath("spec", "replicas"), scale.Spec.Replicas)...)
}
