// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/kube-openapi/pkg/handler3"
)

// defined are the custom resources that a server is told of.
type defined struct {
	*Server
	definitions []*apiextensionsv1.CustomResourceDefinition
}

func start(t testing.TB) (*defined, http.Handler) {
	t.Helper()
	d := &defined{}
	s, err := NewServer(func() ([]*apiextensionsv1.CustomResourceDefinition, error) { return d.definitions, nil })
	if err != nil {
		t.Fatal(err)
	}
	d.Server = s
	m := mux.NewPathRecorderMux("test")
	s.Install(m)
	return d, m
}

func get(t testing.TB, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %.100s", err, data)
	}
	return v
}

func widgets() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.org"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.org", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}}}},
			}}},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{
			Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}},
		},
	}
}

type v3Document struct {
	OpenAPI    string                    `json:"openapi"`
	Paths      map[string]map[string]any `json:"paths"`
	Components struct {
		Schemas map[string]map[string]any `json:"schemas"`
	} `json:"components"`
}

func TestV3(t *testing.T) {
	d, h := start(t)
	d.definitions = append(d.definitions, widgets())
	index := get(t, h, "/openapi/v3")
	paths := decode[handler3.OpenAPIV3Discovery](t, index.Body.Bytes()).Paths
	for _, path := range []string{"api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1", "version", "apis/example.org/v1"} {
		at, ok := paths[path]
		if !ok {
			t.Errorf("%s is not in the index", path)
			continue
		}
		answer := get(t, h, at.ServerRelativeURL, "Accept", "application/json")
		if answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") != "public, immutable" {
			t.Errorf("%s: %d, Cache-Control %q", at.ServerRelativeURL, answer.Code, answer.Header().Get("Cache-Control"))
			continue
		}
		doc := decode[v3Document](t, answer.Body.Bytes())
		if !strings.HasPrefix(doc.OpenAPI, "3.") || len(doc.Paths) == 0 {
			t.Errorf("%s is no document of version 3: %.100s", path, answer.Body)
		}
	}

	apps := decode[v3Document](t, get(t, h, "/openapi/v3/apis/apps/v1").Body.Bytes())
	deployment := apps.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
	for _, method := range []string{"get", "put", "patch", "delete"} {
		if _, ok := deployment[method]; !ok {
			t.Errorf("deployments have no %s", method)
		}
	}
	// kubectl finds the schema of a kind by this extension.
	kinds, _ := apps.Components.Schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"].([]any)
	if len(kinds) != 1 || kinds[0].(map[string]any)["kind"] != "Deployment" {
		t.Errorf("kinds of the schema of Deployment: %v", kinds)
	}
}

