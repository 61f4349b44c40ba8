// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A path behind /proxy arrives as it is; a GET without one is sent to /proxy/.
func TestProxyPaths(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.WriteString(w, q.Method+" "+q.URL.RequestURI())
	}))
	defer backend.Close()
	r := &proxyREST{newOptions: newPodProxyOptions, locate: func(context.Context, string) (*url.URL, http.RoundTripper, error) {
		at, err := url.Parse(backend.URL)
		return at, nil, err
	}}
	const prefix = "/api/v1/namespaces/default/pods/p/proxy"
	for _, c := range []struct {
		method, suffix, query string
		code                  int
		want                  string // what the backend saw, or where the client is sent
	}{
		{"GET", "", "", 301, prefix + "/"},
		{"HEAD", "", "?a=b", 301, prefix + "/?a=b"},
		{"POST", "", "?a=b", 200, "POST /?a=b"},
		{"GET", "/", "?a=b", 200, "GET /?a=b"},
		{"GET", "/x", "", 200, "GET /x"},
		{"PUT", "/x/y/", "?a=b", 200, "PUT /x/y/?a=b"},
	} {
		responder := &failures{t}
		handler, err := r.Connect(t.Context(), "p", &corev1.PodProxyOptions{Path: c.suffix}, responder)
		if err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(c.method, prefix+c.suffix+c.query, nil))
		got := answer.Body.String()
		if answer.Code == 301 {
			got = answer.Header().Get("Location")
		}
		if answer.Code != c.code || got != c.want {
			t.Errorf("%s %s%s: %d %q, want %d %q", c.method, c.suffix, c.query, answer.Code, got, c.code, c.want)
		}
	}
}

// failures is a responder that nothing should answer by.
type failures struct{ t *testing.T }

func (f *failures) Object(code int, _ runtime.Object) {
	f.t.Errorf("an object is answered with %d", code)
}
func (f *failures) Error(err error) { f.t.Error(err) }
