// SPDX-License-Identifier: Apache-2.0

// Package apitest lets tests of the API groups be tables of YAML: a case is what a user changed in a valid object, and
// the error that kube-apiserver answers with.
package apitest

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Kind is the functions of one kind. Those that a kind has not are nil.
type Kind[T any] struct {
	SetDefaults          func(*T)
	PrepareForCreate     func(*T)
	PrepareForUpdate     func(object, before *T)
	Validate             func(*T) field.ErrorList
	ValidateUpdate       func(object, before *T) field.ErrorList
	ValidateStatusUpdate func(object, before *T) field.ErrorList
}

// Case is a change to a valid object: a JSON merge patch in YAML, in which null removes a field and lists are replaced.
// Want is the error, "" for none; where it ends in an ellipsis, what stands before it begins the error.
type Case struct {
	Name   string
	Change string
	Want   string
}

// Object returns base with changes made to it, as a T.
func Object[T any](t testing.TB, base string, changes ...string) *T {
	t.Helper()
	tree := parse(t, base)
	for _, change := range changes {
		tree = merge(tree, parse(t, change)).(map[string]any)
	}
	encoded, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	object := new(T)
	if err := yaml.UnmarshalStrict(encoded, object); err != nil {
		t.Fatalf("decode %T: %v\n%s", object, err, encoded)
	}
	return object
}

func parse(t testing.TB, document string) map[string]any {
	t.Helper()
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(document), &tree); err != nil {
		t.Fatalf("parse: %v\n%s", err, document)
	}
	return tree
}

// merge applies a merge patch (RFC 7386).
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged := map[string]any{}
	if fields, ok := target.(map[string]any); ok {
		merged = maps.Clone(fields)
	}
	for key, value := range changes {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = merge(merged[key], value)
		}
	}
	return merged
}

// Create checks that base is valid and that each case's object, defaulted and prepared as on create, is answered as it
// wants.
func (k Kind[T]) Create(t *testing.T, base string, cases ...Case) {
	t.Helper()
	for _, c := range append([]Case{{Name: "valid"}}, cases...) {
		t.Run("create/"+c.Name, func(t *testing.T) {
			object := Object[T](t, base, c.Change)
			k.defaults(object)
			if k.PrepareForCreate != nil {
				k.PrepareForCreate(object)
			}
			check(t, c.Want, k.Validate(object))
		})
	}
}

// Update checks that each case's change to base, as a stored object, is answered as it wants.
func (k Kind[T]) Update(t *testing.T, base string, cases ...Case) {
	t.Helper()
	for _, c := range append([]Case{{Name: "same"}}, cases...) {
		t.Run("update/"+c.Name, func(t *testing.T) {
			object, before := k.stored(t, base, c.Change), k.stored(t, base)
			if k.PrepareForUpdate != nil {
				k.PrepareForUpdate(object, before)
			}
			check(t, c.Want, k.ValidateUpdate(object, before))
		})
	}
}

// StatusUpdate is Update by way of the status subresource.
func (k Kind[T]) StatusUpdate(t *testing.T, base string, cases ...Case) {
	t.Helper()
	for _, c := range append([]Case{{Name: "same"}}, cases...) {
		t.Run("status/"+c.Name, func(t *testing.T) {
			check(t, c.Want, k.ValidateStatusUpdate(k.stored(t, base, c.Change), k.stored(t, base)))
		})
	}
}

// Effect is a change to a valid object, and what becomes of the changed object: both are merge patches as in Case.
type Effect struct {
	Name   string
	Change string
	Want   string
}

// Effects checks what do makes of each case's object.
func Effects[T any](t *testing.T, base string, do func(*T), effects ...Effect) {
	t.Helper()
	for _, e := range effects {
		t.Run(e.Name, func(t *testing.T) {
			object := Object[T](t, base, e.Change)
			do(object)
			Same(t, Object[T](t, base, e.Change, e.Want), object)
		})
	}
}

// Warned is a change to a valid object, and what is said about the changed object.
type Warned struct {
	Name   string
	Change string
	Want   []string
}

// Warnings checks that nothing is said about base, and what is about each case's object, when it is created.
func Warnings[T any](t *testing.T, base string, warn func(object, before *T) []string, cases ...Warned) {
	t.Helper()
	for _, c := range append([]Warned{{Name: "nothing to say"}}, cases...) {
		t.Run("warnings/"+c.Name, func(t *testing.T) {
			if diff := cmp.Diff(c.Want, warn(Object[T](t, base, c.Change), nil)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// Same checks that a client reads the same of two objects.
func Same(t testing.TB, want, got any) {
	t.Helper()
	if diff := cmp.Diff(document(t, want), document(t, got)); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
}

func document(t testing.TB, object any) string {
	t.Helper()
	encoded, err := yaml.Marshal(object)
	if err != nil {
		t.Fatalf("encode %T: %v", object, err)
	}
	return string(encoded)
}

func (k Kind[T]) stored(t *testing.T, base string, changes ...string) *T {
	t.Helper()
	object := Object[T](t, base, append([]string{"metadata: {resourceVersion: '1', uid: u}"}, changes...)...)
	k.defaults(object)
	return object
}

func (k Kind[T]) defaults(object *T) {
	if k.SetDefaults != nil {
		k.SetDefaults(object)
	}
}

func check(t *testing.T, want string, errs field.ErrorList) {
	t.Helper()
	got := Message(errs)
	if start, cut := strings.CutSuffix(want, "…"); cut && strings.HasPrefix(got, start) {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// Message returns what a client reads; "" for no error.
func Message(errs field.ErrorList) string {
	if err := errs.ToAggregate(); err != nil {
		return err.Error()
	}
	return ""
}
