// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

// Mux is what handlers are installed into, such as mux.PathRecorderMux of k8s.io/apiserver, which lists their paths at /.
type Mux interface {
	Handle(path string, handler http.Handler)
	Unregister(path string)
}

// Install answers at /apis: which groups there are, in the order of their priorities, or all that is served to clients that ask for
// aggregated discovery. Paths of group versions that are not built in are installed as they come and go; custom answers at those of
// custom resources. It is called before Start.
func (a *Aggregator) Install(mux Mux, custom http.Handler) {
	a.mux, a.custom = mux, custom
	mux.Handle("/apis", aggregated.WrapAggregatedDiscoveryToHandler(http.HandlerFunc(a.serveGroups), a.config.Discovery, nil))
}

// list and unlist keep the paths of what is not built in; the informer's events call them, one after the other.

func (a *Aggregator) list(s *apiregistrationv1.APIService) {
	gv := groupVersion(s)
	if a.builtIn[s.Name] != nil || a.listed[gv.Group].Has(gv.Version) {
		return
	}
	if a.listed[gv.Group] == nil {
		a.listed[gv.Group] = sets.New[string]()
		a.mux.Handle("/apis/"+gv.Group, a.custom)
	}
	a.listed[gv.Group].Insert(gv.Version)
	a.mux.Handle("/apis/"+gv.String(), a.custom)
}

func (a *Aggregator) unlist(s *apiregistrationv1.APIService) {
	gv := groupVersion(s)
	if !a.listed[gv.Group].Has(gv.Version) {
		return
	}
	a.mux.Unregister("/apis/" + gv.String())
	if a.listed[gv.Group].Delete(gv.Version).Len() == 0 {
		delete(a.listed, gv.Group)
		a.mux.Unregister("/apis/" + gv.Group)
	}
}

func (a *Aggregator) serveGroups(w http.ResponseWriter, r *http.Request) {
	all, err := a.lister.List(labels.Everything())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	own := versionForDiscovery(apiregistrationv1.SchemeGroupVersion)
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{{
		Name: apiregistrationv1.GroupName, Versions: []metav1.GroupVersionForDiscovery{own}, PreferredVersion: own,
	}}}
	for _, group := range helper.SortedByGroupAndVersion(a.services(all)) {
		if group[0].Spec.Group != "" {
			list.Groups = append(list.Groups, *apiGroup(group))
		}
	}
	a.write(w, r, list)
}

// groupHandler answers at /apis/ and at /apis/<group>; local does for groups that have no APIService.
func (a *Aggregator) groupHandler(local http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/")
		if name == "" {
			a.serveGroups(w, r)
			return
		}
		all, err := a.lister.List(labels.Everything())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		var group []*apiregistrationv1.APIService
		for _, s := range a.services(all) {
			if s.Spec.Group == name {
				group = append(group, s)
			}
		}
		if len(group) == 0 {
			local.ServeHTTP(w, r)
			return
		}
		a.write(w, r, apiGroup(helper.SortedByGroupAndVersion(group)[0]))
	})
}

func (a *Aggregator) write(w http.ResponseWriter, r *http.Request, obj runtime.Object) {
	responsewriters.WriteObjectNegotiated(a.config.Serializer, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, obj, false)
}

// apiGroup describes the group of services, which are in the order of their priorities.
func apiGroup(services []*apiregistrationv1.APIService) *metav1.APIGroup {
	group := &metav1.APIGroup{Name: services[0].Spec.Group}
	for _, s := range services {
		group.Versions = append(group.Versions, versionForDiscovery(groupVersion(s)))
	}
	group.PreferredVersion = group.Versions[0]
	return group
}

func versionForDiscovery(gv schema.GroupVersion) metav1.GroupVersionForDiscovery {
	return metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
}
