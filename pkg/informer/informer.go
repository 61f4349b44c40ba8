// SPDX-License-Identifier: Apache-2.0

// Package informer gives controllers client-go's shared informers, fed from the storage in this process: no HTTP, no JSON, and
// one copy of each object for all who read it.
//
// Cost: one etcd watch a resource that somebody asked for, and one decoded object each, without managedFields: about 4 KB a
// pod. A resource that nobody asks for costs nothing.
package informer

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/tools/cache"
)

// Source is where the objects of one resource are.
type Source struct {
	Resource schema.GroupVersionResource
	New      func() runtime.Object
	NewList  func() runtime.Object
	// Prefix is the key of the collection in Storage.
	Prefix  string
	Storage storage.Interface
}

// Factory is an informers.SharedInformerFactory over Sources. Informers are made when first asked for and run from Start on.
type Factory struct {
	byType map[reflect.Type]Source
	byGVR  map[schema.GroupVersionResource]Source
	pods   *parts

	mu      sync.Mutex
	made    map[reflect.Type]cache.SharedIndexInformer
	started map[reflect.Type]bool
	running sync.WaitGroup
	closed  bool
}

// New returns a factory over sources.
func New(sources []Source) *Factory {
	f := &Factory{
		byType: map[reflect.Type]Source{}, byGVR: map[schema.GroupVersionResource]Source{},
		pods: newParts(),
		made: map[reflect.Type]cache.SharedIndexInformer{}, started: map[reflect.Type]bool{},
	}
	for _, s := range sources {
		f.byType[reflect.TypeOf(s.New())] = s
		f.byGVR[s.Resource] = s
	}
	return f
}

// InformerFor returns the informer of obj's type. newFunc, which would make one over HTTP, is not used.
func (f *Factory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.informer(reflect.TypeOf(obj))
}

// informer returns the informer of t, made if need be. f.mu is held.
func (f *Factory) informer(t reflect.Type) cache.SharedIndexInformer {
	if made, ok := f.made[t]; ok {
		return made
	}
	source, ok := f.byType[t]
	if !ok {
		panic(fmt.Sprintf("no resource of type %v is served: an informer of it would never see an object", t))
	}
	informer := cache.NewSharedIndexInformer(listWatch{source}, source.New(), 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	_ = informer.SetTransform(f.trim) // fails only for a started informer
	f.made[t] = informer
	return informer
}

// Lookup returns the informer of a resource, and whether the resource is one of the sources.
func (f *Factory) Lookup(resource schema.GroupVersionResource) (cache.SharedIndexInformer, bool) {
	source, ok := f.byGVR[resource]
	if !ok {
		return nil, false
	}
	return f.InformerFor(source.New(), nil), true
}

// ForResource returns the informer and lister of a resource by name.
func (f *Factory) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	informer, ok := f.Lookup(resource)
	if !ok {
		return nil, fmt.Errorf("no informer found for %v", resource)
	}
	return generic{informer, resource.GroupResource()}, nil
}

type generic struct {
	informer cache.SharedIndexInformer
	resource schema.GroupResource
}

func (g generic) Informer() cache.SharedIndexInformer { return g.informer }
func (g generic) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.informer.GetIndexer(), g.resource)
}

// Start runs every informer made so far that does not run yet, until stop is closed.
func (f *Factory) Start(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	f.mu.Lock()
	f.running.Add(1)
	f.mu.Unlock()
	go func() {
		defer f.running.Done()
		<-stop
		cancel()
	}()
	f.StartWithContext(ctx)
}

// StartWithContext is Start with a context.
func (f *Factory) StartWithContext(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	for t, informer := range f.made {
		if f.started[t] {
			continue
		}
		f.started[t] = true
		f.running.Add(1)
		go func() {
			defer f.running.Done()
			informer.RunWithContext(ctx)
		}()
	}
}

// Shutdown waits for all informers to end; what they were started with must have been closed.
func (f *Factory) Shutdown() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.running.Wait()
}

// WaitForCacheSync waits until every started informer has seen what is stored, or stop is closed.
func (f *Factory) WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool {
	f.mu.Lock()
	started := map[reflect.Type]cache.SharedIndexInformer{}
	for t := range f.started {
		started[t] = f.made[t]
	}
	f.mu.Unlock()
	result := map[reflect.Type]bool{}
	for t, informer := range started {
		select {
		case <-informer.HasSyncedChecker().Done():
			result[t] = true
		case <-stop:
			result[t] = informer.HasSynced()
		}
	}
	return result
}

// WaitForCacheSyncWithContext is WaitForCacheSync with a context.
func (f *Factory) WaitForCacheSyncWithContext(ctx context.Context) cache.SyncResult {
	result := cache.SyncResult{Synced: f.WaitForCacheSync(ctx.Done())}
	for _, ok := range result.Synced {
		if !ok {
			result.Err = context.Cause(ctx)
		}
	}
	return result
}

// InformerName is nil: these informers have no metrics of their own.
func (f *Factory) InformerName() *cache.InformerName { return nil }

// trim drops managedFields, which are a third of the memory: a write that lacks them keeps those stored. Of pods it shares parts.
func (f *Factory) trim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		f.pods.pod(pod)
	}
	return obj, nil
}

// listWatch reads a source for a reflector.
type listWatch struct{ source Source }

// IsWatchListSemanticsUnSupported makes the reflector list and then watch: a list costs no request here.
func (listWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (l listWatch) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

func (l listWatch) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

func (l listWatch) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	list := l.source.NewList()
	err := l.source.Storage.GetList(ctx, l.source.Prefix, storage.ListOptions{Predicate: storage.Everything, Recursive: true}, list)
	return list, err
}

func (l listWatch) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return l.source.Storage.Watch(ctx, l.source.Prefix, storage.ListOptions{ResourceVersion: options.ResourceVersion, Predicate: storage.Everything, Recursive: true})
}

// SyncTimeout is how long a start may wait for the informers to have read the storage.
const SyncTimeout = 30 * time.Second

var (
	_ informers.SharedInformerFactory = (*Factory)(nil)
	_ cache.ListerWatcherWithContext  = listWatch{}
)
