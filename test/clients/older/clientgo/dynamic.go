// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// dynamicObjects defines a kind and uses it with clients that learn of kinds at run time: dynamic client and informer, a mapper that has to
// notice the new kind, the scale client, and the client that reads metadata alone.
func dynamicObjects(ctx context.Context, e *env) (err error) {
	client, err := dynamic.NewForConfig(e.config)
	if err != nil {
		return err
	}
	group := e.namespace + ".example.org"
	gvk := schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Gadget"}
	cached := memory.NewMemCacheClient(e.client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	if _, err := mapper.RESTMapping(gvk.GroupKind(), "v1"); !meta.IsNoMatchError(err) {
		return fmt.Errorf("a kind that is not defined has a mapping: %v", err)
	}
	definition := definition(group)
	if _, err := client.Resource(definitions).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, client.Resource(definitions).Delete(context.WithoutCancel(ctx), definition.GetName(), metav1.DeleteOptions{}))
	}()
	var mapping *meta.RESTMapping
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		mapper.Reset()
		mapping, err = mapper.RESTMapping(gvk.GroupKind(), "v1")
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the kind does not appear in discovery: %w", err)
	}
	gadgets := client.Resource(mapping.Resource).Namespace(e.namespace)

	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, e.namespace, nil)
	happened := make(chan string, 100)
	if _, err := factory.ForResource(mapping.Resource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { happened <- "added " + name(obj) },
		DeleteFunc: func(obj any) { happened <- "deleted " + name(obj) },
	}); err != nil {
		return err
	}
	informing, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		factory.Shutdown()
	}()
	factory.Start(informing.Done())
	factory.WaitForCacheSync(informing.Done())

	return all(
		func() error { return dynamicLife(ctx, gadgets, gvk.GroupVersion().String(), gvk.Kind, "gadget", true) },
		func() error { return await(ctx, happened, "added gadget") },
		func() error { return await(ctx, happened, "deleted gadget") },
		func() error { return scaled(ctx, e, mapper, gadgets, gvk) },
		func() error { return metadataAlone(ctx, e, mapping.Resource) },
	)
}

