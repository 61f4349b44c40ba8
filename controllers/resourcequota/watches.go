// SPDX-License-Identifier: Apache-2.0

package resourcequota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/pkg/quota"
)

// readWithin is how long a resource that a quota names for the first time may take to be read.
const readWithin = 10 * time.Second

// Informers are the shared informers, and which of them there are.
type Informers interface {
	informers.SharedInformerFactory
	Lookup(schema.GroupVersionResource) (cache.SharedIndexInformer, bool)
	StartWithContext(ctx context.Context)
}

// watches reads the resources that quotas name, and tells what is given back of them.
type watches struct {
	discovery discovery.ServerResourcesInterface
	objects   metadata.Interface
	shared    Informers
	returned  func(resource schema.GroupResource, namespace string)
	running   sync.WaitGroup

	mu     sync.Mutex
	active map[schema.GroupResource]watch
}

// watch is one resource as it is read; stop is nil where somebody else reads it anyway.
type watch struct {
	index cache.Indexer
	stop  context.CancelFunc
}

func newWatches(d discovery.ServerResourcesInterface, objects metadata.Interface, shared Informers, returned func(schema.GroupResource, string)) *watches {
	return &watches{discovery: d, objects: objects, shared: shared, returned: returned, active: map[schema.GroupResource]watch{}}
}

func (w *watches) wait() { w.running.Wait() }

// list implements quota.List.
func (w *watches) list(resource schema.GroupResource, namespace string) ([]runtime.Object, error) {
	w.mu.Lock()
	index := w.active[resource].index
	w.mu.Unlock()
	if index == nil {
		return nil, fmt.Errorf("%s is not watched yet", resource)
	}
	items, err := index.ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil, err
	}
	objects := make([]runtime.Object, len(items))
	for i, item := range items {
		objects[i] = item.(runtime.Object)
	}
	return objects, nil
}

// ensure has the resource watched and read. It is false if no such resource is served in namespaces, or it cannot be read; the quota
// is counted without it then, and anew later.
func (w *watches) ensure(ctx context.Context, resource schema.GroupResource) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, watched := w.active[resource]
	if watched && old.stop == nil {
		return true
	}
	gvr, ok := w.served(resource)
	switch {
	case ok && watched:
		return true
	case watched: // its definition was deleted
		old.stop()
		delete(w.active, resource)
		return false
	case !ok:
		return false
	}
	informer, shared := w.shared.Lookup(gvr)
	if !shared {
		indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
		informer = metadatainformer.NewFilteredMetadataInformer(w.objects, gvr, metav1.NamespaceAll, 0, indexers, nil).Informer()
	}
	registration, err := informer.AddEventHandler(w.handler(resource))
	if err != nil {
		klog.FromContext(ctx).Error(err, "Failed to watch a resource that a quota limits", "resource", gvr)
		return false
	}
	added := watch{index: informer.GetIndexer()}
	if shared {
		w.shared.StartWithContext(ctx)
	} else {
		var own context.Context
		own, added.stop = context.WithCancel(ctx)
		w.running.Go(func() { informer.RunWithContext(own) })
	}
	reading, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	if !cache.WaitForCacheSync(reading.Done(), registration.HasSynced) {
		if added.stop != nil {
			added.stop()
		}
		return false
	}
	w.active[resource] = added
	return true
}

// served finds the version that a resource is served in.
func (w *watches) served(resource schema.GroupResource) (schema.GroupVersionResource, bool) {
	lists, err := w.discovery.ServerPreferredResources()
	if err != nil && len(lists) == 0 {
		return schema.GroupVersionResource{}, false
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil || gv.Group != resource.Group {
			continue
		}
		for i := range list.APIResources {
			if r := &list.APIResources[i]; r.Name == resource.Resource && r.Namespaced {
				return gv.WithResource(r.Name), true
			}
		}
	}
	return schema.GroupVersionResource{}, false
}

func (w *watches) handler(resource schema.GroupResource) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, cur any) {
			if givesBack(old, cur) {
				w.tell(resource, cur)
			}
		},
		DeleteFunc: func(obj any) { w.tell(resource, obj) },
	}
}

func (w *watches) tell(resource schema.GroupResource, obj any) {
	if o, ok := loop.Object[runtime.Object](obj); ok {
		if m, err := meta.Accessor(o); err == nil {
			w.returned(resource, m.GetNamespace())
		}
	}
}

// givesBack tells whether an object uses less, or something else, than before.
func givesBack(old, cur any) bool {
	switch after := cur.(type) {
	case *corev1.Pod:
		before := old.(*corev1.Pod)
		return quota.Charged(before) && !quota.Charged(after) || before.Generation != after.Generation || before.Status.QOSClass != after.Status.QOSClass
	case *corev1.Service:
		return old.(*corev1.Service).Spec.Type != after.Spec.Type
	case *corev1.PersistentVolumeClaim:
		return quota.ClaimChanged(old.(*corev1.PersistentVolumeClaim), after)
	}
	return false
}
