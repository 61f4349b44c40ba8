// SPDX-License-Identifier: Apache-2.0

// This file holds the capacity of devices that several claims can have a part of: which parts can be asked for.

package resource

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// maxValidValues is how many parts a policy may list.
const maxValidValues = 10

func validateUnsharedCapacity(p *field.Path, capacity resourcev1.DeviceCapacity) field.ErrorList {
	if capacity.RequestPolicy == nil {
		return nil
	}
	return field.ErrorList{field.Forbidden(p.Child("requestPolicy"), "allowMultipleAllocations must be true")}
}

func validateSharedCapacity(p *field.Path, capacity resourcev1.DeviceCapacity) field.ErrorList {
	policy := capacity.RequestPolicy
	if policy == nil {
		return nil
	}
	p = p.Child("requestPolicy")
	switch values, span := len(policy.ValidValues) > 0, policy.ValidRange != nil; {
	case values && span:
		return field.ErrorList{field.Forbidden(p, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case values && policy.Default == nil:
		return field.ErrorList{field.Required(p.Child("default"), "required when validValues is defined")}
	case values:
		return validateValidValues(p.Child("validValues"), *policy.Default, capacity.Value, policy.ValidValues)
	case span && policy.Default == nil:
		return field.ErrorList{field.Required(p.Child("default"), "required when validRange is defined")}
	case span:
		return validateValidRange(p.Child("validRange"), *policy.Default, capacity.Value, policy.ValidRange)
	}
	return nil
}

func validateValidValues(p *field.Path, byDefault, capacity resource.Quantity, values []resource.Quantity) field.ErrorList {
	var l check.List
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			l.Invalid(p.Index(i), values[i].String(), "values must be sorted in ascending order")
		}
	}
	// Where there are too many, none is looked at, and so the default is not found either.
	found := false
	l.Add(validateSet(p, values, maxValidValues, func(p *field.Path, value resource.Quantity) field.ErrorList {
		found = found || value.Cmp(byDefault) == 0
		if value.Cmp(capacity) > 0 {
			return field.ErrorList{field.Invalid(p, value.String(), fmt.Sprintf("option is larger than capacity value: %s", capacity.String()))}
		}
		return nil
	}, func(value resource.Quantity) string { return fmt.Sprint(value.Value()) }))
	if !found {
		l.Invalid(p, byDefault.String(), "default value is not valid according to the requestPolicy")
	}
	return l.Errors()
}

func validateValidRange(p *field.Path, byDefault, capacity resource.Quantity, span *resourcev1.CapacityRequestPolicyRange) field.ErrorList {
	var l check.List
	lowest, highest, step := span.Min, span.Max, span.Step
	if lowest == nil {
		l.Required(p.Child("min"), "required when validRange is defined")
		return l.Errors()
	}
	exceeds := func(name string, shown, is, limit resource.Quantity, what string) {
		if is.Cmp(limit) > 0 {
			l.Invalid(p.Child(name), shown.String(), what+": "+limit.String())
		}
	}
	exceeds("min", *lowest, *lowest, capacity, "min is larger than capacity value")
	if byDefault.Cmp(*lowest) < 0 {
		l.Invalid(p.Child("min"), byDefault.String(), fmt.Sprintf("default is less than min: %s", lowest.String()))
	}
	if highest != nil {
		exceeds("max", *lowest, *lowest, *highest, "min is larger than max")
		exceeds("max", *highest, *highest, capacity, "max is larger than capacity value")
		exceeds("max", byDefault, byDefault, *highest, "default is more than max")
	}
	if step == nil {
		return l.Errors()
	}
	first := lowest.DeepCopy()
	first.Add(*step)
	exceeds("step", *step, first, capacity, fmt.Sprintf("one step %s is larger than capacity value", first.String()))
	l.Add(validateStep(p.Child("step"), byDefault, *lowest, *step))
	if highest != nil {
		l.Add(validateStep(p.Child("step"), *highest, *lowest, *step))
	}
	return l.Errors()
}

// validateStep checks that value is a number of whole steps from lowest.
func validateStep(p *field.Path, value, lowest, step resource.Quantity) field.ErrorList {
	if step.Value() != 0 && (value.Value()-lowest.Value())%step.Value() == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(p, value.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", step.String(), lowest.String()))}
}