// dynamicLife is an object's life without a type, seen by a watch. Objects have data, a map of words.
//
// applies is false where client-go cannot apply: when it is told to prefer CBOR, and the server has none, it does not fall back for that.
func dynamicLife(ctx context.Context, objects dynamic.ResourceInterface, apiVersion, kind, name string, applies bool) error {
	w, err := objects.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return err
	}
	defer w.Stop()
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name},
		"data": map[string]any{"a": "b"}}}
	if object, err = objects.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	stale := object.DeepCopy()
	object.SetAnnotations(map[string]string{"note": "changed"})
	if _, err = objects.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if _, err := objects.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an update of an old version: %v, want a conflict", err)
	}
	if _, err = objects.Patch(ctx, name, types.JSONPatchType, []byte(`[{"op":"add","path":"/data/c","value":"d"}]`), metav1.PatchOptions{}); err != nil {
		return err
	}
	applied := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name},
		"data": map[string]any{"e": "f"}}}
	if applies {
		_, err = objects.Apply(ctx, name, applied, metav1.ApplyOptions{FieldManager: "clientgo"})
	} else {
		_, err = objects.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"e":"f"}}`), metav1.PatchOptions{})
	}
	if err != nil {
		return err
	}
	if object, err = objects.Get(ctx, name, metav1.GetOptions{}); err != nil {
		return err
	}
	data, _, err := unstructured.NestedStringMap(object.Object, "data")
	if err := errors.Join(err, expect("data", fmt.Sprint(data), "map[a:b c:d e:f]")); err != nil {
		return err
	}
	if err := objects.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != string(watch.Deleted) {
		event, err := next(ctx, w.ResultChan(), "what follows "+strings.Join(seen, " "))
		if err != nil {
			return err
		}
		seen = append(seen, string(event.Type))
	}
	return expect("events", strings.Join(seen, " "), "ADDED MODIFIED MODIFIED MODIFIED DELETED")
}

// scaled changes the size of an object by the subresource that is the same for every kind.
func scaled(ctx context.Context, e *env, mapper meta.ResettableRESTMapper, gadgets dynamic.ResourceInterface, gvk schema.GroupVersionKind) error {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind,
		"metadata": map[string]any{"name": "sized"}, "spec": map[string]any{"size": int64(2)}}}
	if _, err := gadgets.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	scales, err := scale.NewForConfig(e.config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(e.client.Discovery()))
	if err != nil {
		return err
	}
	resource := schema.GroupResource{Group: gvk.Group, Resource: "gadgets"}
	size, err := scales.Scales(e.namespace).Get(ctx, resource, "sized", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := expect("size", size.Spec.Replicas, 2); err != nil {
		return err
	}
	size.Spec.Replicas = 5
	if _, err := scales.Scales(e.namespace).Update(ctx, resource, size, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if object, err = gadgets.Get(ctx, "sized", metav1.GetOptions{}); err != nil {
		return err
	}
	n, _, err := unstructured.NestedInt64(object.Object, "spec", "size")
	return errors.Join(err, expect("size after scaling", n, 5))
}

// metadataAlone lists and watches without what objects hold.
func metadataAlone(ctx context.Context, e *env, resource schema.GroupVersionResource) error {
	client, err := metadata.NewForConfig(e.config)
	if err != nil {
		return err
	}
	list, err := client.Resource(resource).Namespace(e.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if err := errors.Join(expect("listed", len(list.Items), 1), expect("name", list.Items[0].Name, "sized")); err != nil {
		return err
	}
	w, err := client.Resource(resource).Namespace(e.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := client.Resource(resource).Namespace(e.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	event, err := next(ctx, w.ResultChan(), "the end of sized")
	if err != nil {
		return err
	}
	object, ok := event.Object.(*metav1.PartialObjectMetadata)
	if !ok || event.Type != watch.Deleted || object.Name != "sized" {
		return fmt.Errorf("the watch sent %s %v", event.Type, event.Object)
	}
	return nil
}

func definition(group string) *unstructured.Unstructured {
	text := func(s string) map[string]any { return map[string]any{"type": s} }
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "gadgets." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"subresources": map[string]any{"scale": map[string]any{"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"data":   map[string]any{"type": "object", "additionalProperties": text("string")},
					"spec":   map[string]any{"type": "object", "properties": map[string]any{"size": text("integer")}},
					"status": map[string]any{"type": "object", "properties": map[string]any{"size": text("integer")}},
				}}},
			}},
		},
	}}
}

// discoverAll reads what is served in each of the forms that clients know.
func discoverAll(_ context.Context, e *env) error {
	client := e.client.Discovery()
	version, err := client.ServerVersion()
	if err != nil {
		return err
	}
	aggregatedGroups, aggregated, err := client.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	old, err := discovery.NewDiscoveryClientForConfig(e.config)
	if err != nil {
		return err
	}
	old.UseLegacyDiscovery = true
	legacyGroups, legacy, err := old.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	preferred, err := client.ServerPreferredNamespacedResources()
	if err != nil {
		return err
	}
	documents, err := client.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	for _, path := range []string{"api/v1", "apis/apps/v1"} {
		if documents[path] == nil {
			return fmt.Errorf("there is no OpenAPI v3 document of %s", path)
		}
		if _, err := documents[path].Schema("application/com.github.proto-openapi.spec.v3@v1.0+protobuf"); err != nil {
			return fmt.Errorf("OpenAPI v3 of %s: %w", path, err)
		}
	}
	swagger, err := client.OpenAPISchema()
	if err != nil {
		return err
	}
	return errors.Join(
		expect("major version", version.Major, "1"),
		expect("groups of aggregated and legacy discovery", len(aggregatedGroups), len(legacyGroups)),
		sameLines(resources(aggregated), resources(legacy)),
		expect("Deployments are preferred in apps/v1", slices.ContainsFunc(resources(preferred), isOf("apps/v1/deployments ")), true),
		expect("Nodes are namespaced", slices.ContainsFunc(resources(preferred), isOf("v1/nodes ")), false),
		expect("OpenAPI v2 has definitions", len(swagger.GetDefinitions().GetAdditionalProperties()) > 100, true),
	)
}

// resources has a line for everything in lists.
func resources(lists []*metav1.APIResourceList) []string {
	var lines []string
	for _, list := range lists {
		for _, r := range list.APIResources {
			lines = append(lines, fmt.Sprintf("%s/%s %s %v %v %v %v", list.GroupVersion, r.Name, r.Kind, r.Namespaced, r.ShortNames, r.Verbs, r.Categories))
		}
	}
	return lines
}

func isOf(prefix string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(line, prefix) }
}

// sameLines is an error that names those that are in one list alone.
func sameLines(aggregated, legacy []string) error {
	var errs []error
	for in, lists := range map[string][2][]string{"aggregated": {aggregated, legacy}, "legacy": {legacy, aggregated}} {
		for _, line := range lists[0] {
			if !slices.Contains(lists[1], line) {
				errs = append(errs, fmt.Errorf("only %s discovery has %s", in, line))
			}
		}
	}
	return errors.Join(errs...)
}
