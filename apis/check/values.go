// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for single values: numbers, quantities, ports and addresses.

package check

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// NonNegative reports a value below zero.
func NonNegative[T ~int32 | ~int64 | ~int](p *field.Path, value T) field.ErrorList {
	return validation.ValidateNonnegativeField(int64(value), p)
}

// NonNegativeIfSet is NonNegative for an optional field.
func NonNegativeIfSet[T ~int32 | ~int64 | ~int](p *field.Path, value *T) field.ErrorList {
	if value == nil {
		return nil
	}
	return NonNegative(p, *value)
}

// Positive reports a value of zero or below.
func Positive[T ~int32 | ~int64 | ~int](p *field.Path, value T) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(p, int64(value), "must be greater than zero")}
}

// NonNegativeQuantity reports a quantity below zero.
func NonNegativeQuantity(p *field.Path, value resource.Quantity) field.ErrorList {
	if value.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(p, value.String(), validation.IsNegativeErrorMsg)}
}

// PositiveQuantity reports a quantity of zero or below.
func PositiveQuantity(p *field.Path, value resource.Quantity) field.ErrorList {
	if value.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(p, value.String(), "must be greater than zero")}
}

// Immutable reports a field that differs (semantically) from what it was.
func Immutable(p *field.Path, after, before any) field.ErrorList {
	if equality.Semantic.DeepEqual(after, before) {
		return nil
	}
	return field.ErrorList{field.Invalid(p, shown(after), validation.FieldImmutableErrorMsg)}
}

// Decremented tells whether a counter went back or was removed.
func Decremented(after, before *int32) bool {
	if before == nil {
		return false
	}
	return after == nil || *after < *before
}

// PortNumOrName validates a port by number (1-65535) or by IANA service name.
func PortNumOrName(p *field.Path, port intstr.IntOrString) field.ErrorList {
	var l List
	switch port.Type {
	case intstr.Int:
		l.Each(p, port.IntValue(), utilvalidation.IsValidPortNum(port.IntValue()))
	case intstr.String:
		l.Each(p, port.StrVal, utilvalidation.IsValidPortName(port.StrVal))
	default:
		l.Internal(p, fmt.Errorf("unknown type: %v", port.Type))
	}
	return l.Errors()
}

// IntOrPercent validates a number that is not negative, or a percentage.
func IntOrPercent(p *field.Path, value intstr.IntOrString) field.ErrorList {
	var l List
	switch value.Type {
	case intstr.String:
		l.Each(p, value, utilvalidation.IsValidPercent(value.StrVal))
	case intstr.Int:
		l.Add(NonNegative(p, value.IntValue()))
	default:
		l.Invalid(p, value, "must be an integer or percentage (e.g '5%%')")
	}
	return l.Errors()
}

// AtMostAll reports a percentage of more than 100.
func AtMostAll(p *field.Path, value intstr.IntOrString) field.ErrorList {
	if percent, ok := percentage(value); ok && percent > 100 {
		return field.ErrorList{field.Invalid(p, value, "must not be greater than 100%")}
	}
	return nil
}

// Number returns the number, or the percentage, that value stands for; zero when it is neither.
func Number(value intstr.IntOrString) int {
	if percent, ok := percentage(value); ok {
		return percent
	}
	return value.IntValue()
}

func percentage(value intstr.IntOrString) (int, bool) {
	if value.Type != intstr.String || len(utilvalidation.IsValidPercent(value.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
	return n, err == nil
}

// IP validates an address in canonical form (no leading zeros, no IPv4-mapped IPv6). Addresses in known, those that
// the object had before, are accepted as they are.
func IP(p *field.Path, value string, known ...string) field.ErrorList {
	return utilvalidation.IsValidIPForLegacyField(p, value, true, known)
}

// CIDR validates a subnet in canonical form, with the same exemption as IP.
func CIDR(p *field.Path, value string, known ...string) field.ErrorList {
	return utilvalidation.IsValidCIDRForLegacyField(p, value, true, known)
}

// EndpointIP reports addresses that cannot be an endpoint of a service because they mean something else on every node.
func EndpointIP(p *field.Path, value string) field.ErrorList {
	ip := netutils.ParseIPSloppy(value)
	if ip == nil {
		return field.ErrorList{field.Invalid(p, value, "must be a valid IP address")}
	}
	var l List
	if ip.IsUnspecified() {
		l.Invalid(p, value, fmt.Sprintf("may not be unspecified (%v)", value))
	}
	if ip.IsLoopback() {
		l.Invalid(p, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	}
	if ip.IsLinkLocalUnicast() {
		l.Invalid(p, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	}
	if ip.IsLinkLocalMulticast() {
		l.Invalid(p, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return l.Errors()
}

// Count is a number of replicas in a status, by the name of its field.
type Count struct {
	Name  string
	Value int32
}

// ReplicaCounts reports counts of some replicas that exceed the number of all.
func ReplicaCounts(p *field.Path, replicas int32, counts ...Count) field.ErrorList {
	var l List
	for _, c := range counts {
		if c.Value > replicas {
			l.Invalid(p.Child(c.Name), c.Value, "cannot be greater than status.replicas")
		}
	}
	return l.Errors()
}
