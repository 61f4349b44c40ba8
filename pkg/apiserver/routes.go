// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"sync"

	"github.com/emicklei/go-restful/v3"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// router remembers which route serves requests of a kind. The library's own looks through all routes of a group with every request, which
// takes a tenth of the CPU time of a get.
type router struct {
	restful.CurlyRouter

	mu    sync.RWMutex
	known map[requestKind]route
}

// requestKind is all that a route depends on: the path without names, and what the client sends and accepts. Paths have the same route that differ
// in names alone.
type requestKind struct {
	method, verb                                  string
	prefix, group, version, resource, subresource string
	namespaced, named                             bool
	parts, length                                 int
	accept, contentType                           string
}

type route struct {
	service *restful.WebService
	route   *restful.Route
}

// maxKinds bounds what clients can make the router remember, for headers are theirs to choose.
const maxKinds = 4096

func newRouter() *router { return &router{known: map[requestKind]route{}} }

// SelectRoute implements restful.RouteSelector.
func (r *router) SelectRoute(services []*restful.WebService, request *http.Request) (*restful.WebService, *restful.Route, error) {
	kind, ok := kindOf(request)
	if !ok {
		return r.CurlyRouter.SelectRoute(services, request)
	}
	r.mu.RLock()
	found, ok := r.known[kind]
	r.mu.RUnlock()
	if ok {
		return found.service, found.route, nil
	}
	service, selected, err := r.CurlyRouter.SelectRoute(services, request)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.known) >= maxKinds {
			clear(r.known)
		}
		r.known[kind] = route{service, selected}
	}
	return service, selected, err
}

// kindOf tells what kind a request is of; ok is false for one that is not about a resource.
func kindOf(request *http.Request) (kind requestKind, ok bool) {
	info, ok := apirequest.RequestInfoFrom(request.Context())
	if !ok || !info.IsResourceRequest || len(request.Header["Accept"]) > 1 || len(request.Header["Content-Type"]) > 1 {
		return kind, false
	}
	segments := 0
	for i := range len(request.URL.Path) {
		if request.URL.Path[i] == '/' {
			segments++
		}
	}
	return requestKind{
		method: request.Method, verb: info.Verb,
		prefix: info.APIPrefix, group: info.APIGroup, version: info.APIVersion, resource: info.Resource, subresource: info.Subresource,
		namespaced: info.Namespace != "", named: info.Name != "",
		parts: len(info.Parts), length: segments,
		accept: request.Header.Get("Accept"), contentType: request.Header.Get("Content-Type"),
	}, true
}
