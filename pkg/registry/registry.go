// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	eventsv1 "k8s.io/api/events/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/apis/core"
	"github.com/hivemind-project/hivemind/pkg/auth/token"
	"github.com/hivemind-project/hivemind/pkg/informer"
)

// Registry is the table brought to life: a store for every row.
type Registry struct {
	Scheme         *runtime.Scheme
	Codecs         serializer.CodecFactory
	ParameterCodec runtime.ParameterCodec

	stores   []*Store
	byName   map[schema.GroupResource]*Store
	services *serviceNumbers
}

// Options are what the stores need to know of the cluster.
type Options struct {
	// RESTOptions returns where resources are kept, given how to encode them.
	RESTOptions func(runtime.Codec) generic.RESTOptionsGetter
	// WrittenSince is the first revision that was written by this version of the program.
	WrittenSince int64
	// FirstNodePort and LastNodePort are the range that node ports come from.
	FirstNodePort, LastNodePort int32
}

// New makes the stores. It reads nothing yet: see Load.
func New(options Options) (*Registry, error) {
	all := rows()
	scheme, err := newScheme(all)
	if err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	r := &Registry{Scheme: scheme, Codecs: serializer.NewCodecFactory(scheme), ParameterCodec: runtime.NewParameterCodec(scheme), byName: map[schema.GroupResource]*Store{}}
	restOptions := options.RESTOptions(storageCodec(scheme, r.Codecs, all))
	proto := protobuf.NewSerializer(scheme, scheme)
	for _, row := range all {
		store, err := newStore(scheme, row, restOptions, r.Codecs.EncoderForVersion(proto, row.GroupVersion), options.WrittenSince)
		if err != nil {
			return nil, err
		}
		r.stores = append(r.stores, store)
		r.byName[row.GroupResource()] = store
	}
	r.services = newServiceNumbers(options.FirstNodePort, options.LastNodePort)
	r.services.attach(r.Store("", "services"))
	attachRequester(r.Store("certificates.k8s.io", "certificatesigningrequests"))
	attachAdministration(r.Store("resource.k8s.io", "resourceclaims"), r.Store("resource.k8s.io", "resourceclaimtemplates"), r.Store("", "namespaces"))
	return r, nil
}

// Load reads from the storage what must be known before the first request: which node ports services have.
func (r *Registry) Load(ctx context.Context) error {
	return r.services.load(ctx, r.Store("", "services"))
}

// HoldAddresses has every stored service hold its cluster addresses. It is called when the informers of AllocateFrom have read the storage, and
// before the first request.
func (r *Registry) HoldAddresses(ctx context.Context) error {
	services := r.services.loaded
	r.services.loaded = nil
	return adoptAddresses(ctx, services, r.services.addresses.book)
}

// Store returns the store of a resource, which must be in the table.
func (r *Registry) Store(group, resource string) *Store {
	store, ok := r.byName[schema.GroupResource{Group: group, Resource: resource}]
	if !ok {
		panic(fmt.Sprintf("resource %s of group %q is not in the table", resource, group))
	}
	return store
}

// Resources names every resource of the table.
func (r *Registry) Resources() []schema.GroupResource {
	names := make([]schema.GroupResource, len(r.stores))
	for i, s := range r.stores {
		names[i] = s.row.GroupResource()
	}
	return names
}

// Sources is every resource as informers read it.
func (r *Registry) Sources() []informer.Source {
	sources := make([]informer.Source, len(r.stores))
	for i, s := range r.stores {
		sources[i] = informer.Source{
			Resource: s.row.GroupVersion.WithResource(s.row.Resource), New: s.row.New, NewList: s.row.NewList,
			Prefix: s.KeyRootFunc(context.Background()), Storage: s.Storage(),
		}
	}
	return sources
}

// Destroy ends what the stores hold. The storage itself stays.
func (r *Registry) Destroy() {
	for _, s := range r.stores {
		s.Destroy()
	}
}

// ServeOptions are what the REST side needs beyond the stores.
type ServeOptions struct {
	// Authenticator knows the tokens that a TokenReview asks about; Audiences are those of this server.
	Authenticator authenticator.Request
	Audiences     authenticator.Audiences
	Authorizer    authorizer.Authorizer
	Rules         authorizer.RuleResolver
	Tokens        *token.Requests
	// KubeletTransport authenticates this server to node agents.
	KubeletTransport http.RoundTripper
	// Health tells of parts of the control plane, by name, what is wrong with them.
	Health map[string]func(context.Context) error
}

