// SPDX-License-Identifier: Apache-2.0

package mutate

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

func source(t *testing.T, apiVersion, kind string) Source {
	t.Helper()
	c, err := corpus.Load()
	if err != nil {
		t.Fatal(err)
	}
	filler, err := corpus.NewFiller()
	if err != nil {
		t.Fatal(err)
	}
	k := c.Kind(schema.FromAPIVersionAndKind(apiVersion, kind), "default")
	return Source{Kind: k, Make: func(_ Path, t reflect.Type, f corpus.Field) any { return filler.Value(t, f) },
		Enum: func(p Path) []string {
			if p.String() == "spec.restartPolicy" {
				return []string{"Always", "Never"}
			}
			return nil
		}}
}

func ids(cases []Case) []string {
	out := make([]string, len(cases))
	for i, c := range cases {
		out[i] = c.ID()
	}
	return out
}

func TestCasesAreTheSameEachTimeAndDistinct(t *testing.T) {
	for _, kind := range []string{"Pod", "ConfigMap", "Service"} {
		a, b := source(t, "v1", kind), source(t, "v1", kind)
		for name, list := range map[string]func(Source) []Case{
			"creates": Source.Creates, "writes": func(s Source) []Case { return s.Writes(WriteOps) }, "statuses": func(s Source) []Case { return s.StatusWrites(StatusOps) },
		} {
			first := ids(list(a))
			if diff := cmp.Diff(first, ids(list(b))); diff != "" {
				t.Errorf("%s of %s differ from one time to the next:\n%s", name, kind, diff)
			}
			slices.Sort(first)
			if unique := slices.Compact(slices.Clone(first)); len(unique) != len(first) {
				t.Errorf("%s of %s: %d cases have %d names", name, kind, len(first), len(unique))
			}
		}
	}
}

func TestSample(t *testing.T) {
	cases := source(t, "apps/v1", "Deployment").Creates()
	one, again, other := Sample(cases, 300, 1), Sample(cases, 300, 1), Sample(cases, 300, 2)
	if len(one) != 300 || !slices.Equal(ids(one), ids(again)) {
		t.Errorf("%d cases, or not the same ones for the same seed", len(one))
	}
	if slices.Equal(ids(one), ids(other)) {
		t.Error("another seed takes the same cases")
	}
	// What is taken does not hang on what else is there: cases of a rule that is all gone change nothing for others' order.
	all := Sample(cases, len(cases), 1)
	if len(all) != len(cases) {
		t.Errorf("a sample of all has %d of %d", len(all), len(cases))
	}
	rules, parts := map[Rule]bool{}, map[string]bool{}
	for _, c := range one {
		rules[c.Edit.Rule], parts[part(c.Edit.Path)] = true, true
	}
	for _, rule := range Rules {
		if !rules[rule] {
			t.Errorf("no case of rule %q is taken", rule)
		}
	}
	for _, p := range []string{"template", "spec", "metadata"} {
		if !parts[p] {
			t.Errorf("no case of %s is taken", p)
		}
	}
}

