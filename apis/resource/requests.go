// SPDX-License-Identifier: Apache-2.0

// This file holds what a claim asks for: requests, what the devices of several must have in common, and configuration.

package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateDeviceClaim(p *field.Path, claim *resourcev1.DeviceClaim) field.ErrorList {
	var l check.List
	names := namesOfRequests(claim)
	l.Add(validateSet(p.Child("requests"), claim.Requests, resourcev1.DeviceRequestsMaxSize, validateRequest,
		func(request resourcev1.DeviceRequest) string { return request.Name }))
	l.Add(validateList(p.Child("constraints"), claim.Constraints, resourcev1.DeviceConstraintsMaxSize, func(p *field.Path, constraint resourcev1.DeviceConstraint) field.ErrorList {
		return validateConstraint(p, constraint, names)
	}))
	l.Add(validateList(p.Child("config"), claim.Config, resourcev1.DeviceConfigMaxSize, func(p *field.Path, config resourcev1.DeviceClaimConfiguration) field.ErrorList {
		errs := validateReferences(p.Child("requests"), config.Requests, names)
		return append(errs, validateConfiguration(p, config.DeviceConfiguration, false)...)
	}))
	return l.Errors()
}

// requestNames are the requests of a claim, each with the alternatives that it lists.
type requestNames map[string]sets.Set[string]

func namesOfRequests(claim *resourcev1.DeviceClaim) requestNames {
	names := requestNames{}
	for i := range claim.Requests {
		subs := sets.New[string]()
		for j := range claim.Requests[i].FirstAvailable {
			subs.Insert(claim.Requests[i].FirstAvailable[j].Name)
		}
		names[claim.Requests[i].Name] = subs
	}
	return names
}

// validateReference checks the name of a request, or that of a request and one of its alternatives.
func (n requestNames) validateReference(p *field.Path, name string) field.ErrorList {
	const unknown = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	var l check.List
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		l.Invalid(p, name, unknown)
		return l.Errors()
	}
	for _, part := range parts {
		l.Add(validateLabel(p, part))
	}
	subs, known := n[parts[0]]
	if !known || len(parts) == 2 && !subs.Has(parts[1]) {
		l.Invalid(p, name, unknown)
	}
	return l.Errors()
}

func validateReferences(p *field.Path, requests []string, names requestNames) field.ErrorList {
	return validateSet(p, requests, resourcev1.DeviceRequestsMaxSize, names.validateReference, itself)
}

func validateRequest(p *field.Path, request resourcev1.DeviceRequest) field.ErrorList {
	var l check.List
	l.Add(validateLabel(p.Child("name"), request.Name))
	switch exactly, first := request.Exactly != nil, len(request.FirstAvailable) > 0; {
	case exactly && first:
		l.Invalid(p, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case exactly:
		l.Add(validateExactRequest(p.Child("exactly"), request.Exactly))
	case first:
		l.Add(validateSet(p.Child("firstAvailable"), request.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, validateSubRequest,
			func(sub resourcev1.DeviceSubRequest) string { return sub.Name }))
	default:
		l.Required(p, "exactly one of `exactly` or `firstAvailable` is required")
	}
	return l.Errors()
}

func validateExactRequest(p *field.Path, request *resourcev1.ExactDeviceRequest) field.ErrorList {
	var l check.List
	l.Add(validateClassName(p.Child("deviceClassName"), request.DeviceClassName))
	l.Add(validateSelectors(p.Child("selectors"), request.Selectors, false))
	l.Add(validateCount(p, request.AllocationMode, request.Count))
	l.Add(validateList(p.Child("tolerations"), request.Tolerations, unlimited, validateToleration))
	return l.Errors()
}

func validateSubRequest(p *field.Path, request resourcev1.DeviceSubRequest) field.ErrorList {
	var l check.List
	l.Add(validateLabel(p.Child("name"), request.Name))
	l.Add(validateClassName(p.Child("deviceClassName"), request.DeviceClassName))
	l.Add(validateSelectors(p.Child("selectors"), request.Selectors, false))
	l.Add(validateCount(p, request.AllocationMode, request.Count))
	l.Add(validateList(p.Child("tolerations"), request.Tolerations, unlimited, validateToleration))
	return l.Errors()
}

// validateCount checks how many devices are asked for at p.
func validateCount(p *field.Path, mode resourcev1.DeviceAllocationMode, count int64) field.ErrorList {
	var l check.List
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			l.Invalid(p.Child("count"), count, "must not be specified when allocationMode is 'All'")
		}
	case resourcev1.DeviceAllocationModeExactCount:
		l.Add(check.Positive(p.Child("count"), count))
	default:
		l.Add(check.NotSupported(p.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount))
	}
	return l.Errors()
}

func validateConstraint(p *field.Path, constraint resourcev1.DeviceConstraint, names requestNames) field.ErrorList {
	var l check.List
	l.Add(validateReferences(p.Child("requests"), constraint.Requests, names))
	switch {
	case constraint.MatchAttribute != nil:
		l.Add(validateFullyQualifiedName(p.Child("matchAttribute"), *constraint.MatchAttribute))
	case constraint.DistinctAttribute != nil:
		l.Add(validateFullyQualifiedName(p.Child("distinctAttribute"), *constraint.DistinctAttribute))
	default:
		l.Required(p, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
	}
	return l.Errors()
}

func validateToleration(p *field.Path, toleration resourcev1.DeviceToleration) field.ErrorList {
	var l check.List
	if toleration.Key != "" {
		l.Add(check.LabelName(p.Child("key"), toleration.Key))
	}
	switch toleration.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if toleration.Value != "" {
			l.Invalid(p.Child("value"), toleration.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		l.Add(validateLabelValue(p.Child("value"), toleration.Value))
	default:
		l.Add(check.RequiredOneOf(p.Child("operator"), toleration.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists))
	}
	if toleration.Effect != "" {
		l.Add(validateEffect(p.Child("effect"), toleration.Effect))
	}
	return l.Errors()
}

func validateEffect(p *field.Path, effect resourcev1.DeviceTaintEffect) field.ErrorList {
	return check.RequiredOneOf(p, effect, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)
}
