// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"sort"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/version"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/hivemind-project/hivemind/pkg/registry"
)

// installGroup adds the routes of one group version and tells aggregated discovery.
func installGroup(server *genericapiserver.GenericAPIServer, config *genericapiserver.Config, c Config, g registry.Group) error {
	scheme := c.Registry.Scheme
	prefix := genericapiserver.APIGroupPrefix
	manager := server.AggregatedDiscoveryGroupManager
	if g.GroupVersion.Group == "" {
		prefix = genericapiserver.DefaultLegacyAPIPrefix
		manager = server.AggregatedLegacyDiscoveryGroupManager
	}
	v1 := schema.GroupVersion{Version: "v1"}
	served := map[string][]string{}
	for name := range g.Storage {
		served[name] = []string{g.GroupVersion.String()}
	}
	api := &genericapi.APIGroupVersion{
		Storage: g.Storage, Root: prefix, GroupVersion: g.GroupVersion, AllServedVersionsByResource: served,
		OptionsExternalVersion: &v1,
		Serializer:             negotiated(c.Registry), ParameterCodec: c.Registry.ParameterCodec,
		Typer: scheme, Creater: registry.Creater{ObjectCreater: scheme}, Convertor: scheme, ConvertabilityChecker: scheme, Defaulter: scheme,
		UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme), Namer: runtime.Namer(meta.NewAccessor()),
		TypeConverter:              c.TypeConverter,
		EquivalentResourceRegistry: server.EquivalentResourceRegistry,
		Authorizer:                 config.Authorization.Authorizer, Admit: config.AdmissionControl,
		MinRequestTimeout: time.Duration(config.MinRequestTimeout) * time.Second, MaxRequestBodyBytes: config.MaxRequestBodyBytes,
	}
	resources, _, err := api.InstallREST(server.Handler.GoRestfulContainer)
	if err != nil {
		return err
	}
	manager.AddGroupVersion(g.GroupVersion.Group, apidiscoveryv2.APIVersionDiscovery{
		Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Version: g.GroupVersion.Version, Resources: resources,
	})
	return nil
}

// negotiated is every encoding that clients may ask for.
func negotiated(r *registry.Registry) runtime.NegotiatedSerializer {
	options := []serializer.CodecFactoryOptionsMutator{serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf()}
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CBORServingAndStorage) {
		options = append(options, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	return lightWatches{patchedSerializer{serializer.NewCodecFactory(r.Scheme, options...)}}
}

// publishGroup adds the unaggregated discovery documents of a group, newest version first.
func publishGroup(server *genericapiserver.GenericAPIServer, config *genericapiserver.Config, name string, versions []schema.GroupVersion) {
	if name == "" {
		addresses := discovery.DefaultAddresses{DefaultAddress: config.ExternalAddress}
		root := discovery.NewLegacyRootAPIHandler(addresses, server.Serializer, genericapiserver.DefaultLegacyAPIPrefix)
		manager := server.AggregatedLegacyDiscoveryGroupManager
		server.Handler.GoRestfulContainer.Add(discoveryendpoint.WrapAggregatedDiscoveryToHandler(root, manager, manager).
			GenerateWebService("/api", metav1.APIVersions{}))
		return
	}
	sort.Slice(versions, func(i, j int) bool {
		return version.CompareKubeAwareVersionStrings(versions[i].Version, versions[j].Version) > 0
	})
	var labels []string
	for _, v := range versions {
		labels = append(labels, v.Version)
	}
	group := apiGroup(name, labels...)
	server.Handler.GoRestfulContainer.Add(discovery.NewAPIGroupHandler(server.Serializer, group).WebService())
}

// apiGroup describes a group by its versions, of which the first is preferred.
func apiGroup(name string, versions ...string) metav1.APIGroup {
	group := metav1.APIGroup{Name: name}
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: schema.GroupVersion{Group: name, Version: v}.String(), Version: v})
	}
	group.PreferredVersion = group.Versions[0]
	return group
}