// TestRules holds what each rule makes of one value of each form.
func TestRules(t *testing.T) {
	pod := source(t, "v1", "Pod")
	object := map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p", "labels": map[string]any{"a": "b"}},
		"spec": map[string]any{
			"restartPolicy": "Always", "hostNetwork": true, "priority": int64(5), "activeDeadlineSeconds": int64(9),
			"overhead":   map[string]any{"cpu": "1"},
			"containers": []any{map[string]any{"name": "x"}, map[string]any{"name": "y"}},
		},
	}
	pod.Kind.Objects = []corpus.Object{{Name: "test", Content: object}}
	got := map[string][]any{}
	for _, c := range pod.Creates() {
		if c.FieldValidation != "" {
			continue
		}
		key := string(c.Edit.Rule) + " " + c.Edit.Path.String()
		value := c.Edit.Value
		if c.Edit.Absent() {
			value = "absent"
		}
		got[key] = append(got[key], value)
	}
	for key, want := range map[string][]any{
		"removed spec.restartPolicy":           {"absent"},
		"removed spec.containers[1]":           {"absent"},
		"removed metadata.labels[a]":           {"absent"},
		"null spec.restartPolicy":              {nil},
		"null spec.containers":                 {nil, []any{nil}},
		"emptied spec.restartPolicy":           {""},
		"emptied spec.containers":              {[]any{}},
		"emptied spec.overhead":                {map[string]any{}},
		"emptied spec.priority":                {int64(0)},
		"wrong type spec.restartPolicy":        {int64(7)},
		"wrong type spec.hostNetwork":          {"yes"},
		"wrong type spec.priority":             {"text"},
		"negative spec.priority":               {int64(-1)},
		"negative spec.overhead[cpu]":          {"-1"},
		"too large spec.priority":              {int64(2147483647)},
		"overflow spec.priority":               {int64(2147483648)},
		"too large spec.activeDeadlineSeconds": {int64(9223372036854775807)},
		"overflow spec.activeDeadlineSeconds":  nil,
		"too long spec.containers[0].name":     {strings.Repeat("a", 300)},
		"not a DNS name metadata.name":         {"Not_A.DNS name!"},
		"unknown value spec.restartPolicy":     {"NoSuchValue"},
		"unknown value spec.overhead[cpu]":     {"a lot"},
		"unknown value metadata.name":          nil,
		"other value spec.restartPolicy":       {"Never"},
		"other value spec.hostNetwork":         {false},
		"other value metadata.name":            {"px"},
		"other value spec.containers":          {[]any{map[string]any{"name": "y"}, map[string]any{"name": "x"}}},
		"duplicated spec.containers":           {[]any{map[string]any{"name": "x"}, map[string]any{"name": "y"}, map[string]any{"name": "x"}}},
		"bad key metadata.labels[Not a key!]":  {"b"},
		"unknown field spec.noSuchField":       {"value"},
		"removed apiVersion":                   nil, // of all kinds alike: rule metadata
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

func TestFieldValidationsAreAllTried(t *testing.T) {
	got := map[Rule]map[string]bool{}
	for _, c := range source(t, "v1", "ConfigMap").Creates() {
		if got[c.Edit.Rule] == nil {
			got[c.Edit.Rule] = map[string]bool{}
		}
		got[c.Edit.Rule][c.FieldValidation] = true
	}
	for _, rule := range []Rule{UnknownField, DuplicateField} {
		if len(got[rule]) != len(FieldValidations) {
			t.Errorf("%s is tried under %v", rule, got[rule])
		}
	}
	if len(got[Removed]) != 1 {
		t.Errorf("%s is tried under %v", Removed, got[Removed])
	}
}

func TestEditsLeaveTheObjectAlone(t *testing.T) {
	s := source(t, "v1", "Service")
	for _, o := range s.Kind.Objects {
		before := clone(o.Content)
		for _, e := range s.edits(o.Name, o.Content) {
			changed, ok := e.Apply(o.Content)
			if !ok {
				t.Errorf("%s %s has no place in %s", e.Rule, e.Path, o.Name)
			}
			if e.Rule == Unchanged {
				continue
			}
			if cmp.Equal(changed, o.Content) && e.Rule != Emptied && e.Rule != Metadata && e.Rule != DuplicateField {
				t.Errorf("%s %s (%s) of %s changes nothing", e.Rule, e.Path, e.Variant, o.Name)
			}
		}
		if diff := cmp.Diff(before, o.Content); diff != "" {
			t.Fatalf("edits have changed %s itself:\n%s", o.Name, diff)
		}
	}
}

// TestPatchesMakeTheChange applies the patches that cases send: each must make the same of an object as the edit does.
func TestPatchesMakeTheChange(t *testing.T) {
	s := source(t, "v1", "Service")
	for _, o := range s.Kind.Objects {
		live, err := json.Marshal(o.Content)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range s.edits(o.Name, o.Content) {
			want, ok := e.Apply(o.Content)
			if !ok || e.Rule == DuplicateField {
				continue
			}
			for op, apply := range map[Op]func(doc, patch []byte) ([]byte, error){
				MergePatch: jsonpatch.MergePatch,
				JSONPatch: func(doc, patch []byte) ([]byte, error) {
					decoded, err := jsonpatch.DecodePatch(patch)
					if err != nil {
						return nil, err
					}
					return decoded.Apply(doc)
				},
				StrategicPatch: func(doc, patch []byte) ([]byte, error) {
					return strategicpatch.StrategicMergePatch(doc, patch, corev1.Service{})
				},
			} {
				if op == StrategicPatch && (e.Rule == WrongType || e.Rule == Duplicated || e.Rule == UnknownField || e.Rule == Null || strings.Contains(e.Variant, "element")) {
					continue // no strategic patch can say it, or says it otherwise
				}
				c := Case{Object: o.Name, Op: op, Edit: e}
				m, ok, err := c.Message(s.Kind, o.Content, o.Content)
				if err != nil || !ok {
					t.Fatalf("%s: %v %v", c.ID(), ok, err)
				}
				got, err := apply(live, m.Body)
				if err != nil && op == StrategicPatch && strings.Contains(err.Error(), "does not contain declared merge key") {
					continue // which is what the case asks servers about
				}
				if err != nil {
					t.Errorf("%s: %v; patch %.300s", c.ID(), err, m.Body)
					continue
				}
				var tree map[string]any
				if err := utiljson.Unmarshal(got, &tree); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(withoutNulls(want), withoutNulls(tree)); diff != "" {
					t.Errorf("%s with patch %.300s (-want +got):\n%.600s", c.ID(), m.Body, diff)
				}
			}
		}
	}
}

// withoutNulls is an object as a merge patch can make it: null there removes.
func withoutNulls(v any) any {
	if list, ok := v.([]any); ok {
		out := make([]any, len(list))
		for i := range list {
			out[i] = withoutNulls(list[i])
		}
		return out
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for key, child := range tree {
		if child != nil {
			out[key] = withoutNulls(child)
		}
	}
	return out
}

func TestMessages(t *testing.T) {
	s := source(t, "v1", "ConfigMap")
	full := s.Kind.Object(corpus.Full)
	live := clone(full)
	live["metadata"].(map[string]any)["resourceVersion"] = "7"
	for _, tt := range []struct {
		op                Op
		method, mediaType string
		has, hasNot       string
	}{
		{Create, "POST", "application/json", `"data"`, `"resourceVersion"`},
		{Update, "PUT", "application/json", `"resourceVersion":"7"`, ""},
		{MergePatch, "PATCH", "application/merge-patch+json", `{"data":{"key":""}}`, "resourceVersion"},
		{StrategicPatch, "PATCH", "application/strategic-merge-patch+json", `{"data":{"key":""}}`, "resourceVersion"},
		{JSONPatch, "PATCH", "application/json-patch+json", `[{"op":"replace","path":"/data/key","value":""}]`, ""},
		{Apply, "PATCH", "application/apply-patch+yaml", `"key":""`, "resourceVersion"},
	} {
		c := Case{Object: corpus.Full, Op: tt.op, Edit: Edit{Rule: Emptied, Path: Path{"data", mapKey("key")}, Value: ""}}
		m, ok, err := c.Message(s.Kind, full, live)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if m.Method != tt.method || m.ContentType != tt.mediaType || !strings.Contains(string(m.Body), tt.has) || tt.hasNot != "" && strings.Contains(string(m.Body), tt.hasNot) {
			t.Errorf("%s: %s %s %s", tt.op, m.Method, m.ContentType, m.Body)
		}
	}
}

func TestDuplicateFieldIsWrittenTwice(t *testing.T) {
	s := source(t, "v1", "ConfigMap")
	c := Case{Object: corpus.Full, Op: Create, Edit: Edit{Rule: DuplicateField, Path: Path{"data", duplicateKey}}}
	m, ok, err := c.Message(s.Kind, map[string]any{"data": map[string]any{"key": "v"}}, nil)
	if err != nil || !ok || string(m.Body) != `{"data":{"key":"v","key":"v"}}` {
		t.Errorf("got %s, %v, %v", m.Body, ok, err)
	}
}
