// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

// What a level is given that does not say.
const (
	defaultHandSize          int32 = 8
	defaultQueues            int32 = 64
	defaultQueueLengthLimit  int32 = 50
	defaultConcurrencyShares int32 = 30

	maxQueues int32 = 10_000_000
)

// SetDefaultsPriorityLevelConfiguration fills in what a PriorityLevelConfiguration leaves open.
func SetDefaultsPriorityLevelConfiguration(level *flowcontrolv1.PriorityLevelConfiguration) {
	if limited := level.Spec.Limited; limited != nil {
		setIfNil(&limited.NominalConcurrencyShares, defaultConcurrencyShares)
		setIfNil(&limited.LendablePercent, 0)
		if queuing := limited.LimitResponse.Queuing; queuing != nil {
			setIfZero(&queuing.HandSize, defaultHandSize)
			setIfZero(&queuing.Queues, defaultQueues)
			setIfZero(&queuing.QueueLengthLimit, defaultQueueLengthLimit)
		}
	}
	if exempt := level.Spec.Exempt; exempt != nil {
		setIfNil(&exempt.NominalConcurrencyShares, 0)
		setIfNil(&exempt.LendablePercent, 0)
	}
}

// PreparePriorityLevelConfigurationForStatusUpdate leaves nothing of the metadata to whoever writes the status.
func PreparePriorityLevelConfigurationForStatusUpdate(level, before *flowcontrolv1.PriorityLevelConfiguration) {
	keepMetadata(&level.ObjectMeta, &before.ObjectMeta)
}

func setIfNil(at **int32, value int32) {
	if *at == nil {
		*at = &value
	}
}

func setIfZero(at *int32, value int32) {
	if *at == 0 {
		*at = value
	}
}

// ValidatePriorityLevelConfiguration checks a new PriorityLevelConfiguration. The spec of those that every server has is fixed,
// but for how much of the server the exempt level may lend.
func ValidatePriorityLevelConfiguration(level *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&level.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	if _, ok := level.Annotations[flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey]; ok {
		l.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey))
	}
	p := field.NewPath("spec")
	l.Add(validateLevelSpec(p, level.Name, &level.Spec))
	l.Add(validateMandatoryLevel(p, level))
	l.Add(validateLevelStatus(&level.Status))
	return l.Errors()
}

// ValidatePriorityLevelConfigurationUpdate checks an update of a PriorityLevelConfiguration.
func ValidatePriorityLevelConfigurationUpdate(level, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return ValidatePriorityLevelConfiguration(level)
}

// ValidatePriorityLevelConfigurationStatusUpdate checks an update of a PriorityLevelConfiguration's status.
func ValidatePriorityLevelConfigurationStatusUpdate(level, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return validateLevelStatus(&level.Status)
}

func validateMandatoryLevel(p *field.Path, level *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l check.List
	for _, mandatory := range bootstrap.MandatoryPriorityLevelConfigurations {
		if mandatory.Name != level.Name {
			continue
		}
		fixed, which := level.Spec, ""
		if level.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			fixed.Exempt, which = mandatory.Spec.Exempt, " except the 'spec.exempt' field"
		}
		if !equality.Semantic.DeepEqual(fixed, mandatory.Spec) {
			l.Invalid(p, level.Spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", level.Name, which))
		}
	}
	return l.Errors()
}

func validateLevelSpec(p *field.Path, name string, spec *flowcontrolv1.PriorityLevelConfigurationSpec) field.ErrorList {
	var l check.List
	exempt := name == flowcontrolv1.PriorityLevelConfigurationNameExempt
	if exempt != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		l.Invalid(p.Child("type"), spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			l.Forbidden(p.Child("limited"), "must be nil if the type is not Limited")
		}
		if spec.Exempt != nil {
			l.Add(validateShares(p.Child("exempt"), spec.Exempt.NominalConcurrencyShares))
			l.Add(validateLendable(p.Child("exempt"), spec.Exempt.LendablePercent))
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			l.Forbidden(p.Child("exempt"), "must be nil if the type is Limited")
		}
		if spec.Limited == nil {
			l.Required(p.Child("limited"), "must not be empty when type is Limited")
		} else {
			l.Add(validateLimited(p.Child("limited"), spec.Limited))
		}
	default:
		l.Add(check.RequiredOneOf(p.Child("type"), spec.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited))
	}
	return l.Errors()
}

func validateLimited(p *field.Path, limited *flowcontrolv1.LimitedPriorityLevelConfiguration) field.ErrorList {
	var l check.List
	l.Add(validateShares(p, limited.NominalConcurrencyShares))
	l.Add(validateLimitResponse(p.Child("limitResponse"), &limited.LimitResponse))
	l.Add(validateLendable(p, limited.LendablePercent))
	if percent := limited.BorrowingLimitPercent; percent != nil && *percent < 0 {
		l.Invalid(p.Child("borrowingLimitPercent"), *percent, "if specified, must be a non-negative integer")
	}
	return l.Errors()
}

func validateShares(p *field.Path, shares *int32) field.ErrorList {
	var l check.List
	if ptr.Deref(shares, 0) < 0 {
		l.Invalid(p.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer")
	}
	return l.Errors()
}

func validateLendable(p *field.Path, percent *int32) field.ErrorList {
	var l check.List
	if percent != nil && (*percent < 0 || *percent > 100) {
		l.Invalid(p.Child("lendablePercent"), *percent, "must be between 0 and 100, inclusive")
	}
	return l.Errors()
}

func validateLimitResponse(p *field.Path, response *flowcontrolv1.LimitResponse) field.ErrorList {
	var l check.List
	switch response.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if response.Queuing != nil {
			l.Forbidden(p.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited")
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if response.Queuing == nil {
			l.Required(p.Child("queuing"), "must not be empty if limited.limitResponse.type is Limited")
		} else {
			l.Add(validateQueuing(p.Child("queuing"), response.Queuing))
		}
	default:
		l.Add(check.RequiredOneOf(p.Child("type"), response.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject))
	}
	return l.Errors()
}

// validateQueuing checks queues and hands: a flow's hand of queues is dealt by a hash, which must have bits enough to tell all hands apart.
func validateQueuing(p *field.Path, queuing *flowcontrolv1.QueuingConfiguration) field.ErrorList {
	var l check.List
	if queuing.QueueLengthLimit <= 0 {
		l.Invalid(p.Child("queueLengthLimit"), queuing.QueueLengthLimit, "must be positive")
	}
	if queuing.Queues <= 0 {
		l.Invalid(p.Child("queues"), queuing.Queues, "must be positive")
	} else if queuing.Queues > maxQueues {
		l.Invalid(p.Child("queues"), queuing.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	hand := p.Child("handSize")
	switch {
	case queuing.HandSize <= 0:
		l.Invalid(hand, queuing.HandSize, "must be positive")
	case queuing.HandSize > queuing.Queues:
		l.Invalid(hand, queuing.HandSize, fmt.Sprintf("should not be greater than queues (%d)", queuing.Queues))
	case shufflesharding.RequiredEntropyBits(int(queuing.Queues), int(queuing.HandSize)) > shufflesharding.MaxHashBits:
		l.Invalid(hand, queuing.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d",
			queuing.Queues, queuing.HandSize, shufflesharding.MaxHashBits))
	}
	return l.Errors()
}

func validateLevelStatus(status *flowcontrolv1.PriorityLevelConfigurationStatus) field.ErrorList {
	types := make([]string, 0, len(status.Conditions))
	for _, condition := range status.Conditions {
		types = append(types, string(condition.Type))
	}
	return validateConditions(types)
}
