// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// services have routes as the API machinery makes them, which answer nothing.
func services() []*restful.WebService {
	nothing := func(*restful.Request, *restful.Response) {}
	core := new(restful.WebService).Path("/api/v1").Consumes("*/*").Produces(restful.MIME_JSON)
	for _, path := range []string{
		"/namespaces", "/namespaces/{name}", "/namespaces/{name}/status", "/watch/namespaces", "/watch/namespaces/{name}",
		"/pods", "/watch/pods", "/namespaces/{namespace}/pods", "/watch/namespaces/{namespace}/pods", "/watch/namespaces/{namespace}/pods/{name}",
		"/namespaces/{namespace}/pods/{name}", "/namespaces/{namespace}/pods/{name}/status", "/namespaces/{namespace}/pods/{name}/proxy",
		"/namespaces/{namespace}/pods/{name}/proxy/{path:*}", "/nodes/{name}/proxy/{path:*}",
	} {
		core.Route(core.GET(path).To(nothing)).Route(core.PUT(path).To(nothing))
	}
	core.Route(core.POST("/namespaces/{namespace}/pods").To(nothing))
	apps := new(restful.WebService).Path("/apis/apps/v1").Consumes("*/*").Produces(restful.MIME_JSON, "application/vnd.kubernetes.protobuf")
	for _, path := range []string{"/deployments", "/namespaces/{namespace}/deployments", "/namespaces/{namespace}/deployments/{name}"} {
		apps.Route(apps.GET(path).To(nothing))
	}
	return []*restful.WebService{core, apps}
}

// TestRouter holds that what is remembered is what the library's router would select, whatever was asked before.
func TestRouter(t *testing.T) {
	all := services()
	info := &apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	var requests []*http.Request
	for _, path := range []string{
		"/api/v1", "/api/v1/", "/api/v1/namespaces", "/api/v1/namespaces/", "/api/v1/namespaces/a", "/api/v1/namespaces/a/status", "/api/v1/namespaces/a/unknown",
		"/api/v1/watch/namespaces", "/api/v1/watch/namespaces/a", "/api/v1/pods", "/api/v1/pods?watch=1", "/api/v1/watch/pods", "/api/v1/pods/a",
		"/api/v1/pods?fieldSelector=metadata.name%3Da", "/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/pods?watch=1", "/api/v1/namespaces//pods", "/api/v1/namespaces/pods/pods",
		"/api/v1/watch/namespaces/a/pods", "/api/v1/watch/namespaces/a/pods/b", "/api/v1/namespaces/a/pods/b", "/api/v1/namespaces/a/pods/status", "/api/v1/namespaces/a/pods/b/",
		"/api/v1/namespaces/a/pods/b/status", "/api/v1/namespaces/a/pods/status/status", "/api/v1/namespaces/a/pods/b/proxy", "/api/v1/namespaces/a/pods/b/proxy/", "/api/v1/namespaces/a/pods/b/proxy/c",
		"/api/v1/namespaces/a/pods/b/proxy/c/status", "/api/v1/namespaces/a/pods/b/unknown", "/api/v1/namespaces/status/pods/proxy", "/api/v1/nodes/a/proxy/b", "/api/v1/nodes/a",
		"/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/a/deployments", "/apis/apps/v1/namespaces/a/deployments/b", "/apis/apps/v2/deployments", "/apis/batch/v1/deployments", "/version",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
			for _, accept := range []string{"", "application/json", "application/vnd.kubernetes.protobuf", "image/png"} {
				r := httptest.NewRequest(method, path, nil)
				if accept != "" {
					r.Header.Set("Accept", accept)
				}
				of, err := info.NewRequestInfo(r)
				if err != nil {
					t.Fatal(err)
				}
				requests = append(requests, r.WithContext(apirequest.WithRequestInfo(r.Context(), of)))
			}
		}
	}
	selected := func(router restful.RouteSelector, r *http.Request) string {
		_, route, err := router.SelectRoute(all, r)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(route.Method, " ", route.Path)
	}
	router := newRouter()
	routes := 0
	for round := range 2 {
		for i := range requests {
			r := requests[i]
			if round == 1 {
				r = requests[len(requests)-1-i]
			}
			want := selected(restful.CurlyRouter{}, r)
			if got := selected(router, r); got != want {
				t.Errorf("%s %s as %q is served by %q, want %q", r.Method, r.URL, r.Header.Get("Accept"), got, want)
			}
		}
		routes = len(router.known)
	}
	if routes < 30 {
		t.Errorf("only %d kinds of requests are remembered", routes)
	}
}

// TestRouterIsBounded holds that clients, who choose their headers, cannot make it remember ever more.
func TestRouterIsBounded(t *testing.T) {
	all, router := services(), newRouter()
	info := &apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	for i := range maxKinds + 10 {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
		r.Header.Set("Accept", fmt.Sprintf("application/json;q=0.%d", i))
		of, err := info.NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := router.SelectRoute(all, r.WithContext(apirequest.WithRequestInfo(r.Context(), of))); err != nil {
			t.Fatal(err)
		}
	}
	if len(router.known) > maxKinds {
		t.Errorf("%d kinds are remembered", len(router.known))
	}
}
