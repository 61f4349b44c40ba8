// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"bufio"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

func load(t *testing.T) *Corpus {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// served are the kinds that Hivemind serves as objects of their own.
func served(t *testing.T) []schema.GroupVersionKind {
	t.Helper()
	f, err := os.Open("../../../hack/openapi/served.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []schema.GroupVersionKind
	var gv schema.GroupVersion
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) == 1:
			if gv, err = schema.ParseGroupVersion(words[0]); err != nil {
				t.Fatal(err)
			}
		case !strings.Contains(words[0], "/") && words[0] != "bindings" && canCreate(words[len(words)-1]):
			out = append(out, gv.WithKind(words[1]))
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d kinds are served: has the form of served.txt changed?", len(out))
	}
	return out
}

// canCreate is false for kinds that are only read, of which nobody can send an object.
func canCreate(verbs string) bool {
	return verbs == "standard" || slices.Contains(strings.Split(verbs, ","), "create")
}

func TestEveryServedKindHasItsObjects(t *testing.T) {
	c := load(t)
	for _, gvk := range served(t) {
		k := c.Kind(gvk, "default")
		if k == nil || !k.Written {
			t.Errorf("%s has no objects: write them in objects/", gvk)
			continue
		}
		for _, name := range []string{Minimal, Full, Realistic} {
			if k.Object(name) == nil {
				t.Errorf("%s has no %s object", gvk, name)
			}
		}
		if f, ok := fieldOf(k.Type, "status"); ok && k.Status == nil && len(Fields(Indirect(f.Type))) > 0 && statusIsWritten(gvk) {
			t.Errorf("%s has a status and no seed for it", gvk)
		}
	}
}

// statusIsWritten is false for kinds whose status only the server writes.
func statusIsWritten(gvk schema.GroupVersionKind) bool {
	return !strings.HasPrefix(gvk.Group, "auth") && gvk.Kind != "CustomResourceDefinition" && gvk.Kind != "CSINode"
}

// TestObjectsFitTheirTypes finds fields that are misspelt or of the wrong type.
func TestObjectsFitTheirTypes(t *testing.T) {
	c := load(t)
	for _, gvk := range c.Kinds() {
		k := c.Kind(gvk, "default")
		objects := k.Objects
		if k.Status != nil {
			objects = append(slices.Clone(objects), Object{"status", map[string]any{"status": k.Status}})
		}
		for _, o := range objects {
			data, err := json.Marshal(o.Content)
			if err != nil {
				t.Fatal(err)
			}
			strict, err := kjson.UnmarshalStrict(data, reflect.New(k.Type).Interface())
			if err != nil || len(strict) > 0 {
				t.Errorf("%s %s: %v %v", gvk, o.Name, err, strict)
			}
			for _, left := range []string{exact, "$namespace", "$csr"} {
				if strings.Contains(string(data), left) {
					t.Errorf("%s %s: %s is left in it", gvk, o.Name, left)
				}
			}
		}
	}
}

// TestFullObjectsAreFull holds how many fields the full object of a kind must set beyond the realistic one.
func TestFullObjectsAreFull(t *testing.T) {
	c := load(t)
	for kind, want := range map[string]int{"v1 Pod": 400, "apps/v1 Deployment": 390, "v1 Service": 30, "batch/v1 CronJob": 400, "networking.k8s.io/v1 NetworkPolicy": 30} {
		version, name, _ := strings.Cut(kind, " ")
		k := c.Kind(schema.FromAPIVersionAndKind(version, name), "default")
		if got := leaves(k.Object(Full)); got < want {
			t.Errorf("%s: the full object sets %d values, want %d", kind, got, want)
		}
	}
}

func leaves(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			n += leaves(child)
		}
	case []any:
		for _, child := range v {
			n += leaves(child)
		}
	default:
		n = 1
	}
	return n
}

func TestObjectsAreTheSameEachTime(t *testing.T) {
	a, b := load(t), load(t)
	for _, gvk := range a.Kinds() {
		if diff := cmp.Diff(a.Kind(gvk, "ns").Objects, b.Kind(gvk, "ns").Objects); diff != "" {
			t.Errorf("%s: %s", gvk, diff)
		}
	}
}

func TestKindWithoutDocument(t *testing.T) {
	c := load(t)
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1beta1", Kind: "Deployment"}
	k := c.Kind(gvk, "default")
	if k == nil || k.Written || k.Object(Minimal) == nil || k.Object(Full)["spec"] == nil {
		t.Errorf("got %+v", k)
	}
	if c.Kind(schema.GroupVersionKind{Version: "v1", Kind: "Unicorn"}, "") != nil {
		t.Error("a kind without a Go type has objects")
	}
}

type inner struct {
	A string `json:"a"`
	B string `json:"b,omitempty"`
}

type sample struct {
	Name  string            `json:"name"`
	Count int32             `json:"count"`
	On    *bool             `json:"on,omitempty"`
	Map   map[string]string `json:"map,omitempty"`
	List  []inner           `json:"list,omitempty"`
	Gone  *inner            `json:"gone,omitempty"`
	Only  inner             `json:"only"`
	Self  *sample           `json:"self,omitempty"`
}

func TestFill(t *testing.T) {
	f := &Filler{hints: hints{
		Names:  map[string]any{"count": int64(7)},
		Unions: map[string][]string{"parity/corpus.inner": {"a", "b"}},
	}}
	got := f.Fill(reflect.TypeFor[sample](), map[string]any{"name": "mine", "gone": nil, "only": map[string]any{exact: true, "b": "x"}})
	want := map[string]any{
		"name": "mine", "count": int64(7), "on": true, "map": map[string]any{"key": "parity"},
		"list": []any{map[string]any{"a": "parity"}, map[string]any{"b": "parity"}},
		"only": map[string]any{"b": "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
