// SPDX-License-Identifier: Apache-2.0

// This file holds how values of API types appear in errors. kube-apiserver validates types of its own that have no JSON
// tags, so a struct in its errors has Go's field names and shows every field: {"Kind":"Role","Name":"a","APIGroup":""}.
// Clients compare these texts, so values of k8s.io/api are shown the same way. Only errors cost anything here.

package check

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/diff"
)

// Difference tells in what two values differ, line by line, in the form in which kube-apiserver shows them.
func Difference(before, after any) string { return diff.Diff(shown(before), shown(after)) }

// shown returns value in a form that is printed as kube-apiserver prints it.
func shown(value any) any {
	if value == nil {
		return nil
	}
	t := reflect.TypeOf(value)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if isAPIStruct(t) {
		return goNamed{reflect.ValueOf(value)}
	}
	return value
}

func isAPIStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "k8s.io/api/")
}

// goNamed is a value that is encoded by the names of its Go fields, as far as its types are of k8s.io/api.
type goNamed struct{ value reflect.Value }

// MarshalJSON implements json.Marshaler.
func (g goNamed) MarshalJSON() ([]byte, error) {
	v := g.value
	switch kind := v.Kind(); {
	case kind == reflect.Pointer && !v.IsNil():
		return goNamed{v.Elem()}.MarshalJSON()
	case kind == reflect.Slice && !v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8:
		items := make([]goNamed, v.Len())
		for i := range items {
			items[i] = goNamed{v.Index(i)}
		}
		return json.Marshal(items)
	case kind == reflect.Map && !v.IsNil() && v.Type().Key().Kind() == reflect.String:
		items := map[string]goNamed{}
		for _, key := range v.MapKeys() {
			items[key.String()] = goNamed{v.MapIndex(key)}
		}
		return json.Marshal(items)
	case isAPIStruct(v.Type()):
		var out bytes.Buffer
		if err := writeFields(&out, v); err != nil {
			return nil, err
		}
		return slices.Concat([]byte("{"), out.Bytes(), []byte("}")), nil
	}
	return json.Marshal(v.Interface())
}

// writeFields writes the fields of a struct, those of embedded structs among them.
func writeFields(out *bytes.Buffer, v reflect.Value) error {
	for _, f := range fieldsOf(v) {
		if f.Anonymous && isAPIStruct(f.Type) {
			if err := writeFields(out, f.value); err != nil {
				return err
			}
			continue
		}
		encoded, err := goNamed{f.value}.MarshalJSON()
		if err != nil {
			return err
		}
		if f.Anonymous { // metadata, of which the members stand among those of the object
			encoded = encoded[1 : len(encoded)-1]
		} else {
			encoded = slices.Concat([]byte(`"`+f.Name+`":`), encoded)
		}
		if len(encoded) == 0 {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte(',')
		}
		out.Write(encoded)
	}
	return nil
}
