// SPDX-License-Identifier: Apache-2.0

// Package check holds what the validation of every API group shares: a list that collects field errors, the rules for
// metadata, and the rules for the values that recur in many kinds (names, labels, ports, addresses, quantities).
//
// Error types, field paths and texts are those of kube-apiserver, because clients and their tests compare them. Each
// rule costs time proportional to the value that it looks at.
package check

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// List collects field errors in the order in which they are found. Its zero value is ready to use.
type List struct {
	errs field.ErrorList
}

// Errors returns what was collected; nil when nothing was.
func (l *List) Errors() field.ErrorList { return l.errs }

// Add appends errors that another rule returned.
func (l *List) Add(errs field.ErrorList) { l.errs = append(l.errs, errs...) }

// Required reports that the field at p must be set.
func (l *List) Required(p *field.Path, detail string) {
	l.errs = append(l.errs, field.Required(p, detail))
}

// Invalid reports a value that the field at p may not have.
func (l *List) Invalid(p *field.Path, value any, detail string) {
	l.errs = append(l.errs, field.Invalid(p, shown(value), detail))
}

// Each reports value at p once for every message: the form in which the string checks of apimachinery answer.
func (l *List) Each(p *field.Path, value any, messages []string) {
	for _, message := range messages {
		l.Invalid(p, value, message)
	}
}

// Forbidden reports that the field at p may not be set, or not be changed.
func (l *List) Forbidden(p *field.Path, detail string) {
	l.errs = append(l.errs, field.Forbidden(p, detail))
}

// Duplicate reports that value occurs twice where it must be unique.
func (l *List) Duplicate(p *field.Path, value any) {
	l.errs = append(l.errs, field.Duplicate(p, shown(value)))
}

// NotFound reports a reference at p to something that does not exist.
func (l *List) NotFound(p *field.Path, value any) {
	l.errs = append(l.errs, field.NotFound(p, shown(value)))
}

// TooLong reports a value of more than limit bytes.
func (l *List) TooLong(p *field.Path, limit int) {
	l.errs = append(l.errs, field.TooLong(p, "", limit))
}

// TooMany reports a list of more than limit items.
func (l *List) TooMany(p *field.Path, actual, limit int) {
	l.errs = append(l.errs, field.TooMany(p, actual, limit))
}

// DuplicateBecause reports that value occurs twice, and what makes it the same.
func (l *List) DuplicateBecause(p *field.Path, value any, detail string) {
	err := field.Duplicate(p, shown(value))
	err.Detail = detail
	l.errs = append(l.errs, err)
}

// Internal reports a failure of validation itself.
func (l *List) Internal(p *field.Path, err error) {
	l.errs = append(l.errs, field.InternalError(p, err))
}

// OneOf reports value unless it is one of valid. The error lists valid in the given order.
func OneOf[T ~string](p *field.Path, value T, valid ...T) field.ErrorList {
	for _, v := range valid {
		if value == v {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(p, value, valid)}
}

// NotSupported reports value, of which some part is none of valid.
func NotSupported[T ~string](p *field.Path, value any, valid ...T) field.ErrorList {
	return field.ErrorList{field.NotSupported(p, shown(value), valid)}
}

// RequiredOneOf is OneOf for a field that must be set: an empty value is missing rather than unsupported.
func RequiredOneOf[T ~string](p *field.Path, value T, valid ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return OneOf(p, value, valid...)
}
