// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"math/rand"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

func newConverter(t testing.TB) *TypeConverter {
	t.Helper()
	c, err := NewTypeConverter()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Objects of every kind, filled at random, have the same fields here as by the schema that client-go carries, which was
// made from the documents of Kubernetes' own API server.
func TestTypeConverterAgreesWithClientGo(t *testing.T) {
	ours, theirs := newConverter(t), applyconfigurations.NewTypeConverter(scheme.Scheme)
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), serializer.NewCodecFactory(scheme.Scheme)).NumElements(1, 1)
	tested := 0
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if _, ok := ours.table.Type(gvk); !ok {
			continue
		}
		for range 5 {
			obj := filled(t, fill, gvk)
			want, err := theirs.ObjectToTyped(obj)
			if err != nil {
				continue // invalid at random, such as two items of one key
			}
			got, err := ours.ObjectToTyped(obj)
			if err != nil {
				t.Errorf("%s: %v", gvk, err)
				break
			}
			wantSet, err := want.ToFieldSet()
			if err != nil {
				t.Fatal(err)
			}
			gotSet, err := got.ToFieldSet()
			if err != nil {
				t.Fatal(err)
			}
			if !wantSet.Equals(gotSet) {
				t.Errorf("%s: fields differ\nmissing: %s\nmore: %s", gvk, wantSet.Difference(gotSet), gotSet.Difference(wantSet))
				break
			}
			tested++
		}
	}
	if tested < 100 {
		t.Errorf("only %d objects were compared", tested)
	}
}

// filled is a random object of a kind.
func filled(t *testing.T, fill *randfill.Filler, gvk schema.GroupVersionKind) runtime.Object {
	t.Helper()
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		t.Fatal(err)
	}
	fill.Fill(obj)
	accessor, err := meta.Accessor(obj)
	if err != nil {
		t.Fatal(err)
	}
	// The filler leaves fields in here that no client can send.
	accessor.SetManagedFields(nil)
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj
}

func TestTypeConverterKnowsServedKinds(t *testing.T) {
	c := newConverter(t)
	for _, gvk := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Event"}, {Group: "events.k8s.io", Version: "v1", Kind: "Event"},
		{Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
		{Group: "autoscaling", Version: "v1", Kind: "Scale"}, {Group: "policy", Version: "v1", Kind: "Eviction"},
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"},
	} {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		typed, err := c.ObjectToTyped(u)
		if err != nil {
			t.Errorf("%s: %v", gvk, err)
			continue
		}
		back, err := c.TypedToObject(typed)
		if err != nil || back.GetObjectKind().GroupVersionKind() != gvk {
			t.Errorf("%s: back as %v, %v", gvk, back, err)
		}
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Widget"})
	if _, err := c.ObjectToTyped(u); !runtime.IsNotRegisteredError(err) {
		t.Errorf("a kind of nobody: %v", err)
	}
}

// Two managers apply one Deployment: lists merge by their keys, and a field of another's is a conflict.
func TestApply(t *testing.T) {
	gvk := appsv1.SchemeGroupVersion.WithKind("Deployment")
	manager, err := managedfields.NewDefaultFieldManager(newConverter(t), scheme.Scheme, scheme.Scheme, scheme.Scheme, gvk, gvk.GroupVersion(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(live runtime.Object, by string, containers ...map[string]any) (*appsv1.Deployment, error) {
		list := make([]any, len(containers))
		for i := range containers {
			list[i] = containers[i]
		}
		patch := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "d", "namespace": "ns"},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": list}}},
		}}
		obj, err := manager.Apply(live, patch, by, false)
		if err != nil {
			return nil, err
		}
		return obj.(*appsv1.Deployment), nil
	}
	live := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}}
	one, err := apply(live, "one", map[string]any{"name": "a", "image": "x"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := apply(one, "two", map[string]any{"name": "b", "image": "y"})
	if err != nil {
		t.Fatal(err)
	}
	if got := two.Spec.Template.Spec.Containers; len(got) != 2 {
		t.Fatalf("containers %+v, want a and b", got)
	}
	if _, err := apply(two, "two", map[string]any{"name": "a", "image": "z"}); err == nil {
		t.Error("no conflict over the image of a")
	}
	gone, err := apply(two, "one")
	if err != nil {
		t.Fatal(err)
	}
	if got := gone.Spec.Template.Spec.Containers; len(got) != 1 || got[0].Name != "b" {
		t.Errorf("containers %+v, want b alone, once its manager gave up a", got)
	}
}

func BenchmarkTypeConverterFirstPod(b *testing.B) {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newConverter(b).ObjectToTyped(pod); err != nil {
			b.Fatal(err)
		}
	}
}
