// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// TestDeep: what has the spec of a pod in it, and nothing else, gets a deep stack.
func TestDeep(t *testing.T) {
	resources, kinds := sets.New[string](), sets.New[string]()
	for _, r := range rows() {
		if contains(reflect.TypeOf(r.New()), reflect.TypeFor[corev1.PodSpec](), map[reflect.Type]bool{}) {
			resources.Insert(r.Resource)
			kinds.Insert(r.Kind)
		}
	}
	if !resources.Equal(deepResources) || !kinds.Equal(deepKinds) {
		t.Errorf("resources with the spec of a pod in them: %v (%v), those with deep stacks: %v (%v)", sets.List(resources), sets.List(kinds), sets.List(deepResources), sets.List(deepKinds))
	}
}

// contains tells whether values of a type have values of another one in them.
func contains(in, wanted reflect.Type, seen map[reflect.Type]bool) bool {
	if in == wanted {
		return true
	}
	if seen[in] {
		return false
	}
	seen[in] = true
	switch in.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		return contains(in.Elem(), wanted, seen)
	case reflect.Struct:
		for i := range in.NumField() {
			if contains(in.Field(i).Type, wanted, seen) {
				return true
			}
		}
	}
	return false
}
