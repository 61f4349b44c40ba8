// SPDX-License-Identifier: Apache-2.0

// Package events joins the two types that an Event has. Events are stored as those of the core group; events.k8s.io/v1
// shows the same objects under other field names (ToCore, FromCore) and holds writers to stricter rules (KEP-383).
// Conversion copies the event once and shares what it points to.
package events

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// ToCore returns the event as it is stored.
func ToCore(event *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta:          event.ObjectMeta,
		InvolvedObject:      event.Regarding,
		Reason:              event.Reason,
		Message:             event.Note,
		Source:              event.DeprecatedSource,
		FirstTimestamp:      event.DeprecatedFirstTimestamp,
		LastTimestamp:       event.DeprecatedLastTimestamp,
		Count:               event.DeprecatedCount,
		Type:                event.Type,
		EventTime:           event.EventTime,
		Action:              event.Action,
		Related:             event.Related,
		ReportingController: event.ReportingController,
		ReportingInstance:   event.ReportingInstance,
	}
	if event.Series != nil {
		out.Series = &corev1.EventSeries{Count: event.Series.Count, LastObservedTime: event.Series.LastObservedTime}
	}
	return out
}

// FromCore returns the stored event as events.k8s.io/v1 shows it.
func FromCore(event *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta:               event.ObjectMeta,
		EventTime:                event.EventTime,
		ReportingController:      event.ReportingController,
		ReportingInstance:        event.ReportingInstance,
		Action:                   event.Action,
		Reason:                   event.Reason,
		Regarding:                event.InvolvedObject,
		Related:                  event.Related,
		Note:                     event.Message,
		Type:                     event.Type,
		DeprecatedSource:         event.Source,
		DeprecatedFirstTimestamp: event.FirstTimestamp,
		DeprecatedLastTimestamp:  event.LastTimestamp,
		DeprecatedCount:          event.Count,
	}
	if event.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: event.Series.Count, LastObservedTime: event.Series.LastObservedTime}
	}
	return out
}

// FieldLabel returns the core group's name for a field label of events.k8s.io; ok is false for a label that is not
// supported.
func FieldLabel(label string) (core string, ok bool) {
	switch label {
	case "reason", "type", "metadata.namespace", "metadata.name":
		return label, true
	case "reportingController":
		return "reportingComponent", true
	case "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
		"regarding.resourceVersion", "regarding.fieldPath":
		return "involvedObject" + label[len("regarding"):], true
	}
	return "", false
}

// ValidateEvent checks a new Event that was written through events.k8s.io/v1, in its stored form.
func ValidateEvent(event *corev1.Event) field.ErrorList {
	var l check.List
	l.Add(core.ValidateEventCommon(event, "reportingController"))
	l.Add(check.Metadata(&event.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateSeries(event))
	if event.EventTime.IsZero() {
		l.Required(field.NewPath("eventTime"), "")
	}
	if event.Type != corev1.EventTypeNormal && event.Type != corev1.EventTypeWarning {
		l.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", event.Type))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !event.FirstTimestamp.IsZero()},
		{"lastTimestamp", !event.LastTimestamp.IsZero()},
		{"count", event.Count != 0},
		{"source", event.Source != corev1.EventSource{}},
	} {
		if f.set {
			l.Invalid(field.NewPath(f.name), "", "needs to be unset")
		}
	}
	return l.Errors()
}

// ValidateEventUpdate checks an update through events.k8s.io/v1: of an event only its series goes on.
func ValidateEventUpdate(event, before *corev1.Event) field.ErrorList {
	var l check.List
	l.Add(core.ValidateEventCommon(event, "reportingController"))
	l.Add(check.MetadataUpdate(&event.ObjectMeta, &before.ObjectMeta))
	if !reflect.DeepEqual(event.Series, before.Series) {
		l.Add(validateSeries(event))
	}
	for _, f := range []struct {
		name        string
		now, before any
	}{
		{"involvedObject", event.InvolvedObject, before.InvolvedObject},
		{"reason", event.Reason, before.Reason},
		{"message", event.Message, before.Message},
		{"source", event.Source, before.Source},
		{"firstTimestamp", event.FirstTimestamp, before.FirstTimestamp},
		{"lastTimestamp", event.LastTimestamp, before.LastTimestamp},
		{"count", event.Count, before.Count},
		{"type", event.Type, before.Type},
		{"action", event.Action, before.Action},
		{"related", event.Related, before.Related},
		{"reportingController", event.ReportingController, before.ReportingController},
		{"reportingInstance", event.ReportingInstance, before.ReportingInstance},
	} {
		l.Add(check.Immutable(field.NewPath(f.name), f.now, f.before))
	}
	// Clients may have times finer than the microseconds that are stored.
	if !event.EventTime.Truncate(time.Microsecond).Equal(before.EventTime.Truncate(time.Microsecond)) {
		l.Add(check.Immutable(field.NewPath("eventTime"), event.EventTime, before.EventTime))
	}
	return l.Errors()
}

func validateSeries(event *corev1.Event) field.ErrorList {
	if event.Series == nil {
		return nil
	}
	var l check.List
	if event.Series.Count < 2 {
		l.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if event.Series.LastObservedTime.IsZero() {
		l.Required(field.NewPath("series.lastObservedTime"), "")
	}
	return l.Errors()
}
