// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serve is a server over TLS with HTTP/2, as API servers are.
func serve(t *testing.T, handler http.HandlerFunc) *Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Dial("test", file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func answerWith(t *testing.T, w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		t.Error(err)
	}
}

func TestDo(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Impersonate-User"); got != User {
			t.Errorf("asked as %q", got)
		}
		w.Header().Add("Warning", `299 - "a \"quoted\" text"`)
		w.Header().Add("Warning", `299 - "second"`)
		answerWith(t, w, http.StatusCreated, map[string]any{"method": r.Method, "query": r.URL.RawQuery, "type": r.Header.Get("Content-Type"), "n": 3})
	})
	got, err := s.Do(t.Context(), Request{Method: http.MethodPost, Path: "/x", Query: map[string][]string{"dryRun": {"All"}}, ContentType: "application/json", Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	want := Answer{Code: 201, Warnings: []string{`a "quoted" text`, "second"}, Body: map[string]any{"method": "POST", "query": "dryRun=All", "type": "application/json", "n": int64(3)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDoRepeatsWhatTheServerWasTooBusyFor(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many", http.StatusTooManyRequests)
			return
		}
		answerWith(t, w, http.StatusOK, map[string]any{})
	})
	got, err := s.Do(t.Context(), Request{Method: http.MethodGet, Path: "/x"})
	if err != nil || got.Code != http.StatusOK || asked.Load() != 2 {
		t.Errorf("%+v, %v after %d requests", got, err, asked.Load())
	}
}

func TestDoReadsEvents(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"events, of bookmarks the first", "{\"type\":\"ADDED\"}\n{\"type\":\"BOOKMARK\",\"n\":1}\n{\"type\":\"BOOKMARK\",\"n\":2}\n", `map[items:[map[type:ADDED] map[n:1 type:BOOKMARK]]]`},
		{"one alone", "{\"type\":\"ADDED\"}\n", `map[type:ADDED]`},
		{"no stream", "{\"type\":\"ADDED\"}\nnonsense\n", "map[]"},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if _, err := w.Write([]byte(c.stream)); err != nil {
				t.Error(err)
			}
		})
		got, err := s.Do(t.Context(), Request{Method: http.MethodGet, Path: "/x"})
		if err != nil || fmt.Sprint(got.Body) != c.want || (got.Body == nil) != (got.Text == c.stream) {
			t.Errorf("%s: %v %q, %v", c.name, got.Body, got.Text, err)
		}
	}
}

func TestDoTellsOfHandlersThatBreak(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	got, err := s.Do(t.Context(), Request{Method: http.MethodGet, Path: "/x"})
	if err != nil || got.Code != 0 || got.Text == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestResources(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/apis":
			answerWith(t, w, 200, map[string]any{"items": []any{map[string]any{"metadata": map[string]any{"name": "apps"}, "versions": []any{map[string]any{"version": "v1"}}}}})
		case "/api/v1":
			answerWith(t, w, 200, metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: []string{"create", "get"}}, {Name: "pods/status", Kind: "Pod"}}})
		case "/apis/apps/v1":
			answerWith(t, w, 200, metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Namespaced: true}}})
		}
	})
	got, err := s.Resources(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	deployment, pod := got[0], got[1]
	if pod.Path("ns") != "/api/v1/namespaces/ns/pods" || !pod.HasStatus() || !pod.Stored() || deployment.Path("ns") != "/apis/apps/v1/namespaces/ns/deployments" || deployment.Stored() {
		t.Errorf("%+v", got)
	}
}
