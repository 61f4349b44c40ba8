// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// TestAnswers holds forms of answers that clients of kube-apiserver know.
func TestAnswers(t *testing.T) {
	c := newCluster(t)
	raw := dynamic.NewForConfigOrDie(c.config)
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	classes := schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}

	t.Run("items of a list do not repeat their kind", func(t *testing.T) {
		list, err := c.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/kube-system/configmaps").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var tree unstructured.Unstructured
		if err := tree.UnmarshalJSON(list); err != nil {
			t.Fatal(err)
		}
		items, _, err := unstructured.NestedSlice(tree.Object, "items")
		if err != nil || len(items) == 0 || tree.GetKind() != "ConfigMapList" {
			t.Fatalf("%d items of a %s, %v", len(items), tree.GetKind(), err)
		}
		for _, item := range items {
			if item := item.(map[string]any); item["kind"] != nil || item["apiVersion"] != nil {
				t.Errorf("an item says %v %v", item["apiVersion"], item["kind"])
			}
		}
	})
	t.Run("some kinds answer a delete with the object", func(t *testing.T) {
		for resource, object := range map[schema.GroupVersionResource]string{
			maps: "Status", classes: "StorageClass",
		} {
			o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "gone"}}}
			path := "/api/v1/namespaces/default/configmaps/gone"
			var err error
			if resource == classes {
				o.SetAPIVersion("storage.k8s.io/v1")
				o.SetKind("StorageClass")
				o.Object["provisioner"] = "example.com/none"
				path = "/apis/storage.k8s.io/v1/storageclasses/gone"
				_, err = raw.Resource(resource).Create(t.Context(), o, metav1.CreateOptions{})
			} else {
				_, err = c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "gone"}}, metav1.CreateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			answer, err := c.CoreV1().RESTClient().Delete().AbsPath(path).DoRaw(t.Context())
			var tree unstructured.Unstructured
			if err != nil || tree.UnmarshalJSON(answer) != nil || tree.GetKind() != object {
				t.Errorf("%s: %s, %v", resource.Resource, answer, err)
			}
		}
	})
	t.Run("only the legacy group tells addresses", func(t *testing.T) {
		for path, want := range map[string]bool{"/api": true, "/apis": false, "/apis/apps": false} {
			answer, err := c.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
			if err != nil || bytes.Contains(answer, []byte("serverAddressByClientCIDRs")) != want {
				t.Errorf("%s: %s, %v", path, answer, err)
			}
		}
	})
	t.Run("a patch that takes apiVersion away leaves nothing", func(t *testing.T) {
		_, err := c.CoreV1().Namespaces().Patch(t.Context(), "default", types.MergePatchType, []byte(`{"apiVersion":null}`), metav1.PatchOptions{})
		if want := "the name of the object (default based on URL) was undeterminable: name must be provided"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("discovery tells the storage version", func(t *testing.T) {
		for groupVersion, want := range map[string]map[string]string{
			// A hash of group, version and kind: the same on every server that stores these.
			"v1": {"pods": "xPOwRZ+Yhw8=", "configmaps": "qFsyl6wFWjQ="}, "apps/v1": {"deployments": "8aSe+NMegvE="}, "events.k8s.io/v1": {"events": "r2yiGXH7wu8="},
			"apiextensions.k8s.io/v1": {"customresourcedefinitions": "M5uH+AlWATY="},
		} {
			list, err := c.Discovery().ServerResourcesForGroupVersion(groupVersion)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list.APIResources {
				if hash, ok := want[r.Name]; ok && r.StorageVersionHash != hash {
					t.Errorf("%s %s: %q, want %q", groupVersion, r.Name, r.StorageVersionHash, hash)
				}
			}
		}
	})
}
