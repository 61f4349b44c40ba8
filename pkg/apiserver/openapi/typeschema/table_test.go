// SPDX-License-Identifier: Apache-2.0

package typeschema

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// sample has every form that a type can take, and a type of another group that one refers to.
func sample() ([]smd.TypeDef, map[schema.GroupVersionKind]string) {
	named := func(name string) smd.TypeRef { return smd.TypeRef{NamedType: new(name)} }
	str := smd.TypeRef{Inlined: smd.Atom{Scalar: new(smd.String)}}
	return []smd.TypeDef{
			{Name: "A", Atom: smd.Atom{Map: &smd.Map{Fields: []smd.StructField{
				{Name: "name", Type: str},
				{Name: "protocol", Type: str, Default: "TCP"},
				{Name: "spec", Type: named("Spec"), Default: map[string]any{}},
				{Name: "self", Type: named("A")},
			}}}},
			{Name: "B", Atom: smd.Atom{Map: &smd.Map{ElementType: str, ElementRelationship: smd.Atomic}}},
			{Name: "Spec", Atom: smd.Atom{Map: &smd.Map{Fields: []smd.StructField{
				{Name: "ports", Type: smd.TypeRef{Inlined: smd.Atom{List: &smd.List{
					ElementType: named("B"), ElementRelationship: smd.Associative, Keys: []string{"port", "protocol"}}}}},
				{Name: "labels", Type: smd.TypeRef{NamedType: new("B"), ElementRelationship: new(smd.Atomic), Nullable: true}},
			}}}},
			{Name: "Any", Atom: smd.Atom{
				Scalar: new(smd.Untyped),
				List:   &smd.List{ElementType: named("Any"), ElementRelationship: smd.Atomic},
				Map:    &smd.Map{ElementType: named("Any"), ElementRelationship: smd.Separable},
			}},
		}, map[schema.GroupVersionKind]string{
			{Group: "a", Version: "v1", Kind: "A"}: "A",
			{Group: "b", Version: "v1", Kind: "B"}: "B",
			{Group: "x", Version: "v1", Kind: "X"}: "Any",
		}
}

func encode(t testing.TB) string {
	t.Helper()
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSchema(t *testing.T) {
	types, _ := sample()
	byName := map[string]smd.TypeDef{}
	for _, def := range types {
		byName[def.Name] = def
	}
	table, err := Open(encode(t))
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := table.Type(schema.GroupVersionKind{Group: "x", Version: "v1", Kind: "X"}); !ok || name != "Any" {
		t.Errorf("type of X is %q, %v", name, ok)
	}
	if _, ok := table.Type(schema.GroupVersionKind{Group: "x", Version: "v2", Kind: "X"}); ok {
		t.Error("a kind that is not there has a type")
	}
	// Group b comes first: a must find all of its types although one was read for b.
	for _, tt := range []struct {
		group string
		want  []string
	}{{"b", []string{"B"}}, {"a", []string{"A", "Spec", "B"}}, {"x", []string{"Any"}}, {"none", nil}} {
		got, err := table.Schema(tt.group)
		if err != nil {
			t.Fatal(err)
		}
		var want []smd.TypeDef
		for _, name := range tt.want {
			want = append(want, byName[name])
		}
		if d := cmp.Diff(want, got.Types, cmpopts.IgnoreUnexported(smd.Map{})); d != "" {
			t.Errorf("group %s: %s", tt.group, d)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	kinds := map[schema.GroupVersionKind]string{{Kind: "X"}: "X"}
	for name, types := range map[string][]smd.TypeDef{
		"a kind without type":  nil,
		"a name twice":         {{Name: "X"}, {Name: "X"}},
		"a reference to none":  {{Name: "X", Atom: smd.Atom{List: &smd.List{ElementType: smd.TypeRef{NamedType: new("Y")}}}}},
		"unions, which it has": {{Name: "X", Atom: smd.Atom{Map: &smd.Map{Unions: []smd.Union{{}}}}}},
	} {
		if _, err := Encode(types, kinds); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A table that is cut or altered anywhere gives an error or another table, and never ends the program.
func TestDamagedTable(t *testing.T) {
	data := encode(t)
	for i := range data {
		if _, err := Open(data[:i]); err == nil {
			t.Errorf("cut at %d of %d: no error", i, len(data))
		}
		for _, b := range []byte{0, 1, 0x7f, 0xff} {
			damaged := []byte(data)
			damaged[i] = b
			table, err := Open(string(damaged))
			if err != nil {
				continue
			}
			for gvk := range table.kinds {
				// Whether it is readable is a matter of luck.
				_, _ = table.Schema(gvk.Group)
			}
		}
	}
}
