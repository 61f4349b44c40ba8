// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

// server is a fake API server of metadata that deletes as a real one does: by policy, and not before the last
// finalizer is gone.
type server struct {
	t      *testing.T
	client *fake.FakeMetadataClient
	events testcluster.Events

	controller *Controller

	mu     sync.Mutex
	served []*metav1.APIResourceList
}

var verbsOfAll = metav1.Verbs{"get", "list", "watch", "delete"}

var resources = map[string]schema.GroupVersionResource{
	"ConfigMap": {Version: "v1", Resource: "configmaps"},
	"Node":      {Version: "v1", Resource: "nodes"},
	"Widget":    {Group: "example.com", Version: "v1", Resource: "widgets"},
}

// start returns a server and a controller that runs.
func start(t *testing.T, objs ...*metav1.PartialObjectMetadata) *server {
	t.Helper()
	s := newServer(t, objs...)
	s.run()
	return s
}

func newServer(t *testing.T, objs ...*metav1.PartialObjectMetadata) *server {
	t.Helper()
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	list := make([]runtime.Object, len(objs))
	for i := range objs {
		list[i] = objs[i]
	}
	s := &server{t: t, client: fake.NewSimpleMetadataClient(scheme, list...)}
	s.served = []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: verbsOfAll},
		{Name: "nodes", Kind: "Node", Verbs: verbsOfAll},
		{Name: "customresourcedefinitions", Kind: "CustomResourceDefinition", Verbs: verbsOfAll},
	}}}
	s.client.PrependReactor("delete", "*", s.delete)
	s.client.PrependReactor("patch", "*", s.patch)
	c := New(s.client, s, noneShared{}, &s.events)
	s.controller = c
	return s
}

// run has the controller run until the test ends.
func (s *server) run() {
	c, t := s.controller, s.t
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx, 3)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the controller still runs after its context ended")
		}
	})
}

// noneShared has no informers, so that the controller runs all itself.
type noneShared struct{}

func (noneShared) Lookup(schema.GroupVersionResource) (cache.SharedIndexInformer, bool) {
	return nil, false
}
func (noneShared) StartWithContext(context.Context) {}

func (s *server) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.served), nil
}

func (s *server) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return nil, errors.New("not asked")
}

func (s *server) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return nil, errors.New("not asked")
}

func (s *server) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return nil, nil, errors.New("not asked")
}

func (s *server) delete(action clienttesting.Action) (bool, runtime.Object, error) {
	del, ok := action.(clienttesting.DeleteActionImpl)
	if !ok {
		return false, nil, nil
	}
	current, err := s.client.Tracker().Get(del.GetResource(), del.GetNamespace(), del.GetName())
	if err != nil {
		return true, nil, err
	}
	obj := current.(*metav1.PartialObjectMetadata).DeepCopy()
	if p := del.DeleteOptions.Preconditions; p != nil && p.UID != nil && *p.UID != obj.UID {
		return true, nil, apierrors.NewConflict(del.GetResource().GroupResource(), del.GetName(), errors.New("uid"))
	}
	if policy := del.DeleteOptions.PropagationPolicy; policy != nil && obj.DeletionTimestamp == nil {
		switch *policy {
		case metav1.DeletePropagationForeground:
			obj.Finalizers = append(obj.Finalizers, metav1.FinalizerDeleteDependents)
		case metav1.DeletePropagationOrphan:
			obj.Finalizers = append(obj.Finalizers, metav1.FinalizerOrphanDependents)
		}
	}
	if len(obj.Finalizers) == 0 {
		return true, nil, s.client.Tracker().Delete(del.GetResource(), del.GetNamespace(), del.GetName())
	}
	now := metav1.Now()
	obj.DeletionTimestamp = &now
	return true, nil, s.client.Tracker().Update(del.GetResource(), obj, del.GetNamespace())
}

func (s *server) patch(action clienttesting.Action) (bool, runtime.Object, error) {
	_, patched, err := clienttesting.ObjectReaction(s.client.Tracker())(action)
	if err != nil {
		return true, nil, err
	}
	obj := patched.(*metav1.PartialObjectMetadata)
	if obj.DeletionTimestamp != nil && len(obj.Finalizers) == 0 {
		err = s.client.Tracker().Delete(action.GetResource(), action.GetNamespace(), obj.Name)
	}
	return true, obj, err
}

// object returns one that is named kind/namespace/name and has that as its UID, owned by others named likewise. A
// leading "!" makes a reference block its owner's deletion.
func object(name string, owners ...string) *metav1.PartialObjectMetadata {
	kind, namespace, short := split(name)
	o := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: resources[kind].GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: short, UID: types.UID(name)},
	}
	for _, owner := range owners {
		block := strings.HasPrefix(owner, "!")
		owner = strings.TrimPrefix(owner, "!")
		kind, _, short := split(owner)
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
			APIVersion: resources[kind].GroupVersion().String(), Kind: kind, Name: short, UID: types.UID(owner), BlockOwnerDeletion: &block,
		})
	}
	return o
}

func split(name string) (kind, namespace, short string) {
	parts := strings.Split(name, "/")
	return parts[0], parts[1], parts[2]
}

func (s *server) remove(name string, policy metav1.DeletionPropagation) {
	s.t.Helper()
	kind, namespace, short := split(name)
	err := s.client.Resource(resources[kind]).Namespace(namespace).Delete(context.Background(), short, metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) create(o *metav1.PartialObjectMetadata) {
	s.t.Helper()
	if err := s.client.Tracker().Create(resources[o.Kind], o, o.Namespace); err != nil {
		s.t.Fatal(err)
	}
}

// left waits until exactly these objects are left, each as kind/namespace/name<-owners.
func (s *server) left(what, want string) {
	s.t.Helper()
	testcluster.Eventually(s.t, what, func() error {
		var got []string
		for _, kind := range []string{"ConfigMap", "Node", "Widget"} {
			list, err := s.client.Resource(resources[kind]).List(context.Background(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, o := range list.Items {
				entry := fmt.Sprintf("%s/%s/%s", kind, o.Namespace, o.Name)
				for _, ref := range o.OwnerReferences {
					entry += "<-" + ref.Name
				}
				got = append(got, entry)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != want {
			return fmt.Errorf("left %q, want %q", s, want)
		}
		return nil
	})
}
