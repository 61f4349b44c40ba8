// SPDX-License-Identifier: Apache-2.0

// This file holds one device of a slice: what it is like, where it can be used, and what stands against its use.

package resource

import (
	"fmt"
	"regexp"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// validateDevice checks a device. stored are the taints that a known device had; they are not looked at again.
func validateDevice(p *field.Path, device *resourcev1.Device, stored []resourcev1.DeviceTaint, known, perDevice bool) field.ErrorList {
	var l check.List
	l.Add(validateLabel(p.Child("name"), device.Name))
	if n := len(device.Attributes) + len(device.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		l.Invalid(p, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	if n := len(device.Attributes); n > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		l.Invalid(p, n, fmt.Sprintf("the total number of attribute values must not exceed %d", resourcev1.ResourceSliceMaxAttributeValuesPerDevice))
	}
	const longestKey = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength
	l.Add(validateMap(p.Child("attributes"), device.Attributes, unlimited, longestKey, validateQualifiedName, validateAttribute))
	capacity := validateUnsharedCapacity
	if isTrue(device.AllowMultipleAllocations) {
		capacity = validateSharedCapacity
	}
	l.Add(validateMap(p.Child("capacity"), device.Capacity, unlimited, longestKey, validateQualifiedName, capacity))
	if !known || !equality.Semantic.DeepEqual(stored, device.Taints) {
		l.Add(validateList(p.Child("taints"), device.Taints, resourcev1.DeviceTaintsMaxLength, validateTaint))
	}
	l.Add(validateSet(p.Child("consumesCounters"), device.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, validateConsumption,
		func(c resourcev1.DeviceCounterConsumption) string { return c.CounterSet }))
	if perDevice {
		l.Add(validateWhereDevice(p, device))
	} else if device.NodeName != nil || device.NodeSelector != nil || device.AllNodes != nil {
		l.Invalid(p, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
	}
	l.Add(validateBindingConditions(p, device.BindingConditions, device.BindingFailureConditions))
	return l.Errors()
}

// validateWhereDevice checks that there is one answer to which nodes the device can be used on.
func validateWhereDevice(p *field.Path, device *resourcev1.Device) field.ErrorList {
	const exactlyOne = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	var l check.List
	var set []string
	if name := device.NodeName; name != nil && *name == "" {
		l.Invalid(p.Child("nodeName"), *name, "must not be empty")
	} else if name != nil {
		set = append(set, "`nodeName`")
		l.Add(check.DNSSubdomain(p.Child("nodeName"), *name))
	}
	if device.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
		l.Add(core.ValidateNodeSelector(p.Child("nodeSelector"), device.NodeSelector))
	}
	if isTrue(device.AllNodes) {
		set = append(set, "`allNodes`")
	} else if device.AllNodes != nil {
		l.Invalid(p.Child("allNodes"), false, "must be either unset or set to true")
	}
	switch len(set) {
	case 0:
		l.Required(p, exactlyOne)
	case 1:
	default:
		l.Invalid(p, joined(set), exactlyOne)
	}
	return l.Errors()
}

func validateConsumption(p *field.Path, consumption resourcev1.DeviceCounterConsumption) field.ErrorList {
	errs := validateRequiredLabel(p.Child("counterSet"), consumption.CounterSet)
	return append(errs, validateCounters(p.Child("counters"), consumption.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption)...)
}

// semantic is a version by semver.org 2.0.0.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// validateAttribute checks that an attribute has one value. Lists of values are not served.
func validateAttribute(p *field.Path, attribute resourcev1.DeviceAttribute) field.ErrorList {
	const exactlyOne = "exactly one value must be specified"
	var l check.List
	values := 0
	for _, set := range []bool{attribute.BoolValue != nil, attribute.IntValue != nil, attribute.StringValue != nil, attribute.VersionValue != nil} {
		if set {
			values++
		}
	}
	tooLong := func(p *field.Path, value string) {
		if len(value) > resourcev1.DeviceAttributeMaxValueLength {
			l.TooLong(p, resourcev1.DeviceAttributeMaxValueLength)
		}
	}
	if text := attribute.StringValue; text != nil {
		tooLong(p.Child("string"), *text)
	}
	if version := attribute.VersionValue; version != nil {
		if !semantic.MatchString(*version) {
			l.Invalid(p.Child("version"), *version, "must be a string compatible with semver.org spec 2.0.0")
		}
		tooLong(p.Child("version"), *version)
	}
	switch values {
	case 0:
		l.Invalid(p, "", exactlyOne)
	case 1:
	default:
		l.Invalid(p, attribute, exactlyOne)
	}
	return l.Errors()
}

func validateTaint(p *field.Path, taint resourcev1.DeviceTaint) field.ErrorList {
	var l check.List
	l.Add(check.LabelName(p.Child("key"), taint.Key))
	if taint.Value != "" {
		l.Add(validateLabelValue(p.Child("value"), taint.Value))
	}
	l.Add(validateEffect(p.Child("effect"), taint.Effect))
	return l.Errors()
}

// validateBindingConditions checks what a driver has to say before a pod is bound, of a device or of what was allocated at p.
func validateBindingConditions(p *field.Path, conditions, failures []string) field.ErrorList {
	var l check.List
	good, bad := p.Child("bindingConditions"), p.Child("bindingFailureConditions")
	l.Add(validateList(good, conditions, resourcev1.BindingConditionsMaxSize, check.LabelName))
	l.Add(validateList(bad, failures, resourcev1.BindingFailureConditionsMaxSize, check.LabelName))
	seen := sets.New[string]()
	for i, condition := range conditions {
		if seen.Has(condition) {
			l.Duplicate(good.Index(i), condition)
		}
		seen.Insert(condition)
	}
	failed := sets.New[string]()
	for i, condition := range failures {
		if failed.Has(condition) {
			l.Duplicate(bad.Index(i), condition)
		}
		failed.Insert(condition)
		if seen.Has(condition) {
			l.Invalid(bad.Index(i), condition, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(conditions) == 0 && len(failures) > 0 {
		l.Invalid(good, conditions, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failures) == 0 && len(conditions) > 0 {
		l.Invalid(bad, failures, "bindingFailureConditions are required to use bindingConditions")
	}
	return l.Errors()
}
