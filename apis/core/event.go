// SPDX-License-Identifier: Apache-2.0

// This file holds what an Event may contain. Events are stored in their core form, whichever group they are written
// through; package events holds the stricter rules of events.k8s.io.

package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateEvent checks a new Event of the core group.
func ValidateEvent(event *corev1.Event) field.ErrorList {
	return ValidateEventCommon(event, "reportingComponent")
}

// ValidateEventUpdate checks an update of an Event of the core group.
func ValidateEventUpdate(event, _ *corev1.Event) field.ErrorList { return ValidateEvent(event) }

// ValidateEventCommon holds the rules of both groups that events are written through; they name the reporter
// differently. An event with eventTime set is of the newer kind, which must say who reports what action.
func ValidateEventCommon(event *corev1.Event, reporterField string) field.ErrorList {
	var l check.List
	const maxShort, maxNote = 128, 1024
	involved := event.InvolvedObject.Namespace
	mismatch := false
	if event.EventTime.IsZero() {
		if involved == "" {
			mismatch = event.Namespace != metav1.NamespaceNone && event.Namespace != metav1.NamespaceDefault
		} else {
			mismatch = event.Namespace != involved
		}
	} else if involved == "" {
		mismatch = event.Namespace != metav1.NamespaceDefault && event.Namespace != metav1.NamespaceSystem
	}
	if mismatch {
		l.Invalid(field.NewPath("involvedObject", "namespace"), involved, "does not match event.namespace")
	}
	if !event.EventTime.IsZero() {
		short := func(name, value string) {
			if value == "" {
				l.Required(field.NewPath(name), "")
			}
			if len(value) > maxShort {
				l.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", maxShort))
			}
		}
		if event.ReportingController == "" {
			l.Required(field.NewPath(reporterField), "")
		}
		l.Add(check.QualifiedName(field.NewPath(reporterField), event.ReportingController))
		short("reportingInstance", event.ReportingInstance)
		short("action", event.Action)
		short("reason", event.Reason)
		if len(event.Message) > maxNote {
			l.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxNote))
		}
	}
	l.Each(field.NewPath("namespace"), event.Namespace, validation.IsDNS1123Subdomain(event.Namespace))
	return l.Errors()
}
