// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	merge "k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// described is a server whose whole document is of definitions and parameters, with a path for each of them.
func described(t *testing.T, gv schema.GroupVersion, definitions, parameters map[string]any) (*spec.Swagger, http.Handler) {
	t.Helper()
	paths := map[string]any{}
	for name := range definitions {
		var uses []any
		for parameter := range parameters {
			uses = append(uses, map[string]any{"$ref": "#/parameters/" + parameter})
		}
		paths[fmt.Sprintf("/apis/%s/%s", gv, name)] = map[string]any{"parameters": uses,
			"get": map[string]any{"responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": "#/definitions/" + name}}}}}
	}
	text, err := json.Marshal(map[string]any{"swagger": "2.0", "info": map[string]any{"title": "x", "version": "1"}, "paths": paths, "definitions": definitions, "parameters": parameters})
	if err != nil {
		t.Fatal(err)
	}
	return asSwagger(t, text), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != v2Path {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	})
}

func asSwagger(t *testing.T, text []byte) *spec.Swagger {
	t.Helper()
	whole := &spec.Swagger{}
	if err := json.Unmarshal(text, whole); err != nil {
		t.Fatal(err)
	}
	return whole
}

func asTree(t *testing.T, v any) (tree map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// Definitions of servers that do not agree get other names: what comes of it is what kube-aggregator makes of the whole documents.
func TestAggregatedV2IsUnitedAsByKubeAggregator(t *testing.T) {
	s, h := start(t)
	alone := get(t, h, v2Path).Body.Bytes()
	const (
		options = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
		pod     = "io.k8s.api.core.v1.Pod"
		meta    = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
		toy     = "com.example.Toy"
	)
	builtIn := asTree(t, asSwagger(t, alone))["definitions"].(map[string]any)
	moreKinds := maps.Clone(builtIn[options].(map[string]any))
	moreKinds[kindsKey] = []any{map[string]any{"group": "one.example.com", "version": "v1", "kind": "DeleteOptions"}}
	of := func(kind string) map[string]any { return map[string]any{"type": kind, "description": kind} }
	using := func(name string) map[string]any {
		return map[string]any{"type": "object", "properties": map[string]any{"metadata": map[string]any{"$ref": "#/definitions/" + name}}}
	}
	query := func(name string) map[string]any { return map[string]any{"name": name, "in": "query", "type": "string"} }

	want := asSwagger(t, alone)
	for _, server := range []struct {
		gv                      schema.GroupVersion
		definitions, parameters map[string]any
	}{
		{schema.GroupVersion{Group: "one.example.com", Version: "v1"}, map[string]any{
			meta: builtIn[meta], options: moreKinds, pod: of("object"), toy: using(pod), "com.example.Own": using(meta)}, map[string]any{"size": query("size")}},
		{schema.GroupVersion{Group: "three.example.com", Version: "v1"}, map[string]any{pod: of("string"), toy: of("array"), pod + "_v2": of("integer")}, map[string]any{"size": query("length")}},
		{schema.GroupVersion{Group: "two.example.com", Version: "v1"}, map[string]any{pod: of("object"), "com.example.User": using(pod)}, nil},
	} {
		part, handler := described(t, server.gv, server.definitions, server.parameters)
		s.SetAggregated(server.gv, handler)
		if err := merge.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(want, part); err != nil {
			t.Fatal(err)
		}
	}
	got := asSwagger(t, get(t, h, v2Path).Body.Bytes())
	if diff := cmp.Diff(asTree(t, want), asTree(t, got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, name := range []string{pod + "_v2", pod + "_v3", toy + "_v2"} {
		if _, ok := got.Definitions[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}

	var packed openapi_v2.Document
	if err := proto.Unmarshal(get(t, h, v2Path, "Accept", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf").Body.Bytes(), &packed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range packed.Definitions.AdditionalProperties {
		names = append(names, d.Name)
		if d.Name == options && len(d.Value.VendorExtension) == 0 {
			t.Error("protobuf has DeleteOptions without kinds")
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want.Definitions)), names); diff != "" {
		t.Errorf("definitions in protobuf: -want +got:\n%s", diff)
	}
}

// A server that describes itself wrongly does not hide the others.
func TestAggregatedV2LeavesOutWhatIsWrong(t *testing.T) {
	for name, kinds := range map[string]any{"kinds that are no list": "none", "kinds that are no objects": []any{"none"}} {
		t.Run(name, func(t *testing.T) {
			s, h := start(t)
			const shared = "com.example.Shared"
			wrong := map[string]any{"type": "object", kindsKey: kinds}
			right := map[string]any{"type": "object", kindsKey: []any{map[string]any{"group": "", "version": "v1", "kind": "Shared"}}}
			for group, definitions := range map[string]map[string]any{
				"a.example.com": {shared: right}, "b.example.com": {shared: wrong}, "c.example.com": {"com.example.Other": map[string]any{"type": "object"}},
			} {
				gv := schema.GroupVersion{Group: group, Version: "v1"}
				_, handler := described(t, gv, definitions, nil)
				s.SetAggregated(gv, handler)
			}
			for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"} {
				if answer := get(t, h, v2Path, "Accept", accept); answer.Code != http.StatusOK {
					t.Errorf("%s: %d %s", accept, answer.Code, answer.Body)
				}
			}
			got := asSwagger(t, get(t, h, v2Path).Body.Bytes())
			for path, want := range map[string]bool{"/apis/a.example.com/v1/" + shared: true, "/apis/c.example.com/v1/com.example.Other": true, "/apis/b.example.com/v1/" + shared: false} {
				if _, ok := got.Paths.Paths[path]; ok != want {
					t.Errorf("%s is there: %t, want %t", path, ok, want)
				}
			}
		})
	}
}
