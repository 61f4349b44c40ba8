// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/handler3"
)

var toys = schema.GroupVersion{Group: "toys.example.com", Version: "v1"}

// toyServer answers as an aggregated server that has documents of version 2, and of version 3 unless it is old.
type toyServer struct {
	kind      string
	old, down bool
	asked     int
}

func (s *toyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked++
	switch {
	case s.down:
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
	case r.URL.Path == v2Path:
		fmt.Fprintf(w, `{"swagger": "2.0", "info": {"title": "toys", "version": "1"}, "paths": {
			"/apis/toys.example.com/v1/toys": {"get": {"responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/%s"}}}}},
			"/apis/toys.example.com/v2/toys": {"get": {"responses": {"200": {"description": "OK"}}}}}, "definitions": {"%[1]s": {"type": "object"}}}`, s.kind)
	case r.URL.Path == v3Path && !s.old:
		fmt.Fprint(w, `{"paths": {"apis/toys.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/toys.example.com/v1?hash=1"}, "apis/toys.example.com/v2": {}, "version": {}}}`)
	case r.URL.Path == v3Path+"/apis/toys.example.com/v1" && !s.old:
		fmt.Fprint(w, `{"openapi": "3.0.0", "paths": {"/of/the/server": {}}}`)
	default:
		http.NotFound(w, r)
	}
}

// later has what is known of all servers be old.
func (s *Server) later() {
	for _, server := range s.aggregated.servers() {
		server.v2.next, server.v3.next = time.Time{}, time.Time{}
	}
}

func TestAggregatedV2(t *testing.T) {
	s, h := start(t)
	server := &toyServer{kind: "com.example.Toy"}
	s.SetAggregated(toys, server)
	whole := func() (paths, definitions map[string]any) {
		t.Helper()
		doc := decode[struct{ Paths, Definitions map[string]any }](t, get(t, h, v2Path).Body.Bytes())
		return doc.Paths, doc.Definitions
	}
	paths, definitions := whole()
	for key, want := range map[string]bool{"/apis/toys.example.com/v1/toys": true, "/apis/toys.example.com/v2/toys": false, "/apis/apps/v1/": true} {
		if _, ok := paths[key]; ok != want {
			t.Errorf("%s is there: %t, want %t", key, ok, want)
		}
	}
	if definitions["com.example.Toy"] == nil || definitions["io.k8s.api.core.v1.Pod"] == nil {
		t.Error("what both servers define is not there")
	}
	asked := server.asked
	if whole(); server.asked != asked {
		t.Error("the server was asked again at once")
	}

	packed := get(t, h, v2Path, "Accept", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	var document openapi_v2.Document
	if err := proto.Unmarshal(packed.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, path := range document.Paths.Path {
		found[path.Name] = true
	}
	if !found["/apis/toys.example.com/v1/toys"] || !found["/apis/apps/v1/"] || document.Info.Title != "Kubernetes" {
		t.Errorf("protobuf, titled %q, has not the paths of both servers", document.Info.Title)
	}

	// What was learned stays while the server does not answer, and is followed when it does.
	server.down = true
	s.later()
	if _, definitions := whole(); definitions["com.example.Toy"] == nil {
		t.Error("what was known of a server that is down is gone")
	}
	server.down, server.kind = false, "com.example.Doll"
	s.SetAggregated(toys, server)
	if _, definitions := whole(); definitions["com.example.Toy"] != nil || definitions["com.example.Doll"] == nil {
		t.Error("a change of the server's document does not show")
	}
	s.SetAggregated(toys, nil)
	if paths, _ := whole(); paths["/apis/toys.example.com/v1/toys"] != nil {
		t.Error("a server that has gone is still described")
	}
}

func TestAggregatedV3(t *testing.T) {
	for name, c := range map[string]struct {
		server toyServer
		path   string // in the document
	}{
		"its own document":           {toyServer{kind: "com.example.Toy"}, "/of/the/server"},
		"converted from version 2":   {toyServer{kind: "com.example.Toy", old: true}, "/apis/toys.example.com/v1/toys"},
		"a server that is not there": {toyServer{down: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := start(t)
			s.SetAggregated(toys, &c.server)
			paths := decode[handler3.OpenAPIV3Discovery](t, get(t, h, v3Path).Body.Bytes()).Paths
			at, ok := paths["apis/toys.example.com/v1"]
			if ok != (c.path != "") {
				t.Fatalf("in the index: %t", ok)
			}
			if _, ok := paths["apis/toys.example.com/v2"]; ok {
				t.Error("a version is in the index that the server is not asked for")
			}
			if !strings.HasPrefix(paths["version"].ServerRelativeURL, "/openapi/v3/version?") {
				t.Error("a server's document is in the place of this one's")
			}
			if c.path == "" {
				if answer := get(t, h, "/openapi/v3/apis/toys.example.com/v1"); answer.Code != http.StatusNotFound {
					t.Errorf("its document: %d, want 404", answer.Code)
				}
				return
			}
			answer := get(t, h, at.ServerRelativeURL, "Accept", "application/json")
			doc := decode[v3Document](t, answer.Body.Bytes())
			if _, ok := doc.Paths[c.path]; !ok || answer.Code != http.StatusOK {
				t.Errorf("%d %.200s", answer.Code, answer.Body)
			}
		})
	}
}
