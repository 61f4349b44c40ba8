// SPDX-License-Identifier: Apache-2.0

// Package aggregation lets other servers take part in the API: requests for a group and version whose APIService names a service
// are passed on to it, in the name of whoever sent them, and discovery tells of what it serves. For what this server answers itself
// it keeps APIServices that say so.
//
// Cost: a request of a cluster without aggregated servers pays for a comparison of its path's beginning. The controllers that watch
// over aggregated servers (of k8s.io/kube-aggregator) are built when there is the first of them, and then look at each once in half a minute.
package aggregation

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
)

// legacy is the one group version outside of /apis.
var legacy = schema.GroupVersion{Version: "v1"}

// Config is what an Aggregator works with.
type Config struct {
	// APIServices is the informer of APIServices; it must run.
	APIServices cache.SharedIndexInformer
	// Informers are those of services and their endpoints, and Services finds one of the latter.
	Informers informers.SharedInformerFactory
	Services  webhook.ServiceResolver
	// ClientCertificate and ClientKey, in PEM, prove to aggregated servers that this server may speak for users.
	ClientCertificate, ClientKey []byte
	// Client writes APIServices.
	Client apiregistrationclient.APIServicesGetter
	// Definitions are the custom resources; each group version of theirs gets an APIService.
	Definitions apiextensionsinformers.CustomResourceDefinitionInformer
	// Discovery is the aggregated discovery of this server.
	Discovery aggregated.ResourceManager
	// Documents takes part in publishing the OpenAPI documents of aggregated servers.
	Documents Documents
	// Serializer encodes discovery documents.
	Serializer runtime.NegotiatedSerializer
}

// Documents is where the OpenAPI documents of aggregated servers are published.
type Documents interface {
	// SetAggregated says that handler, a server, answers for a group and version, or with nil that none does any more.
	SetAggregated(gv schema.GroupVersion, handler http.Handler)
}

// Aggregator is the part of the server that knows of the others.
type Aggregator struct {
	config Config
	lister listers.APIServiceLister

	// proxies is by group version who is asked instead of this server. It is nil as long as there is none.
	proxies atomic.Pointer[map[schema.GroupVersion]*proxy]
	// builtIn are the APIServices of what this server serves itself, by name; registered says that all of them have been seen to be stored.
	builtIn    map[string]*apiregistrationv1.APIService
	registered atomic.Bool

	// mux lists the paths of what is not built in, which are listed by group and version; custom answers there unless another server does.
	mux    Mux
	custom http.Handler
	listed map[string]sets.Set[string]

	// remote are the controllers of aggregated servers, once there is one, or one whose APIService names no service any more.
	late   sync.Once
	remote *remote
}

// New returns an aggregator, which knows of no other server before Start.
func New(c Config) *Aggregator {
	c.Discovery.SetGroupVersionPriority(metav1.GroupVersion(apiregistrationv1.SchemeGroupVersion), ownGroupPriority, 0)
	return &Aggregator{
		config: c, lister: listers.NewAPIServiceLister(c.APIServices.GetIndexer()),
		builtIn: map[string]*apiregistrationv1.APIService{}, listed: map[string]sets.Set[string]{},
	}
}

// AddBuiltIn says that this server serves a group version itself. It is called before Start.
func (a *Aggregator) AddBuiltIn(gv schema.GroupVersion) {
	if s := builtInService(gv); s != nil {
		a.builtIn[s.Name] = s
		a.config.Discovery.SetGroupVersionPriority(metav1.GroupVersion(gv), int(s.Spec.GroupPriorityMinimum), int(s.Spec.VersionPriority))
	}
}

// Start returns once requests go where the APIServices that are stored say. What is done for it goes on until ctx ends.
func (a *Aggregator) Start(ctx context.Context) error {
	followed, err := a.config.APIServices.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.changed(ctx, obj) },
		UpdateFunc: func(_, cur any) { a.changed(ctx, cur) },
		DeleteFunc: func(obj any) { a.deleted(obj) },
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, a.closeIdle)
	select {
	case <-followed.HasSyncedChecker().Done():
	case <-ctx.Done():
	}
	return nil
}

// Wrap passes requests on that are for other servers, and answers for the groups in discovery; local answers the rest.
func (a *Aggregator) Wrap(local http.Handler) http.Handler {
	groups := a.groupHandler(local)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if !strings.HasPrefix(path, "/api") {
			local.ServeHTTP(w, r)
			return
		}
		if p := a.proxyFor(path); p != nil {
			if isVersion(path) {
				documents{p}.ServeHTTP(w, r) // which controllers read as well
				return
			}
			p.ServeHTTP(w, r)
			return
		}
		if below, ok := strings.CutPrefix(path, "/apis/"); ok && isGroup(below) {
			groups.ServeHTTP(w, r)
			return
		}
		local.ServeHTTP(w, r)
	})
}

