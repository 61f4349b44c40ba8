// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

var (
	mapsResource    = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	widgetsResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
)

// served is the discovery of a server with pods, configmaps, and widgets that cannot be deleted as a collection.
type served struct {
	discovery.ServerResourcesInterface
}

func (served) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	all := metav1.Verbs{"delete", "list", "deletecollection"}
	return []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "configmaps", Verbs: all}, {Name: "pods", Verbs: all}}},
		{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "widgets", Verbs: metav1.Verbs{"delete", "list"}}}},
	}, nil
}

// content is a fake metadata client that deletes whole collections, but for what has finalizers.
func content(t *testing.T, objs ...runtime.Object) *metadatafake.FakeMetadataClient {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	client := metadatafake.NewSimpleMetadataClient(scheme, objs...)
	remove := func(action clienttesting.Action) (bool, runtime.Object, error) {
		names := []string{}
		if one, ok := action.(clienttesting.DeleteAction); ok {
			names = append(names, one.GetName())
		} else {
			list, err := client.Tracker().List(action.GetResource(), schema.GroupVersionKind{Group: "fake-metadata-client-group", Version: "v1"}, action.GetNamespace())
			if err != nil {
				return true, nil, err
			}
			for _, o := range list.(*metav1.List).Items {
				names = append(names, o.Object.(*metav1.PartialObjectMetadata).Name)
			}
		}
		for _, name := range names {
			o, err := client.Tracker().Get(action.GetResource(), action.GetNamespace(), name)
			if err != nil {
				return true, nil, err
			}
			if len(o.(*metav1.PartialObjectMetadata).Finalizers) > 0 {
				continue
			}
			if err := client.Tracker().Delete(action.GetResource(), action.GetNamespace(), name); err != nil {
				return true, nil, err
			}
		}
		return true, nil, nil
	}
	client.PrependReactor("delete-collection", "*", remove)
	client.PrependReactor("delete", "*", remove)
	return client
}

func object(apiVersion, kind, namespace, name string, finalizers ...string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: finalizers},
	}
}

func TestDeletesContentThenItself(t *testing.T) {
	ctx := context.Background()
	deleted := metav1.Now()
	ns := &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &deleted},
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
	meta := content(t,
		object("v1", "Pod", "going", "p", "held"), object("v1", "ConfigMap", "going", "c"), object("v1", "ConfigMap", "staying", "c"),
		object("example.com/v1", "Widget", "going", "w1"), object("example.com/v1", "Widget", "going", "w2"))
	c := testcluster.New(t, ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "going", Name: "p"}})
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, meta, served{}, core.Namespaces(), core.Pods())
	if err != nil {
		t.Fatal(err)
	}
	controller.settle = time.Millisecond
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })

	c.Eventually("pods first", func() error {
		ns, err := c.Client.CoreV1().Namespaces().Get(ctx, "going", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ns.Status.Phase != corev1.NamespaceTerminating || len(ns.Status.Conditions) != 5 || ns.Status.Conditions[3].Reason != "SomeResourcesRemain" {
			return fmt.Errorf("status %+v", ns.Status)
		}
		return nil
	})
	if _, err := meta.Resource(mapsResource).Namespace("going").Get(ctx, "c", metav1.GetOptions{}); err != nil {
		t.Errorf("the ConfigMap must outlive the pods: %v", err)
	}

	// The pod stops: its finalizer is taken and its deletion seen.
	if err := meta.Tracker().Update(podsResource, object("v1", "Pod", "going", "p"), "going"); err != nil {
		t.Fatal(err)
	}
	if err := c.Client.CoreV1().Pods("going").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("finalized", func() error {
		ns, err := c.Client.CoreV1().Namespaces().Get(ctx, "going", metav1.GetOptions{})
		if err == nil && len(ns.Spec.Finalizers) > 0 {
			err = fmt.Errorf("finalizers %v, conditions %v", ns.Spec.Finalizers, ns.Status.Conditions)
		}
		return err
	})
	for resource, name := range map[schema.GroupVersionResource]string{podsResource: "p", mapsResource: "c", widgetsResource: "w2"} {
		if _, err := meta.Resource(resource).Namespace("going").Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s is left: %v", resource.Resource, err)
		}
	}
	if _, err := meta.Resource(mapsResource).Namespace("staying").Get(ctx, "c", metav1.GetOptions{}); err != nil {
		t.Errorf("another namespace lost its content: %v", err)
	}
}

func TestFailureShowsAndIsTriedAgain(t *testing.T) {
	deleted := metav1.Now()
	ns := &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &deleted},
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes, "other"}},
	}
	meta := content(t, object("v1", "ConfigMap", "going", "c"))
	failures := make(chan struct{}, 3)
	meta.PrependReactor("delete-collection", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case failures <- struct{}{}:
			return true, nil, errors.New("storage is down")
		default:
			return false, nil, nil
		}
	})
	c := testcluster.New(t, ns)
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, meta, served{}, core.Namespaces(), core.Pods())
	if err != nil {
		t.Fatal(err)
	}
	controller.settle = time.Millisecond
	var seen atomic.Bool
	c.Client.PrependReactor("update", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		for _, cond := range action.(clienttesting.UpdateAction).GetObject().(*corev1.Namespace).Status.Conditions {
			if cond.Reason == "ContentDeletionFailed" && cond.Message == "Failed to delete all resource types, 1 remaining: storage is down" {
				seen.Store(true)
			}
		}
		return false, nil, nil
	})
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	c.Eventually("finalized", func() error {
		ns, err := c.Client.CoreV1().Namespaces().Get(context.Background(), "going", metav1.GetOptions{})
		if err == nil && (len(ns.Spec.Finalizers) != 1 || ns.Spec.Finalizers[0] != "other" || !seen.Load()) {
			err = fmt.Errorf("finalizers %v, failure seen %v", ns.Spec.Finalizers, seen.Load())
		}
		return err
	})
}
