// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	openapidefinitions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/hivemind-project/hivemind/pkg/apiserver/customresources"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
)

// newCustomResources returns the server of CustomResourceDefinitions and of what they define; requests that the table does not
// know go there.
func newCustomResources(main *genericapiserver.Config, c Config) (*apiextensions.CustomResourceDefinitions, genericapiserver.DelegationTarget, error) {
	own := *main
	own.Serializer = apiextensions.Codecs
	own.BuildHandlerChainFunc = unprotected
	own.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	own.RESTOptionsGetter = definitionOptions{c.CustomResources(apiextensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion))}
	own.EquivalentResourceRegistry = nil
	own.AdmissionControl = customresources.FewErrors(main.AdmissionControl)
	own.MergedResourceConfig = apiextensions.DefaultAPIResourceConfigSource()
	own.LoopbackClientConfig = c.Loopback.JSONConfig(privileged)
	own.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapidefinitions.GetOpenAPIDefinitions, apiopenapi.NewDefinitionNamer(apiextensions.Scheme))
	objects := c.CustomResources(runtime.NewCodec(unstructured.UnstructuredJSONScheme, unstructured.UnstructuredJSONScheme))
	conversions := boundConversions(c.Webhooks.Authentication)
	config := apiextensions.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: own},
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: objects,
			MasterCount:          1,
			ServiceResolver:      c.Webhooks.Services,
			AuthResolverWrapper:  conversions,
		},
	}
	server, err := config.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(http.NotFoundHandler()))
	if err != nil {
		return nil, nil, fmt.Errorf("build the server of custom resources: %w", err)
	}
	definitions := server.Informers.Apiextensions().V1().CustomResourceDefinitions()
	if err := definitions.Informer().SetTransform(establishedForLong); err != nil {
		return nil, nil, fmt.Errorf("build the server of custom resources: %w", err)
	}
	served, err := customresources.New(customresources.Config{
		Definitions: definitions, RESTOptions: objects, Admission: main.AdmissionControl, Authorizer: server.GenericAPIServer.Authorizer,
		Services: c.Webhooks.Services, Authentication: conversions,
		Models: sync.OnceValues(func() (map[string]*spec.Schema, error) {
			return builder3.BuildOpenAPIDefinitionsForResources(own.OpenAPIV3Config, util.GetCanonicalTypeName(&apiextensionsv1.CustomResourceDefinition{}))
		}),
		RequestTimeout: own.RequestTimeout, MinRequestTimeout: time.Duration(own.MinRequestTimeout) * time.Second, MaxRequestBodyBytes: own.MaxRequestBodyBytes, AtEnd: atEnd,
		Next: server.GenericAPIServer.UnprotectedHandler(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("build the server of custom resources: %w", err)
	}
	server.GenericAPIServer.RegisterDestroyFunc(served.Stop)
	return server, objectsFirst{server.GenericAPIServer, served}, nil
}

// objectsFirst is the server of definitions as another server's next, which has objects of custom resources served in its stead.
type objectsFirst struct {
	genericapiserver.DelegationTarget
	objects http.Handler
}

// UnprotectedHandler implements genericapiserver.DelegationTarget.
func (t objectsFirst) UnprotectedHandler() http.Handler { return t.objects }

// definitionOptions says which version definitions are stored in, from which discovery makes its hash.
type definitionOptions struct{ generic.RESTOptionsGetter }

func (o definitionOptions) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := o.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err == nil {
		options.StorageConfig.EncodeVersioner = apiextensionsv1.SchemeGroupVersion
	}
	return options, err
}

// peersCatchUp is how long the server of custom resources holds back the creation of objects after their definition was
// established.
const peersCatchUp = 2 * time.Second

// establishedForLong makes definitions appear to have been established for long. Their server keeps a client's first create waiting
// until every other server must have seen the definition; this one has no others, and has seen it itself.
func establishedForLong(object any) (any, error) {
	if crd, ok := object.(*apiextensionsv1.CustomResourceDefinition); ok {
		if c := apiextensionshelpers.FindCRDCondition(crd, apiextensionsv1.Established); c != nil && time.Since(c.LastTransitionTime.Time) < peersCatchUp {
			c.LastTransitionTime = metav1.NewTime(c.LastTransitionTime.Add(-peersCatchUp))
		}
	}
	return object, nil
}

// definitionsOf lists the definitions that server has, for whoever describes them.
func definitionsOf(server *apiextensions.CustomResourceDefinitions) openapi.Definitions {
	lister := server.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
	return func() ([]*apiextensionsv1.CustomResourceDefinition, error) { return lister.List(labels.Everything()) }
}

// Defines tells whether resource is a custom resource that is served.
func (s *Server) Defines(resource schema.GroupVersionResource) bool {
	d, err := s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().Get(resource.GroupResource().String())
	return err == nil && apiextensionshelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) && apiextensionshelpers.HasServedCRDVersion(d, resource.Version)
}
