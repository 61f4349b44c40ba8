// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

func TestProxyFor(t *testing.T) {
	toys, core := &proxy{}, &proxy{}
	for name, c := range map[string]struct {
		proxies map[schema.GroupVersion]*proxy
		want    map[string]*proxy
	}{
		"nobody": {nil, map[string]*proxy{"/api/v1/pods": nil, "/apis/toys.example.com/v1": nil}},
		"a group": {map[schema.GroupVersion]*proxy{{Group: "toys.example.com", Version: "v1"}: toys}, map[string]*proxy{
			"/apis/toys.example.com/v1": toys, "/apis/toys.example.com/v1/": toys, "/apis/toys.example.com/v1/namespaces/a/toys": toys,
			"/apis/toys.example.com": nil, "/apis/toys.example.com/": nil, "/apis/toys.example.com/v1beta1/toys": nil, "/apis/toys.example.com/v10": nil,
			"/apis/apps/v1/deployments": nil, "/api/v1/pods": nil, "/apis": nil, "/apis/": nil, "/openapi/v2": nil,
		}},
		"the core": {map[schema.GroupVersion]*proxy{legacy: core}, map[string]*proxy{
			"/api": core, "/api/": core, "/api/v1/pods": core, "/apis": nil, "/apis/apps/v1": nil, "/apix": nil,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &Aggregator{}
			if c.proxies != nil {
				a.proxies.Store(&c.proxies)
			}
			for path, want := range c.want {
				if got := a.proxyFor(path); got != want {
					t.Errorf("%s: somebody %t, want %t", path, got != nil, want != nil)
				}
			}
		})
	}
}

func TestIsGroup(t *testing.T) {
	for below, want := range map[string]bool{"": true, "apps": true, "apps/": true, "apps/v1": false, "apps/v1/": false, "//": false} {
		if got := isGroup(below); got != want {
			t.Errorf("/apis/%s: %t, want %t", below, got, want)
		}
	}
}

// What is built in is listed before its APIServices are stored, and not after one of them was deleted.
func TestServicesOfDiscovery(t *testing.T) {
	apps, batch := builtInService(schema.GroupVersion{Group: "apps", Version: "v1"}), builtInService(schema.GroupVersion{Group: "batch", Version: "v1"})
	custom := localService(schema.GroupVersion{Group: "example.com", Version: "v1"}, priority{customGroupPriority, customVersionPriority})
	a := &Aggregator{builtIn: map[string]*apiregistrationv1.APIService{apps.Name: apps, batch.Name: batch}}
	names := func(services []*apiregistrationv1.APIService) (names []string) {
		for _, group := range helper.SortedByGroupAndVersion(services) {
			names = append(names, group[0].Name)
		}
		return names
	}
	if diff := cmp.Diff([]string{"v1.apps", "v1.batch", "v1.example.com"}, names(a.services([]*apiregistrationv1.APIService{custom, batch}))); diff != "" {
		t.Errorf("at first: -want +got:\n%s", diff)
	}
	a.registered.Store(true)
	if diff := cmp.Diff([]string{"v1.batch", "v1.example.com"}, names(a.services([]*apiregistrationv1.APIService{custom, batch}))); diff != "" {
		t.Errorf("later: -want +got:\n%s", diff)
	}
}

func TestServed(t *testing.T) {
	definition := func(group string, served bool) *apiextensionsv1.CustomResourceDefinition {
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: served}}}}
	}
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	for name, c := range map[string]struct {
		all  []*apiextensionsv1.CustomResourceDefinition
		want bool
	}{
		"none":              {},
		"another group":     {all: []*apiextensionsv1.CustomResourceDefinition{definition("example.org", true)}},
		"not served":        {all: []*apiextensionsv1.CustomResourceDefinition{definition("example.com", false)}},
		"served by another": {all: []*apiextensionsv1.CustomResourceDefinition{definition("example.com", false), definition("example.com", true)}, want: true},
	} {
		if got := served(c.all, gv); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// BenchmarkLocalRequest is what a request for pods pays where there are no aggregated servers, and where there is one.
func BenchmarkLocalRequest(b *testing.B) {
	request := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/default/pods/web", nil)
	for name, proxies := range map[string]*map[schema.GroupVersion]*proxy{"none": nil, "one": {{Group: "toys.example.com", Version: "v1"}: {}}} {
		b.Run(name, func(b *testing.B) {
			a := &Aggregator{}
			a.proxies.Store(proxies)
			handler := a.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for b.Loop() {
				handler.ServeHTTP(nil, request)
			}
		})
	}
}
