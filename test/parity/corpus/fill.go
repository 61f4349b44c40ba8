// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Fields of seeds and hints that are not those of an object.
const (
	exact = "$exact" // nothing is added to what the seed says
)

//go:embed hints.yaml
var hintsYAML []byte

// hints are what reflection cannot know: which values are valid.
type hints struct {
	// Scalars are values by the name of their Go type.
	Scalars map[string]any `json:"scalars"`
	// Names are values by the name of their field in JSON, with that of the Go type before it where only that type's field is meant.
	Names map[string]any `json:"names"`
	// Structs are seeds by the name of the Go type.
	Structs map[string]map[string]any `json:"structs"`
	// Unions are structs of which one field may be set: those to choose from, the first where one alone is needed.
	Unions map[string][]string `json:"unions"`
}

// Filler makes full objects: every field is set that a seed does not leave out.
type Filler struct{ hints hints }

// NewFiller reads the hints.
func NewFiller() (*Filler, error) {
	f := &Filler{}
	if err := yaml.UnmarshalStrict(hintsYAML, &f.hints); err != nil {
		return nil, fmt.Errorf("read the hints: %w", err)
	}
	f.hints.Names, _ = integers(f.hints.Names).(map[string]any)
	f.hints.Scalars, _ = integers(f.hints.Scalars).(map[string]any)
	for name, seed := range f.hints.Structs {
		f.hints.Structs[name], _ = integers(seed).(map[string]any)
	}
	return f, nil
}

// Fill returns a value of type t with all fields set. What seed says stays: a field that is null there is left out, and of a list as many
// elements are made as the seed has.
func (f *Filler) Fill(t reflect.Type, seed map[string]any) map[string]any {
	out, _ := f.value(t, Field{}, seed, true, nil).(map[string]any)
	return out
}

func (f *Filler) value(t reflect.Type, field Field, seed any, seeded bool, above []reflect.Type) any {
	t = Indirect(t)
	shape := ShapeOf(t)
	if !seeded {
		for _, key := range []string{ownedName(field), field.Name} {
			if seed, seeded = f.hints.Names[key]; seeded {
				break
			}
		}
	}
	if !seeded {
		seed, seeded = f.hints.Scalars[Name(t)]
	}
	switch shape {
	case Struct:
		tree, _ := seed.(map[string]any)
		if slices.Contains(above, t) && !seeded {
			return nil
		}
		return f.object(t, tree, append(slices.Clone(above), t))
	case List:
		return f.list(t, field, seed, seeded, above)
	case Map:
		if seeded {
			return seed
		}
		return map[string]any{"key": f.value(t.Elem(), Field{Name: "key"}, nil, false, above)}
	}
	if seeded {
		return seed
	}
	switch shape {
	case Integer, IntOrStr, Number:
		return int64(1)
	case Boolean:
		return true
	case Quantity:
		return "1"
	case Time:
		return "2024-05-06T07:08:09Z"
	case Bytes:
		return "cGFyaXR5"
	case Opaque:
		return map[string]any{"key": "value"}
	}
	return "parity"
}

func ownedName(field Field) string {
	if field.Owner == nil {
		return field.Name
	}
	return Name(field.Owner) + "." + field.Name
}

// object sets every field of a struct that is not one of several alternatives.
func (f *Filler) object(t reflect.Type, seed map[string]any, above []reflect.Type) any {
	if _, ok := seed[exact]; ok {
		out := maps.Clone(seed)
		delete(out, exact)
		return out
	}
	seed = overlay(f.hints.Structs[Name(t)], seed)
	if _, ok := seed[exact]; ok {
		delete(seed, exact)
		return seed
	}
	out := map[string]any{}
	fields := Fields(t)
	chosen := f.chosen(fields, seed)
	for _, field := range fields {
		given, seeded := seed[field.Name]
		if seeded && given == nil || !chosen(field) {
			continue
		}
		if v := f.value(field.Type, field, given, seeded, above); v != nil {
			out[field.Name] = v
		}
	}
	return out
}

// chosen tells the fields that may be set together: of a union what the seed names, or its first alternative.
func (f *Filler) chosen(fields []Field, seed map[string]any) func(Field) bool {
	named := map[reflect.Type]bool{}
	for _, field := range fields {
		if f.hints.Unions[Name(field.Owner)] != nil && seed[field.Name] != nil {
			named[field.Owner] = true
		}
	}
	return func(field Field) bool {
		union := f.hints.Unions[Name(field.Owner)]
		switch {
		case union == nil || seed[field.Name] != nil:
			return true
		case named[field.Owner]:
			return false
		}
		return field.Name == union[0]
	}
}

// list makes an element for each of the seed; without one, an element for each alternative where elements are unions, or one alone.
func (f *Filler) list(t reflect.Type, field Field, seed any, seeded bool, above []reflect.Type) any {
	given, ok := seed.([]any)
	if seeded && !ok {
		return seed
	}
	out := []any{}
	if seeded {
		for _, one := range given {
			out = append(out, f.value(t.Elem(), Field{Name: field.Name}, one, true, above))
		}
		return out
	}
	elem := Indirect(t.Elem())
	if slices.Contains(above, elem) {
		return nil
	}
	if ShapeOf(elem) == Struct {
		for _, owner := range owners(elem) {
			for _, member := range f.hints.Unions[Name(owner)] {
				one := map[string]any{}
				made := f.member(elem, member, above)
				if tree, ok := made.(map[string]any); ok {
					tree[exact] = true // it is full already
				}
				if field.MergeKey != "" {
					one[field.MergeKey] = strings.ToLower(member)
				}
				out = append(out, f.object(elem, overlay(map[string]any{member: made}, one), append(slices.Clone(above), elem)))
			}
		}
	}
	if len(out) == 0 {
		out = append(out, f.value(elem, Field{Name: field.Name}, nil, false, above))
	}
	return out
}

// member fills a field of a struct.
func (f *Filler) member(t reflect.Type, name string, above []reflect.Type) any {
	for _, field := range Fields(t) {
		if field.Name == name {
			return f.value(field.Type, field, nil, false, above)
		}
	}
	return nil
}

// owners are the structs that declare the fields of t.
func owners(t reflect.Type) []reflect.Type {
	var out []reflect.Type
	for _, field := range Fields(t) {
		if !slices.Contains(out, field.Owner) {
			out = append(out, field.Owner)
		}
	}
	return out
}

// overlay lays over on under; maps are joined, everything else replaces.
func overlay(under, over map[string]any) map[string]any {
	out := maps.Clone(under)
	if out == nil {
		out = map[string]any{}
	}
	for key, v := range over {
		a, ok1 := out[key].(map[string]any)
		b, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			v = overlay(a, b)
		}
		out[key] = v
	}
	return out
}

// integers makes whole numbers int64, as decoded API objects have them, in place.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

// Value is a valid value for a field, as far as the hints know; nil if there is none.
func (f *Filler) Value(t reflect.Type, field Field) any {
	return f.value(t, field, nil, false, nil)
}
