// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage/names"

	"github.com/hivemind-project/hivemind/apis/events"
)

// addEventConversions joins the two Go types of events: events.k8s.io/v1 is converted to and from core/v1, which is stored.
func addEventConversions(s *runtime.Scheme) error {
	if err := addConversions(s,
		pair{(*eventsv1.Event)(nil), (*corev1.Event)(nil), func(from, to any) error {
			*to.(*corev1.Event) = *events.ToCore(from.(*eventsv1.Event))
			return nil
		}},
		pair{(*corev1.Event)(nil), (*eventsv1.Event)(nil), func(from, to any) error {
			*to.(*eventsv1.Event) = *events.FromCore(from.(*corev1.Event))
			return nil
		}},
		pair{(*eventsv1.EventList)(nil), (*corev1.EventList)(nil), func(from, to any) error {
			in, out := from.(*eventsv1.EventList), to.(*corev1.EventList)
			out.ListMeta, out.Items = in.ListMeta, make([]corev1.Event, len(in.Items))
			for i := range in.Items {
				out.Items[i] = *events.ToCore(&in.Items[i])
			}
			return nil
		}},
		pair{(*corev1.EventList)(nil), (*eventsv1.EventList)(nil), func(from, to any) error {
			in, out := from.(*corev1.EventList), to.(*eventsv1.EventList)
			out.ListMeta, out.Items = in.ListMeta, make([]eventsv1.Event, len(in.Items))
			for i := range in.Items {
				out.Items[i] = *events.FromCore(&in.Items[i])
			}
			return nil
		}},
	); err != nil {
		return err
	}
	return s.AddFieldLabelConversionFunc(eventsv1.SchemeGroupVersion.WithKind("Event"), func(label, value string) (string, string, error) {
		name, ok := events.FieldLabel(label)
		if !ok {
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		return name, value, nil
	})
}

// newEventsREST serves the stored events at events.k8s.io, which asks more of an event than the core group does.
func newEventsREST(stored *Store) *Store {
	row := *stored.row
	row.validate = func(obj runtime.Object) field.ErrorList { return events.ValidateEvent(obj.(*corev1.Event)) }
	row.validateUpdate = func(obj, old runtime.Object) field.ErrorList {
		return events.ValidateEventUpdate(obj.(*corev1.Event), old.(*corev1.Event))
	}
	store := *stored.Store
	strategy := strategy{ObjectTyper: stored.CreateStrategy, NameGenerator: names.SimpleNameGenerator, row: &row}
	store.CreateStrategy, store.UpdateStrategy = strategy, strategy
	return &Store{Store: &store, row: &row}
}
