// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestPlainRequests holds what kube-apiserver answers to requests that no client library makes, headers included.
func TestPlainRequests(t *testing.T) {
	c := newCluster(t)
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	const (
		maps      = "/api/v1/namespaces/default/configmaps"
		merge     = "application/merge-patch+json"
		jsonPatch = "application/json-patch+json"
		noMethod  = `"message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405`
		tooLarge  = `"message":"Too large resource version"}],"retryAfterSeconds":1}`
		noName    = `undeterminable: name must be provided","reason":"BadRequest","code":400`
		services  = "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps"
	)
	for name, test := range map[string]struct {
		method, path, contentType, body string
		code                            int
		want                            string            // within the body; an empty body where it is ""
		headers                         map[string]string // "" where it must be absent
	}{
		"a version of the future, list":  {method: "GET", path: maps + "?resourceVersion=999999999", code: 504, want: tooLarge, headers: map[string]string{"Retry-After": "1"}},
		"a version of the future, get":   {method: "GET", path: maps + "/plain?resourceVersion=999999999", code: 504, want: tooLarge, headers: map[string]string{"Retry-After": "1"}},
		"no apiVersion left":             {method: "PATCH", path: maps + "/plain", contentType: merge, body: `{"apiVersion":null}`, code: 400, want: noName},
		"no apiVersion left, APIService": {method: "PATCH", path: services, contentType: merge, body: `{"apiVersion":null}`, code: 400, want: noName},
		"apiVersion removed, APIService": {method: "PATCH", path: services, contentType: jsonPatch, body: `[{"op":"remove","path":"/apiVersion"}]`, code: 400, want: noName},
		"no kind left, APIService":       {method: "PATCH", path: services + "?dryRun=All", contentType: merge, body: `{"kind":null}`, code: 200, want: `"kind":"APIService"`},
		"issuer, POST":                   {method: "POST", path: "/.well-known/openid-configuration", code: 405, want: noMethod, headers: map[string]string{"Content-Type": "application/json"}},
		"issuer, HEAD":                   {method: "HEAD", path: "/.well-known/openid-configuration", code: 405},
		"keys, PUT":                      {method: "PUT", path: "/openid/v1/jwks", code: 405, want: noMethod, headers: map[string]string{"Content-Type": "application/json"}},
		"keys":                           {method: "GET", path: "/openid/v1/jwks", code: 200, want: `"keys"`, headers: map[string]string{"Content-Type": "application/jwk-set+json"}},
		"no such document":               {method: "GET", path: "/openapi/v3/apis/none.example.com/v1", code: 404},
		"a document of before":           {method: "GET", path: "/openapi/v3/api/v1?hash=0", code: 301, headers: map[string]string{"Content-Type": "application/json"}},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, c.config.Host+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.contentType)
			request.Header.Set("Accept", "application/json")
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != test.code || !strings.Contains(string(body), test.want) || test.want == "" && len(body) > 0 {
				t.Errorf("%d %q, want %d and %q", answer.StatusCode, body, test.code, test.want)
			}
			for header, want := range test.headers {
				if got := answer.Header.Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
		})
	}
}
