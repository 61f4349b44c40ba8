// SPDX-License-Identifier: Apache-2.0

//go:build openapi

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/hivemind-project/hivemind/build/openapi/definitions"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
)

// documents builds an API server of stand-ins for the served resources, and returns what it answers by path.
func documents(k *kinds) (map[string][]byte, error) {
	all, err := parseServed(servedText)
	if err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(k.scheme, schema.GroupVersion{Version: "v1"})
	server, err := newServer(k.scheme)
	if err != nil {
		return nil, err
	}
	for _, group := range groups(all) {
		info, err := apiGroup(k.scheme, all, group)
		if err != nil {
			return nil, err
		}
		if group == "" {
			err = server.InstallLegacyAPIGroup("/api", info)
		} else {
			err = server.InstallAPIGroup(info)
		}
		if err != nil {
			return nil, fmt.Errorf("install group %q: %w", group, err)
		}
	}
	server.PrepareRun()

	return fetch(server.Handler)
}

func newServer(scheme *runtime.Scheme) (*genericapiserver.GenericAPIServer, error) {
	config := genericapiserver.NewConfig(serializer.NewCodecFactory(scheme))
	config.ExternalAddress = "127.0.0.1:443"
	config.LoopbackClientConfig = &clientrest.Config{}
	config.EffectiveVersion = compatibility.NewEffectiveVersionFromString("1.37", "", "")
	namer := openapinamer.NewDefinitionNamer(scheme)
	info := spec.InfoProps{Title: "Kubernetes", Version: "v1.37.0"}
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions.GetOpenAPIDefinitions, namer)
	config.OpenAPIConfig.Info.InfoProps = info
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config.Info.InfoProps = info
	bearer := spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication"}}
	config.OpenAPIConfig.SecurityDefinitions = &spec.SecurityDefinitions{"BearerToken": &bearer}
	config.OpenAPIConfig.DefaultSecurity = []map[string][]string{{"BearerToken": {}}}
	const unauthorized = "Unauthorized"
	config.OpenAPIConfig.CommonResponses = map[int]spec.Response{401: {ResponseProps: spec.ResponseProps{Description: unauthorized}}}
	config.OpenAPIV3Config.CommonResponses = map[int]*spec3.Response{401: {ResponseProps: spec3.ResponseProps{Description: unauthorized}}}
	server, err := config.Complete(nil).New("openapi", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("make a server to describe: %w", err)
	}
	return server, nil
}

func groups(all []served) []string {
	var names []string
	for _, s := range all {
		if !slices.Contains(names, s.gv.Group) {
			names = append(names, s.gv.Group)
		}
	}
	return names
}

func apiGroup(scheme *runtime.Scheme, all []served, group string) (*genericapiserver.APIGroupInfo, error) {
	info := genericapiserver.NewDefaultAPIGroupInfo(group, scheme, runtime.NewParameterCodec(scheme), serializer.NewCodecFactory(scheme))
	info.PrioritizedVersions = nil
	for _, s := range all {
		if s.gv.Group != group {
			continue
		}
		if info.VersionedResourcesStorageMap[s.gv.Version] == nil {
			info.VersionedResourcesStorageMap[s.gv.Version] = map[string]rest.Storage{}
			info.PrioritizedVersions = append(info.PrioritizedVersions, s.gv)
		}
		storage, err := s.storage(scheme)
		if err != nil {
			return nil, fmt.Errorf("resource %s of %s: %w", s.path, s.gv, err)
		}
		info.VersionedResourcesStorageMap[s.gv.Version][s.path] = storage
	}
	return &info, nil
}

// fetch asks for all documents: of version 2 in JSON and protobuf, of version 3 one a group and version.
func fetch(handler http.Handler) (map[string][]byte, error) {
	get := func(path, accept string) ([]byte, error) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %d %s", path, w.Code, strings.TrimSpace(w.Body.String()))
		}
		return w.Body.Bytes(), nil
	}
	docs := map[string][]byte{}
	var err error
	if docs[openapi.V2JSON], err = get("/openapi/v2", "application/json"); err != nil {
		return nil, err
	}
	if docs[openapi.V2Protobuf], err = get("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"); err != nil {
		return nil, err
	}
	index, err := get("/openapi/v3", "application/json")
	if err != nil {
		return nil, err
	}
	var v3 handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(index, &v3); err != nil {
		return nil, fmt.Errorf("read /openapi/v3: %w", err)
	}
	for path, at := range v3.Paths {
		if docs[openapi.V3Prefix+path], err = get(at.ServerRelativeURL, "application/json"); err != nil {
			return nil, err
		}
	}
	return docs, nil
}
