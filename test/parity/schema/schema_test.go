// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const document = `{"components":{"schemas":{
	"v1.Thing":{"properties":{"spec":{"allOf":[{"$ref":"#/components/schemas/v1.Spec"}]},"any":{"type":"object"}},"x-kubernetes-group-version-kind":[{"group":"g","version":"v1","kind":"Thing"}]},
	"v1.Spec":{"properties":{
		"mode":{"type":"string","enum":["A","B"]},
		"list":{"type":"array","items":{"$ref":"#/components/schemas/v1.Item"}},
		"map":{"type":"object","additionalProperties":{"type":"string"}}}},
	"v1.Item":{"properties":{"name":{"type":"string"}}}}}}`

func TestSchemas(t *testing.T) {
	s := Schemas{}
	if err := s.Add([]byte(document)); err != nil {
		t.Fatal(err)
	}
	gvk := schema.GroupVersionKind{Group: "g", Version: "v1", Kind: "Thing"}
	object := map[string]any{
		"spec": map[string]any{"mode": "A", "new": 1, "list": []any{map[string]any{"name": "x", "newer": 2}}, "map": map[string]any{"k": "v"}},
		"any":  map[string]any{"whatever": 1},
	}
	gone := s.Prune(gvk, object)
	if diff := cmp.Diff([]string{"spec.list[].newer", "spec.new"}, gone); diff != "" {
		t.Error(diff)
	}
	want := map[string]any{"spec": map[string]any{"mode": "A", "list": []any{map[string]any{"name": "x"}}, "map": map[string]any{"k": "v"}}, "any": map[string]any{"whatever": 1}}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Error(diff)
	}
	if got := s.Enum(gvk, []any{"spec", "mode"}); !cmp.Equal(got, []string{"A", "B"}) {
		t.Errorf("enum %v", got)
	}
	if got := s.Enum(gvk, []any{"spec", "list", 0, "name"}); got != nil {
		t.Errorf("enum %v", got)
	}
	for path, has := range map[string]bool{
		"spec.mode": true, "spec.list[3].name": true, "spec.list[3].newer": false, "spec.new": false, "spec.map[a/b]": true, "any.whatever.deep": true, "nothing": false,
	} {
		if s.Has(gvk, path) != has {
			t.Errorf("has %s: %v", path, !has)
		}
	}
	if _, ok := s.PruneAt(gvk, []any{"spec", "new"}, map[string]any{}); ok {
		t.Error("a field that is not there is there")
	}
}
