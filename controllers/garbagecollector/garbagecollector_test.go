// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"errors"
	"slices"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestCollect(t *testing.T) {
	background, foreground, orphan := metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan
	for _, tc := range []struct {
		name    string
		objects []*metav1.PartialObjectMetadata
		remove  string
		policy  metav1.DeletionPropagation
		want    string
	}{
		{name: "an owner that never was", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/kept"), object("ConfigMap/a/child", "ConfigMap/a/ghost"),
		}, want: "ConfigMap/a/kept"},
		{name: "an owner of that name but another UID", objects: []*metav1.PartialObjectMetadata{
			func() *metav1.PartialObjectMetadata { o := object("ConfigMap/a/owner"); o.UID = "other"; return o }(), object("ConfigMap/a/child", "ConfigMap/a/owner"),
		}, want: "ConfigMap/a/owner"},
		{name: "background, through generations", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/root"), object("ConfigMap/a/child", "!ConfigMap/a/root"), object("ConfigMap/a/grandchild", "ConfigMap/a/child"), object("ConfigMap/a/other"),
		}, remove: "ConfigMap/a/root", policy: background, want: "ConfigMap/a/other"},
		{name: "a second owner keeps it", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/x"), object("ConfigMap/a/y"), object("ConfigMap/a/child", "ConfigMap/a/x", "ConfigMap/a/y"),
		}, remove: "ConfigMap/a/x", policy: background, want: "ConfigMap/a/child<-y ConfigMap/a/y"},
		{name: "foreground, through generations", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/root"), object("ConfigMap/a/child", "!ConfigMap/a/root"), object("ConfigMap/a/grandchild", "!ConfigMap/a/child"),
		}, remove: "ConfigMap/a/root", policy: foreground, want: ""},
		{name: "foreground, nothing blocks", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/root"), object("ConfigMap/a/child", "ConfigMap/a/root"),
		}, remove: "ConfigMap/a/root", policy: foreground, want: ""},
		{name: "foreground, a second owner keeps the dependent and the first goes", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/x"), object("ConfigMap/a/y"), object("ConfigMap/a/child", "!ConfigMap/a/x", "!ConfigMap/a/y"),
		}, remove: "ConfigMap/a/x", policy: foreground, want: "ConfigMap/a/child<-y ConfigMap/a/y"},
		{name: "foreground in a circle", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/x", "!ConfigMap/a/z"), object("ConfigMap/a/y", "!ConfigMap/a/x"), object("ConfigMap/a/z", "!ConfigMap/a/y"),
		}, remove: "ConfigMap/a/x", policy: foreground, want: ""},
		{name: "background in a circle", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/x", "ConfigMap/a/y"), object("ConfigMap/a/y", "ConfigMap/a/x"),
		}, remove: "ConfigMap/a/x", policy: background, want: ""},
		{name: "orphan", objects: []*metav1.PartialObjectMetadata{
			object("ConfigMap/a/root"), object("ConfigMap/a/child", "!ConfigMap/a/root", "ConfigMap/a/other"), object("ConfigMap/a/other"),
		}, remove: "ConfigMap/a/root", policy: orphan, want: "ConfigMap/a/child<-other ConfigMap/a/other"},
		{name: "a cluster-scoped owner of objects in namespaces", objects: []*metav1.PartialObjectMetadata{
			object("Node//n1"), object("ConfigMap/a/child", "Node//n1"), object("ConfigMap/b/child", "Node//n1"),
		}, remove: "Node//n1", policy: background, want: ""},
		{name: "a namespaced owner of a cluster-scoped object is left alone", objects: []*metav1.PartialObjectMetadata{
			object("Node//n1", "ConfigMap/a/ghost"), object("ConfigMap/a/child", "ConfigMap/a/ghost"),
		}, want: "Node//n1<-ghost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tc.objects...)
			if tc.remove != "" {
				s.remove(tc.remove, tc.policy)
			}
			s.left(tc.name, tc.want)
		})
	}
}

func TestOwnerInAnotherNamespace(t *testing.T) {
	s := start(t, object("ConfigMap/a/owner"))
	child := object("ConfigMap/a/owner")
	child.Namespace, child.Name, child.UID = "b", "child", "child"
	child.OwnerReferences = object("ConfigMap/b/x", "ConfigMap/a/owner").OwnerReferences
	s.create(child)
	s.left("the child goes", "ConfigMap/a/owner")
	want := `Warning OwnerRefInvalidNamespace ownerRef [v1/ConfigMap, namespace: b, name: owner, uid: ConfigMap/a/owner] does not exist in namespace "b"`
	if events := s.events.Lines(); !slices.Contains(events, want) {
		t.Errorf("events %v, want %s", events, want)
	}
}

// What comes to be served is watched also where something that was served at the start can never be listed.
func TestServedIsFollowedBesideWhatCannotBeListed(t *testing.T) {
	s := newServer(t)
	refused := make(chan struct{})
	refuse := sync.OnceFunc(func() { close(refused) })
	s.client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		refuse()
		return true, nil, errors.New("conversion webhook is down")
	})
	s.run()
	<-refused
	s.mu.Lock()
	s.served = append(slices.Clone(s.served), &metav1.APIResourceList{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{
		{Name: "widgets", Kind: "Widget", Namespaced: true, Verbs: verbsOfAll},
	}})
	s.mu.Unlock()
	testcluster.Eventually(t, "widgets are watched", func() error {
		if m, _ := s.controller.monitors.byKind(schema.GroupKind{Group: "example.com", Kind: "Widget"}); m.monitor == nil || !m.monitor.synced() {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestResourcesComeAndGo(t *testing.T) {
	s := start(t, object("ConfigMap/a/child", "Widget/a/owner"), object("Widget/a/owner"), object("ConfigMap/a/stray", "Widget/a/ghost"))
	s.left("an owner of unknown kind is not taken for absent", "ConfigMap/a/child<-owner ConfigMap/a/stray<-ghost Widget/a/owner")
	s.mu.Lock()
	before := s.served
	s.served = append(slices.Clone(before), &metav1.APIResourceList{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{
		{Name: "widgets", Kind: "Widget", Namespaced: true, Verbs: verbsOfAll}, {Name: "widgets/status", Kind: "Widget", Namespaced: true, Verbs: metav1.Verbs{"get"}},
	}})
	s.mu.Unlock()
	s.create(object("Widget/a/lonely", "ConfigMap/a/ghost"))
	s.left("what is served later is watched, and dependents of what never was go", "ConfigMap/a/child<-owner Widget/a/owner")
	s.mu.Lock()
	s.served = before
	s.mu.Unlock()
	crd := object("ConfigMap//widgets.example.com")
	crd.Kind = "CustomResourceDefinition"
	if err := s.client.Tracker().Create(crd.GroupVersionKind().GroupVersion().WithResource("customresourcedefinitions"), crd, ""); err != nil {
		t.Fatal(err)
	}
	s.left("what is served no more is not taken for deleted", "ConfigMap/a/child<-owner Widget/a/owner")
	testcluster.Eventually(t, "and is watched no more", func() error {
		if _, ok := s.controller.monitors.byKind(schema.GroupKind{Group: "example.com", Kind: "Widget"}); ok {
			return errors.New("still known")
		}
		return nil
	})
	s.controller.monitors.mu.RLock()
	defer s.controller.monitors.mu.RUnlock()
	if n := len(s.controller.monitors.active); n != 3 {
		t.Errorf("%d resources are watched, want 3", n)
	}
}
