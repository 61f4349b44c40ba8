// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// many is a list of n times the value.
func many(n int, value any) []any { return slices.Repeat([]any{value}, n) }

func TestErrorsInPieces(t *testing.T) {
	object := func(properties map[string]spec.Schema) *spec.Schema {
		return &spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}, Properties: properties}}
	}
	pair := object(map[string]spec.Schema{"a": *spec.StringProperty(), "b": *spec.StringProperty()})
	pair.Required = []string{"a", "b"}
	deep := object(map[string]spec.Schema{"pairs": *spec.ArrayProperty(pair)})
	schema := object(map[string]spec.Schema{
		"strings": *spec.ArrayProperty(spec.StringProperty()),
		"pairs":   *spec.ArrayProperty(pair),
		"deep":    *spec.ArrayProperty(deep),
		"named":   *spec.MapProperty(spec.StringProperty()),
		"any":     {},
	})
	named := map[string]any{}
	for i := range 5000 {
		named[fmt.Sprint(i)] = int64(i)
	}
	good := many(5000, "word")
	for _, tt := range []struct {
		name      string
		value     map[string]any
		before    any
		most      int
		least     int
		firstPath string
	}{
		{name: "nothing", value: map[string]any{}},
		{name: "good strings", value: map[string]any{"strings": good}},
		{name: "numbers for strings", value: map[string]any{"strings": many(5000, int64(1))}, least: room.MostErrors + 1, most: room.MostErrors + 1, firstPath: "strings[0]"},
		{name: "objects without fields", value: map[string]any{"pairs": many(5000, map[string]any{})}, least: room.MostErrors + 1, most: room.MostErrors + 2, firstPath: "pairs[0].a"},
		{name: "in lists of lists", value: map[string]any{"deep": many(100, map[string]any{"pairs": many(100, map[string]any{"a": "x"})})}, least: room.MostErrors + 1, most: room.MostErrors + 1, firstPath: "deep[0].pairs[0].b"},
		{name: "numbers in a map", value: map[string]any{"named": named}, least: room.MostErrors + 1, most: room.MostErrors + 1},
		{name: "half of a list", value: map[string]any{"strings": append(slices.Clone(good), many(5000, true)...)}, least: room.MostErrors + 1, most: room.MostErrors + 1, firstPath: "strings[5000]"},
		{name: "what the schema says nothing of", value: map[string]any{"any": many(5000, int64(1)), "other": many(5000, int64(1))}},
		{name: "as before", value: map[string]any{"strings": many(5000, int64(1))}, before: map[string]any{"strings": many(5000, int64(1))}},
		{name: "a list where a string is wanted", value: map[string]any{"pairs": many(5000, map[string]any{"a": "x", "b": many(3, "y")})}, least: room.MostErrors + 1, most: room.MostErrors + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs := errorsInPieces(tt.value, tt.before, schema)
			if len(errs) < tt.least || len(errs) > tt.most {
				t.Fatalf("%d errors, want %d to %d", len(errs), tt.least, tt.most)
			}
			if tt.firstPath != "" && errs[0].Field != tt.firstPath {
				t.Errorf("the first is of %q, want %q", errs[0].Field, tt.firstPath)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  int
	}{
		{nil, 1},
		{"word", 1},
		{map[string]any{}, 1},
		{map[string]any{"a": []any{"b", map[string]any{"c": 1}}}, 5},
		{many(10, "word"), 11},
	} {
		if n := count(tt.value, 64); n != tt.want {
			t.Errorf("%v has %d values, want %d", tt.value, n, tt.want)
		}
	}
	if n := count(many(1000, many(1000, "word")), 64); n <= 64 || n > 1000 {
		t.Errorf("counted %d values, where more than 64 is enough", n)
	}
}
