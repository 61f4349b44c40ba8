// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// definitions makes many custom resources, with an object each, while others read the OpenAPI documents, which every one of them changes, and
// then removes them all.
func definitions(t *testing.T, s *suite) {
	n, fields := 25, 30
	if *full {
		n, fields = 800, 3
	}
	client, objects := apiextensions.NewForConfigOrDie(s.admin), dynamic.NewForConfigOrDie(s.admin)
	readers := s.readDocuments(t)
	each(t, n, 8, func(ctx context.Context, i int) error { return define(ctx, client, objects, definition(i, fields)) })
	memory, err := ReadMemory(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with %d definitions: %.0f MiB", n, memory.Now)
	each(t, n, 8, func(ctx context.Context, i int) error {
		return client.ApiextensionsV1().CustomResourceDefinitions().Delete(ctx, definition(i, 0).Name, metav1.DeleteOptions{})
	})
	err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
	if err != nil {
		t.Errorf("wait for the definitions to go: %v", err)
	}
	readers()
}

// each runs f for every number below n, some at once.
func each(t *testing.T, n, atOnce int, f func(ctx context.Context, i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	var failed atomic.Int32
	numbers := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range numbers {
				if err := f(t.Context(), i); err != nil && failed.Add(1) <= 5 { // the others say the same
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
}

// readDocuments has clients read the documents of the API again and again, as those of kubectl do, until it is told to end.
func (s *suite) readDocuments(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	for _, path := range []string{"/openapi/v2", "/openapi/v2", "/openapi/v3", "/apis"} {
		client := s.client(t)
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := read(ctx, client, s.admin.Host+path); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func read(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

// define makes a definition and, once it is served, an object of it.
func define(ctx context.Context, client apiextensions.Interface, objects dynamic.Interface, d *apiextensionsv1.CustomResourceDefinition) error {
	if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	resource := schema.GroupVersionResource{Group: d.Spec.Group, Version: d.Spec.Versions[0].Name, Resource: d.Spec.Names.Plural}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": resource.GroupVersion().String(), "kind": d.Spec.Names.Kind, "metadata": map[string]any{"name": "one"},
		"spec": map[string]any{"field0": map[string]any{"name": "n", "count": int64(1)}},
	}}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := objects.Resource(resource).Namespace("default").Create(ctx, object, metav1.CreateOptions{FieldManager: "hostile"})
		if apierrors.IsNotFound(err) { // it is not served yet
			return false, nil
		}
		return err == nil, err
	})
}

// definition is that of a custom resource of two versions, whose objects have so many fields of some depth.
func definition(i, fields int) *apiextensionsv1.CustomResourceDefinition {
	spec := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	text := apiextensionsv1.JSONSchemaProps{Type: "string", Description: "What it is called, in words that say more than needed, as those of many operators do."}
	for f := range fields {
		spec.Properties[fmt.Sprintf("field%d", f)] = apiextensionsv1.JSONSchemaProps{
			Type: "object", Description: text.Description,
			Properties: map[string]apiextensionsv1.JSONSchemaProps{
				"name": text, "count": {Type: "integer", Default: &apiextensionsv1.JSON{Raw: []byte("1")}},
				"list": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"key": text, "value": text},
				}}},
			},
		}
	}
	whole := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
		Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": {Type: "object"}},
	}}
	version := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: storage, Schema: whole,
			Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}}
	}
	plural, group := fmt.Sprintf("things%d", i), fmt.Sprintf("group%d.hostile.example.com", i%10)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: plural[:len(plural)-1] + "x", Kind: fmt.Sprintf("Thing%d", i)},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v1beta1", false)},
		},
	}
}
