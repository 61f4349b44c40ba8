// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// newConverter is a hook that converts lamps, whose power is spec.watts in v1 and spec.power, with a unit, in v2. What the lamp is called can
// make it answer wrongly.
func newConverter(t *testing.T, c *cluster, address string) *hook {
	return newHook(t, c, address, func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("not a review: %v", err), http.StatusBadRequest)
			return
		}
		response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			lamp := &unstructured.Unstructured{}
			if err := lamp.UnmarshalJSON(raw.Raw); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			switch lamp.GetName() {
			case "refused":
				response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "the bulb is broken"}
			case "lost":
				continue
			case "renamed":
				lamp.SetName("other")
			}
			convertLamp(lamp, review.Request.DesiredAPIVersion)
			response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: lamp})
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review) // fails only when the client has gone
	})
}

func convertLamp(lamp *unstructured.Unstructured, version string) {
	spec := lamp.Object["spec"].(map[string]any)
	if version == "example.com/v2" {
		spec["power"] = fmt.Sprintf("%v W", spec["watts"])
		delete(spec, "watts")
	} else {
		watts, _ := strconv.ParseInt(strings.TrimSuffix(spec["power"].(string), " W"), 10, 64)
		spec["watts"] = watts
		delete(spec, "power")
	}
	lamp.SetAPIVersion(version)
}

// lampDefinition has v1 stored and v2 served, with a webhook between them.
func lampDefinition(client *apiextensionsv1.WebhookClientConfig) *apiextensionsv1.CustomResourceDefinition {
	version := func(name string, stored bool, field string, kind string) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: stored, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
				"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{field: {Type: kind}}}}}},
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "lamps.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:      apiextensionsv1.CustomResourceDefinitionNames{Plural: "lamps", Singular: "lamp", Kind: "Lamp", ListKind: "LampList"},
			Versions:   []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true, "watts", "integer"), version("v2", false, "power", "string")},
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{ClientConfig: client, ConversionReviewVersions: []string{"v1"}}},
		},
	}
}

// Custom resources are read and written in every version that is served, by a webhook that converts them.
func TestConversionWebhook(t *testing.T) {
	c := newCluster(t)
	h := newConverter(t, c, "127.0.0.1")
	definitions := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := definitions.Create(t.Context(), lampDefinition(&apiextensionsv1.WebhookClientConfig{URL: &h.URL, CABundle: h.ca}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client := dynamic.NewForConfigOrDie(c.config)
	v1 := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "lamps"}).Namespace("default")
	v2 := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "lamps"}).Namespace("default")
	lamp := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v2", "kind": "Lamp", "metadata": map[string]any{"name": name}, "spec": map[string]any{"power": "60 W"}}}
	}
	eventually(t, "the custom resource to be served", func() (bool, error) {
		_, err := v2.Create(t.Context(), lamp("desk"), metav1.CreateOptions{})
		return err == nil, err
	})
	old, err := v1.Get(t.Context(), "desk", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if watts, _, _ := unstructured.NestedInt64(old.Object, "spec", "watts"); watts != 60 {
		t.Errorf("in v1: %v", old.Object)
	}
	list, err := v2.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Object["spec"].(map[string]any)["power"] != "60 W" {
		t.Errorf("list in v2: %v, %v", list, err)
	}

	stopped := newConverter(t, c, "127.0.0.1")
	stopped.Close()
	const conversion = "500  conversion webhook for example.com/v2, Kind=Lamp "
	for name, want := range map[string]string{
		"refused": conversion + "failed: the bulb is broken",
		"lost":    conversion + "returned 0 objects, expected 1",
		"renamed": conversion + "returned invalid object: must have the same name: renamed != other",
	} {
		_, err := v2.Create(t.Context(), lamp(name), metav1.CreateOptions{})
		if got := status(err); got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
	}
	definition, err := definitions.Get(t.Context(), "lamps.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	definition.Spec.Conversion.Webhook.ClientConfig.URL = &stopped.URL
	if _, err := definitions.Update(t.Context(), definition, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the webhook to be gone", func() (bool, error) {
		_, err := v2.Get(t.Context(), "desk", metav1.GetOptions{})
		got := status(err)
		return strings.HasPrefix(got, `500  conversion webhook for example.com/v1, Kind=Lamp failed: Post "`+stopped.URL+`/?timeout=30s": dial tcp `) && strings.HasSuffix(got, "connect: connection refused"), err
	})
	if _, err := v1.Get(t.Context(), "desk", metav1.GetOptions{}); err != nil {
		t.Errorf("the version that is stored needs no webhook: %v", err)
	}
}

// A conversion webhook can be a service, as those of admission can.
func TestConversionWebhookByService(t *testing.T) {
	c := newCluster(t)
	h := newConverter(t, c, ownAddress(t))
	service := c.storeService(t)
	c.storeEndpoint(t, h)
	path := "/convert"
	client := &apiextensionsv1.WebhookClientConfig{CABundle: h.ca, Service: &apiextensionsv1.ServiceReference{Namespace: service.Namespace, Name: service.Name, Path: &path, Port: &service.Spec.Ports[0].Port}}
	if _, err := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), lampDefinition(client), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lamps := dynamic.NewForConfigOrDie(c.config).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "lamps"}).Namespace("default")
	lamp := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v2", "kind": "Lamp", "metadata": map[string]any{"name": "desk"}, "spec": map[string]any{"power": "60 W"}}}
	eventually(t, "the custom resource to be served", func() (bool, error) {
		made, err := lamps.Create(t.Context(), lamp, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && made.Object["spec"].(map[string]any)["power"] == "60 W", err
	})
}
