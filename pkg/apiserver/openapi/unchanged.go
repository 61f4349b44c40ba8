// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// object is the value of an object of a Go type. Compared with another of its type it leaves out the fields below the root that are deeply equal, such
// as the spec where a status is written: comparing field by field costs several times as much, and finds nothing there. Two such values must not be merged;
// field managers do not, because what is applied is unstructured.
type object struct {
	value.Value
	pointer reflect.Value
}

func newObject(obj runtime.Object) (value.Value, error) {
	v, err := value.NewValueReflect(obj)
	if err != nil {
		return nil, err
	}
	return object{v, reflect.ValueOf(obj)}, nil
}

// AsMap implements value.Value.
func (o object) AsMap() value.Map { return o.AsMapUsing(value.HeapAllocator) }

// AsMapUsing implements value.Value.
func (o object) AsMapUsing(a value.Allocator) value.Map {
	return fields{o.Value.AsMapUsing(a), o.pointer}
}

// fields are those of an object.
type fields struct {
	value.Map
	pointer reflect.Value
}

// Zip implements value.Map.
func (f fields) Zip(other value.Map, order value.MapTraverseOrder, fn func(key string, lhs, rhs value.Value) bool) bool {
	return f.ZipUsing(value.HeapAllocator, other, order, fn)
}

// ZipUsing implements value.Map.
func (f fields) ZipUsing(a value.Allocator, other value.Map, order value.MapTraverseOrder, fn func(key string, lhs, rhs value.Value) bool) bool {
	o, ok := other.(fields)
	if !ok || o.pointer.Type() != f.pointer.Type() {
		return f.Map.ZipUsing(a, other, order, fn)
	}
	places := placesOf(f.pointer.Type().Elem())
	return f.Map.ZipUsing(a, o.Map, order, func(key string, lhs, rhs value.Value) bool {
		if place, ok := places[key]; ok && lhs != nil && rhs != nil &&
			reflect.DeepEqual(f.pointer.Elem().Field(place).Addr().Interface(), o.pointer.Elem().Field(place).Addr().Interface()) {
			return true
		}
		return fn(key, lhs, rhs)
	})
}

// places has, for each type of object, where its fields below the root are, by their names in JSON.
var places sync.Map // of map[string]int by reflect.Type

func placesOf(t reflect.Type) map[string]int {
	if known, ok := places.Load(t); ok {
		return known.(map[string]int)
	}
	at := map[string]int{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			at[name] = i
		}
	}
	known, _ := places.LoadOrStore(t, at)
	return known.(map[string]int)
}