func TestV3Requests(t *testing.T) {
	_, h := start(t)
	plain := get(t, h, "/openapi/v3/api/v1")
	etag := plain.Header().Get("Etag")
	tests := []struct {
		name, path string
		headers    []string
		code       int
		header     [2]string
	}{
		{"old hash", "/openapi/v3/api/v1?hash=OLD", nil, http.StatusMovedPermanently, [2]string{"Location", "/openapi/v3/api/v1?hash=" + strings.Trim(etag, `"`)}},
		{"known already", "/openapi/v3/api/v1", []string{"If-None-Match", etag}, http.StatusNotModified, [2]string{"Etag", etag}},
		{"another is known", "/openapi/v3/api/v1", []string{"If-None-Match", `"x"`}, http.StatusOK, [2]string{"Etag", etag}},
		{"without hash", "/openapi/v3/api/v1", nil, http.StatusOK, [2]string{"Cache-Control", ""}},
		{"gzip", "/openapi/v3/api/v1", []string{"Accept-Encoding", "br, gzip;q=0.5"}, http.StatusOK, [2]string{"Content-Encoding", "gzip"}},
		{"gzip refused", "/openapi/v3/api/v1", []string{"Accept-Encoding", "gzip; q=0"}, http.StatusOK, [2]string{"Content-Encoding", ""}},
		{"protobuf", "/openapi/v3/apis/storage.k8s.io/v1", []string{"Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}, http.StatusOK,
			[2]string{"Content-Type", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"}},
		{"YAML", "/openapi/v3/api/v1", []string{"Accept", "application/yaml"}, http.StatusNotAcceptable, [2]string{}},
		{"no such group", "/openapi/v3/apis/nowhere/v1", nil, http.StatusNotFound, [2]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := get(t, h, tt.path, tt.headers...)
			if answer.Code != tt.code || answer.Header().Get(tt.header[0]) != tt.header[1] {
				t.Errorf("got %d, %s %q", answer.Code, tt.header[0], answer.Header().Get(tt.header[0]))
			}
		})
	}
	zipped, err := gzip.NewReader(get(t, h, "/openapi/v3/api/v1", "Accept-Encoding", "gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(zipped)
	if err != nil || !bytes.Equal(unzipped, plain.Body.Bytes()) {
		t.Errorf("gzip'd answer is another: %v", err)
	}
	var doc openapi_v3.Document
	if err := proto.Unmarshal(get(t, h, "/openapi/v3/apis/storage.k8s.io/v1", tests[6].headers...).Body.Bytes(), &doc); err != nil || len(doc.GetPaths().GetPath()) == 0 {
		t.Errorf("protobuf: %v", err)
	}
}

type v2Document struct {
	Swagger     string
	Paths       map[string]any
	Definitions map[string]any
}

// Version 2 is one document with everything in it, in both formats, and follows what is published.
func TestV2(t *testing.T) {
	const pod, widget = "/api/v1/namespaces/{namespace}/pods/{name}", "/apis/example.org/v1/namespaces/{namespace}/widgets/{name}"
	d, h := start(t)
	etags := map[string]bool{}
	check := func(published bool) {
		t.Helper()
		answer := get(t, h, "/openapi/v2", "Accept", "application/json")
		etags[answer.Header().Get("Etag")] = true
		doc := decode[v2Document](t, answer.Body.Bytes())
		if doc.Swagger != "2.0" || doc.Paths[pod] == nil || doc.Definitions["io.k8s.api.core.v1.Pod"] == nil {
			t.Fatalf("the built-in is not in %.100s", answer.Body)
		}
		if has := doc.Paths[widget] != nil && doc.Definitions["org.example.v1.Widget"] != nil; has != published {
			t.Errorf("custom resources in JSON: %v, want %v", has, published)
		}

		answer = get(t, h, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
		var message openapi_v2.Document
		if err := proto.Unmarshal(answer.Body.Bytes(), &message); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range message.GetPaths().GetPath() {
			names = append(names, p.GetName())
		}
		if !slices.Contains(names, pod) || slices.Contains(names, widget) != published || message.GetSwagger() != "2.0" || message.GetInfo().GetTitle() != "Kubernetes" {
			t.Errorf("protobuf: %d paths, custom resources %v, want %v", len(names), slices.Contains(names, widget), published)
		}
	}
	check(false)
	d.definitions = append(d.definitions, widgets())
	check(true)
	check(true)
	d.definitions = nil
	check(false)
	if len(etags) != 2 {
		t.Errorf("%d ETags of two contents", len(etags))
	}
	if answer := get(t, h, "/openapi/v2", "Accept", "text/html"); answer.Code != http.StatusNotAcceptable {
		t.Errorf("HTML: %d", answer.Code)
	}
}

// What is made of a definition is kept until the definition changes, and no longer than it is served.
func TestCustomResourcesChange(t *testing.T) {
	d, h := start(t)
	gadgets := widgets()
	gadgets.Name = "gadgets.example.org"
	gadgets.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: "Gadget", ListKind: "GadgetList"}
	d.definitions = []*apiextensionsv1.CustomResourceDefinition{widgets(), gadgets}
	kinds := func() (v3, v2, protobuf []string) {
		t.Helper()
		of := func(name string) bool {
			return strings.HasPrefix(name, "org.example.v1.") && !strings.HasSuffix(name, "List")
		}
		for name := range decode[v3Document](t, get(t, h, "/openapi/v3/apis/example.org/v1").Body.Bytes()).Components.Schemas {
			if of(name) {
				v3 = append(v3, name)
			}
		}
		for name := range decode[v2Document](t, get(t, h, "/openapi/v2").Body.Bytes()).Definitions {
			if of(name) {
				v2 = append(v2, name)
			}
		}
		var message openapi_v2.Document
		if err := proto.Unmarshal(get(t, h, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf").Body.Bytes(), &message); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, definition := range message.GetDefinitions().GetAdditionalProperties() {
			if seen[definition.GetName()] {
				t.Errorf("%s is defined twice", definition.GetName())
			}
			seen[definition.GetName()] = true
			if of(definition.GetName()) {
				protobuf = append(protobuf, definition.GetName())
			}
		}
		slices.Sort(v3)
		slices.Sort(v2)
		slices.Sort(protobuf)
		return v3, v2, protobuf
	}
	check := func(want ...string) {
		t.Helper()
		v3, v2, protobuf := kinds()
		for _, got := range [][]string{v3, v2, protobuf} {
			if !slices.Equal(got, want) {
				t.Errorf("kinds: version 3 %v, version 2 %v, in protobuf %v; want %v", v3, v2, protobuf, want)
				return
			}
		}
	}
	check("org.example.v1.Gadget", "org.example.v1.Widget")
	at := decode[handler3.OpenAPIV3Discovery](t, get(t, h, "/openapi/v3").Body.Bytes()).Paths["apis/example.org/v1"].ServerRelativeURL
	if again := decode[handler3.OpenAPIV3Discovery](t, get(t, h, "/openapi/v3").Body.Bytes()).Paths["apis/example.org/v1"].ServerRelativeURL; again != at {
		t.Errorf("the document moves without a change, from %s to %s", at, again)
	}

	renamed := gadgets.DeepCopy()
	renamed.Spec.Names.Kind, renamed.Spec.Names.ListKind, renamed.Generation = "Gizmo", "GizmoList", 2
	d.definitions[1] = renamed
	check("org.example.v1.Gizmo", "org.example.v1.Widget")
	if old := get(t, h, at); old.Code != http.StatusMovedPermanently {
		t.Errorf("the document of before the change: %d", old.Code)
	}
	renamed = renamed.DeepCopy()
	renamed.Status.Conditions[0].Status = apiextensionsv1.ConditionFalse
	d.definitions[1] = renamed
	check("org.example.v1.Widget")
	d.definitions = nil
	if gone := get(t, h, "/openapi/v3/apis/example.org/v1"); gone.Code != http.StatusNotFound {
		t.Errorf("the document of a group that is gone: %d", gone.Code)
	}
}

// An archive that is cut anywhere between documents is shorter, and anywhere else an error.
func TestUnpackDamaged(t *testing.T) {
	archive, err := Pack(map[string][]byte{"a": []byte("one"), "b": bytes.Repeat([]byte("two"), 1000)})
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for i := range archive {
		if _, err := unpack(string(archive[:i])); err == nil {
			whole++
		}
	}
	if whole != 2 {
		t.Errorf("%d cuts go unnoticed, want 2: nothing, and the first document", whole)
	}
}

func BenchmarkV3Gzip(b *testing.B) {
	_, h := start(b)
	for b.Loop() {
		get(b, h, "/openapi/v3/api/v1", "Accept-Encoding", "gzip")
	}
}

func BenchmarkV2Join(b *testing.B) {
	d, h := start(b)
	for generation := int64(1); b.Loop(); generation++ {
		w := widgets()
		w.Generation = generation
		d.definitions = []*apiextensionsv1.CustomResourceDefinition{w}
		get(b, h, "/openapi/v2", "Accept", "application/json", "Accept-Encoding", "gzip")
	}
}

func BenchmarkNewServer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewServer(nil); err != nil {
			b.Fatal(err)
		}
	}
}