// isGroup tells whether a path below /apis/ has no more than the name of a group.
func isGroup(below string) bool {
	slash := strings.IndexByte(below, '/')
	return slash < 0 || slash == len(below)-1
}

// isVersion tells whether a path has no more than the names of a group and a version.
func isVersion(path string) bool {
	below, ok := strings.CutPrefix(path, "/apis/")
	return ok && strings.Count(strings.TrimSuffix(below, "/"), "/") == 1
}

// proxyFor finds who is asked instead of this server; nil means nobody.
func (a *Aggregator) proxyFor(path string) *proxy {
	proxies := a.proxies.Load()
	if proxies == nil {
		return nil
	}
	below, ok := strings.CutPrefix(path, "/apis/")
	if !ok {
		if path == "/api" || strings.HasPrefix(path, "/api/") {
			return (*proxies)[legacy]
		}
		return nil
	}
	group, below, ok := strings.Cut(below, "/")
	if !ok {
		return nil
	}
	version, _, _ := strings.Cut(below, "/")
	return (*proxies)[schema.GroupVersion{Group: group, Version: version}]
}

// changed and deleted follow the APIServices; the informer calls them one after the other.

func (a *Aggregator) changed(ctx context.Context, obj any) {
	s, ok := obj.(*apiregistrationv1.APIService)
	if !ok {
		return
	}
	a.noteRegistered()
	a.list(s)
	if s.Spec.Service != nil || !helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available) {
		a.late.Do(func() { a.remote = newRemote(ctx, a.config) })
	}
	if s.Spec.Service == nil {
		a.drop(s.Name, groupVersion(s))
		return
	}
	gv := groupVersion(s)
	proxies := a.copyProxies()
	p := proxies[gv]
	if p == nil {
		p = &proxy{services: a.config.Services}
		proxies[gv] = p
		// Until it has told what it serves, clients that act on what is not served must know better than to believe that.
		target := a.config.Discovery.WithSource(aggregated.AggregatorSource)
		target.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale})
		target.SetGroupVersionPriority(metav1.GroupVersion(gv), int(s.Spec.GroupPriorityMinimum), int(s.Spec.VersionPriority))
	}
	p.update(s, a.config.ClientCertificate, a.config.ClientKey)
	a.proxies.Store(&proxies)
	a.remote.discovery.AddAPIService(s, documents{anyway{p}})
	a.config.Documents.SetAggregated(gv, documents{p})
}

func (a *Aggregator) deleted(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	if s, ok := obj.(*apiregistrationv1.APIService); ok {
		a.unlist(s)
		a.drop(s.Name, groupVersion(s))
	}
}

// drop has requests for gv stay here.
func (a *Aggregator) drop(name string, gv schema.GroupVersion) {
	proxies := a.copyProxies()
	p := proxies[gv]
	if p == nil {
		return
	}
	delete(proxies, gv)
	if len(proxies) > 0 {
		a.proxies.Store(&proxies)
	} else {
		a.proxies.Store(nil)
	}
	a.config.Documents.SetAggregated(gv, nil)
	a.remote.discovery.RemoveAPIService(name)
	p.target.Load().closeIdle()
}

func (a *Aggregator) copyProxies() map[schema.GroupVersion]*proxy {
	if proxies := a.proxies.Load(); proxies != nil {
		return maps.Clone(*proxies)
	}
	return map[schema.GroupVersion]*proxy{}
}

// closeIdle ends connections to aggregated servers that wait for a next request.
func (a *Aggregator) closeIdle() {
	for _, p := range a.copyProxies() {
		p.target.Load().closeIdle()
	}
}

func groupVersion(s *apiregistrationv1.APIService) schema.GroupVersion {
	return schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
}

// noteRegistered ends the time in which discovery lists what is built in without an APIService.
func (a *Aggregator) noteRegistered() {
	if a.registered.Load() {
		return
	}
	for name := range a.builtIn {
		if _, err := a.lister.Get(name); err != nil {
			return
		}
	}
	a.registered.Store(true)
}

// services are the APIServices that discovery goes by.
func (a *Aggregator) services(all []*apiregistrationv1.APIService) []*apiregistrationv1.APIService {
	if a.registered.Load() {
		return all
	}
	stored := sets.New[string]()
	for _, s := range all {
		stored.Insert(s.Name)
	}
	for name, s := range a.builtIn {
		if !stored.Has(name) {
			all = append(all, s)
		}
	}
	return all
}
