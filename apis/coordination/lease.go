// SPDX-License-Identifier: Apache-2.0

// Package coordination says what a Lease may contain. Leases are renewed by every node and every elected controller
// every few seconds, so these functions allocate nothing for a valid one.
package coordination

import (
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PrepareLeaseForCreate takes out what coordinated leader election alone reads, which is behind a feature gate that is off.
func PrepareLeaseForCreate(lease *coordinationv1.Lease) {
	lease.Spec.Strategy, lease.Spec.PreferredHolder = nil, nil
}

// PrepareLeaseForUpdate does what PrepareLeaseForCreate does, unless the lease had those fields.
func PrepareLeaseForUpdate(lease, before *coordinationv1.Lease) {
	if before.Spec.Strategy == nil && before.Spec.PreferredHolder == nil {
		PrepareLeaseForCreate(lease)
	}
}

// ValidateLease checks a new Lease.
func ValidateLease(lease *coordinationv1.Lease) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&lease.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, validateLeaseSpec(&lease.Spec)...)
}

// ValidateLeaseUpdate checks an update of a Lease.
func ValidateLeaseUpdate(lease, before *coordinationv1.Lease) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&lease.ObjectMeta, &before.ObjectMeta, field.NewPath("metadata"))
	return append(errs, validateLeaseSpec(&lease.Spec)...)
}

func validateLeaseSpec(spec *coordinationv1.LeaseSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	if seconds := spec.LeaseDurationSeconds; seconds != nil && *seconds <= 0 {
		l.Invalid(p.Child("leaseDurationSeconds"), seconds, "must be greater than 0")
	}
	if transitions := spec.LeaseTransitions; transitions != nil && *transitions < 0 {
		l.Invalid(p.Child("leaseTransitions"), transitions, "must be greater than or equal to 0")
	}
	strategy := spec.Strategy
	if strategy != nil {
		p := p.Child("strategy", "strategy")
		if strings.Contains(string(*strategy), "/") {
			l.Each(p, *strategy, validation.IsQualifiedName(string(*strategy)))
		} else {
			l.Add(check.OneOf(p, *strategy, coordinationv1.OldestEmulationVersion))
		}
	}
	if holder := spec.PreferredHolder; holder != nil && *holder != "" && (strategy == nil || *strategy == "") {
		l.Forbidden(p.Child("preferredHolder"), "may only be specified if `strategy` is defined")
	}
	return l.Errors()
}