// Group is what one API group version serves: resources and subresources by their path.
type Group struct {
	GroupVersion schema.GroupVersion
	Storage      map[string]rest.Storage
}

// Groups returns everything that is served, in the order of the table.
func (r *Registry) Groups(o ServeOptions) []Group {
	var groups []Group
	at := map[schema.GroupVersion]int{}
	group := func(gv schema.GroupVersion) map[string]rest.Storage {
		if _, ok := at[gv]; !ok {
			at[gv] = len(groups)
			groups = append(groups, Group{gv, map[string]rest.Storage{}})
		}
		return groups[at[gv]].Storage
	}
	for _, s := range r.stores {
		resources := group(s.row.GroupVersion)
		resources[s.row.Resource] = s
		if s.row.status {
			resources[s.row.Resource+"/status"] = newStatusREST(s)
		}
		if _, err := scaleOf(s.row.New()); err == nil {
			resources[s.row.Resource+"/scale"] = &scaleREST{s}
		}
	}
	r.addCore(group(schema.GroupVersion{Version: "v1"}), o)
	autoscalers := r.Store("autoscaling", "horizontalpodautoscalers")
	resources := group(autoscalingv1.SchemeGroupVersion)
	resources["horizontalpodautoscalers"], resources["horizontalpodautoscalers/status"] = autoscalers, newStatusREST(autoscalers)
	group(certificatesv1.SchemeGroupVersion)["certificatesigningrequests/approval"] = newApprovalREST(r.Store("certificates.k8s.io", "certificatesigningrequests"))
	group(resourcev1.SchemeGroupVersion)["resourceclaims/status"] = newClaimStatusREST(r.Store("resource.k8s.io", "resourceclaims"), r.Store("", "namespaces"), o.Authorizer)
	group(schedulingv1.SchemeGroupVersion)["priorityclasses"] = priorityClassREST{r.Store("scheduling.k8s.io", "priorityclasses")}
	group(eventsv1.SchemeGroupVersion)["events"] = newEventsREST(r.Store("", "events"))
	authentication, authorization := reviewStorage(o.Authenticator, o.Audiences, o.Authorizer, o.Rules)
	groups = append(groups, Group{authenticationv1.SchemeGroupVersion, authentication}, Group{authorizationv1.SchemeGroupVersion, authorization})
	return groups
}

// addCore replaces and adds what is not like every other row in the core group.
func (r *Registry) addCore(resources map[string]rest.Storage, o ServeOptions) {
	namespaces, pods := r.Store("", "namespaces"), r.Store("", "pods")
	kubelets := &Kubelets{Transport: o.KubeletTransport, nodes: r.Store("", "nodes")}
	binding := &bindingREST{pods}

	resources["namespaces"] = newNamespaceREST(namespaces)
	resources["namespaces/finalize"] = newNamespaceFinalizeREST(namespaces)
	resources["bindings"] = legacyBindingREST{binding}
	resources["componentstatuses"] = newComponentStatusREST(o.Health)
	resources["pods/binding"] = binding
	resources["pods/eviction"] = newEvictionREST(pods, r.Store("policy", "poddisruptionbudgets"))
	resources["pods/log"] = &podLogREST{pods, kubelets}
	resources["pods/exec"] = creating{&podExecREST{pods, kubelets}, o.Authorizer}
	resources["pods/attach"] = creating{&podAttachREST{pods, kubelets}, o.Authorizer}
	resources["pods/portforward"] = creating{&podPortForwardREST{pods, kubelets}, o.Authorizer}
	resources["pods/ephemeralcontainers"] = newPodUpdateREST(pods, core.PreparePodForEphemeralContainersUpdate, core.ValidatePodEphemeralContainersUpdate)
	resources["pods/resize"] = newPodUpdateREST(pods, core.PreparePodForResize, core.ValidatePodResize)
	resources["pods/proxy"] = &proxyREST{newOptions: newPodProxyOptions, locate: podLocator{pods, kubelets.Transport}.locate}
	resources["services/proxy"] = &proxyREST{newOptions: newServiceProxyOptions, locate: r.locateService}
	resources["nodes/proxy"] = &proxyREST{newOptions: newNodeProxyOptions, locate: kubelets.locate}
	resources["serviceaccounts/token"] = &tokenREST{o.Tokens}
}
