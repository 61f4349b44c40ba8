// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/tools/cache"
)

// recorder is a plugin for creations that writes its name down, and asks for a second round if it is to.
type recorder struct {
	*admission.Handler
	name    string
	again   bool
	calls   *[]string
	refusal error
}

func newRecorder(name string, calls *[]string) recorder {
	return recorder{Handler: admission.NewHandler(admission.Create), name: name, calls: calls}
}

func (r recorder) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	*r.calls = append(*r.calls, "admit "+r.name)
	if r.again {
		a.GetReinvocationContext().SetShouldReinvoke()
	}
	return r.refusal
}

func (r recorder) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	*r.calls = append(*r.calls, "validate "+r.name)
	return r.refusal
}

func attributes(operation admission.Operation) admission.Attributes {
	return admission.NewAttributesRecord(&corev1.ConfigMap{}, nil, schema.GroupVersionKind{}, "ns", "n", schema.GroupVersionResource{}, "", operation, nil, false, nil)
}

func TestLatePluginIsBuiltWhenNeeded(t *testing.T) {
	policies, bindings := cache.NewStore(cache.MetaNamespaceKeyFunc), cache.NewStore(cache.MetaNamespaceKeyFunc)
	var calls []string
	failure := errors.New("not today")
	built := 0
	plugin := lateValidation{&late{name: "Test", objects: []cache.Store{policies, bindings}, build: func() (admission.Interface, error) {
		if failure != nil {
			return nil, failure
		}
		built++
		return newRecorder("late", &calls), nil
	}}}
	validate := func(operation admission.Operation) error {
		return plugin.Validate(t.Context(), attributes(operation), nil)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for _, store := range []cache.Store{policies, bindings} {
		if err := validate(admission.Create); err != nil || built != 0 {
			t.Fatalf("built while there is nothing to do: %v", err)
		}
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	err := validate(admission.Create)
	if !apierrors.IsInternalError(err) || err.Error() != "Internal error occurred: build admission plugin Test: not today" {
		t.Errorf("a plugin that cannot be built lets a write through: %v", err)
	}
	failure = nil
	for _, operation := range []admission.Operation{admission.Create, admission.Delete, admission.Create} {
		if err := validate(operation); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"validate late", "validate late"}; built != 1 || !slices.Equal(calls, want) {
		t.Errorf("built %d times, called %q, want %q", built, calls, want)
	}
}

func TestChain(t *testing.T) {
	var calls []string
	first, second := newRecorder("first", &calls), newRecorder("second", &calls)
	second.again = true
	c := NewChain(first, second).(chain)
	a := attributes(admission.Create)
	if err := errors.Join(c.Admit(t.Context(), a, nil), c.Validate(t.Context(), a, nil)); err != nil {
		t.Fatal(err)
	}
	// Those before the one that asks are called again, and it as well; none is a third time.
	want := []string{"admit first", "admit second", "admit first", "admit second", "validate first", "validate second"}
	if !slices.Equal(calls, want) {
		t.Errorf("called %q, want %q", calls, want)
	}
	if c.Handles(admission.Delete) || !c.Handles(admission.Create) {
		t.Error("a chain handles what its plugins do")
	}
	calls = nil
	if err := c.Admit(t.Context(), attributes(admission.Delete), nil); err != nil || calls != nil {
		t.Errorf("deleted with %q, %v", calls, err)
	}
	first.refusal = errors.New("no")
	if err := NewChain(first, second).(chain).Validate(t.Context(), a, nil); err != first.refusal || !slices.Equal(calls, []string{"validate first"}) {
		t.Errorf("refused with %v after %q", err, calls)
	}
}
