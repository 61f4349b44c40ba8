// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// How soon after a CustomResourceDefinition or an APIService has changed discovery is read, which takes a millisecond or two: once
// it will have been published, again in case it was slow, and at last to be sure. Without such changes discovery is read every
// safetyNet, since an extension server's resources may change on their own.
var afterChange = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 4 * time.Second, 25 * time.Second}

const safetyNet = 10 * time.Minute

// How often it is looked whether all informers have synced that were there at the start, which takes milliseconds as a rule.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = time.Second
)

// monitor watches one resource.
type monitor struct {
	gvr    schema.GroupVersionResource
	kind   schema.GroupVersionKind
	prefix string // of the queue keys of its objects
	store  cache.Store
	synced cache.InformerSynced
	stop   context.CancelFunc // nil for an informer that somebody else runs
}

func (m *monitor) get(name string) (metav1.Object, bool) {
	obj, ok, err := m.store.GetByKey(name)
	if err != nil || !ok {
		return nil, false
	}
	o, err := meta.Accessor(obj)
	return o, err == nil
}

// hasUID reads all objects: it is only asked to explain an owner that is not where it should be.
func (m *monitor) hasUID(uid types.UID) bool {
	for _, obj := range m.store.List() {
		if o, err := meta.Accessor(obj); err == nil && o.GetUID() == uid {
			return true
		}
	}
	return false
}

// mapping is what a kind of owner is served as; monitor is nil if it cannot be watched.
type mapping struct {
	gvr        schema.GroupVersionResource
	namespaced bool
	monitor    *monitor
}

// sink is told what the monitors see.
type sink interface {
	added(m *monitor, obj any)
	changed(m *monitor, old, cur any)
	gone(m *monitor, obj any)
	unwatched(m *monitor, obj any)
	refreshed()
}

// monitors watches every resource that can be deleted, and follows what is served.
type monitors struct {
	client metadata.Interface
	shared Informers
	sink   sink
	kick   chan struct{}
	wg     sync.WaitGroup

	mu     sync.RWMutex
	kinds  map[schema.GroupKind]mapping
	active map[string]*monitor // by prefix
}

func newMonitors(client metadata.Interface, shared Informers, sink sink) *monitors {
	return &monitors{
		client: client, shared: shared, sink: sink, kick: make(chan struct{}, 1),
		kinds: map[schema.GroupKind]mapping{}, active: map[string]*monitor{},
	}
}

// run follows discovery until ctx ends. ready is closed once everything that was served at the start has been seen.
func (ms *monitors) run(ctx context.Context, client discovery.ServerResourcesInterface, ready chan<- struct{}) {
	defer ms.wg.Wait()
	ms.refresh(ctx, client)
	// Some may not sync for long, such as custom resources whose conversion webhook is down. What else is served is followed meanwhile.
	ms.wg.Go(func() {
		for wait := firstLook; !ms.allSynced(); wait = min(2*wait, lastLook) {
			if pause(ctx, wait); ctx.Err() != nil {
				return
			}
		}
		close(ready)
	})
	step := 0 // custom resources may be published a little after the rest
	for {
		delay := safetyNet
		if step < len(afterChange) {
			delay = afterChange[step]
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-ms.kick:
			timer.Stop()
			step = 0
		case <-timer.C:
			if step++; !ms.refresh(ctx, client) {
				step = min(step, len(afterChange)-1)
			}
		}
	}
}

// refresh starts monitors of resources that are new and stops those of resources that are gone. It returns whether
// all that is served could be discovered.
func (ms *monitors) refresh(ctx context.Context, client discovery.ServerResourcesInterface) bool {
	lists, err := client.ServerPreferredResources()
	failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !partial {
		klog.FromContext(ctx).Error(err, "Failed to discover resources for garbage collection")
		return false
	}
	kinds := map[schema.GroupKind]mapping{}
	active := map[string]*monitor{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for i := range list.APIResources {
			resource := &list.APIResources[i]
			if strings.Contains(resource.Name, "/") || resource.Kind == "" || resource.Name == "events" {
				continue
			}
			gvr, kind := gv.WithResource(resource.Name), gv.WithKind(resource.Kind)
			entry := mapping{gvr: gvr, namespaced: resource.Namespaced}
			if verbs(resource.Verbs, "delete", "list", "watch") {
				entry.monitor = ms.monitor(ctx, gvr, kind)
			}
			if entry.monitor != nil {
				active[entry.monitor.prefix] = entry.monitor
			}
			if verbs(resource.Verbs, "get") {
				kinds[kind.GroupKind()] = entry
			}
		}
	}

	ms.shared.StartWithContext(ctx)

	ms.mu.Lock()
	for kind, entry := range ms.kinds {
		// What cannot be discovered for now is still watched.
		if _, unknown := failed[entry.gvr.GroupVersion()]; unknown && kinds[kind].monitor == nil {
			kinds[kind] = entry
			if entry.monitor != nil {
				active[entry.monitor.prefix] = entry.monitor
			}
		}
	}
	var ended []*monitor
	for prefix, m := range ms.active {
		if active[prefix] == nil {
			ended = append(ended, m)
		}
	}
	ms.kinds, ms.active = kinds, active
	ms.mu.Unlock()
	for _, m := range ended {
		ms.end(m)
	}
	ms.sink.refreshed()
	return err == nil
}

// monitor returns the monitor of a resource, starting it if need be; nil if that fails.
func (ms *monitors) monitor(ctx context.Context, gvr schema.GroupVersionResource, kind schema.GroupVersionKind) *monitor {
	prefix := fmt.Sprintf("%s/%s/%s|", gvr.Group, gvr.Version, gvr.Resource)
	ms.mu.RLock()
	m := ms.active[prefix]
	ms.mu.RUnlock()
	if m != nil {
		return m
	}
	m = &monitor{gvr: gvr, kind: kind, prefix: prefix}
	known := func() { // before it is told of the first object, or that would be dropped
		ms.mu.Lock()
		defer ms.mu.Unlock()
		ms.active[prefix] = m
	}
	definesResources := gvr.Resource == "customresourcedefinitions" || gvr.Resource == "apiservices"
	wake := func(initial bool) {
		if definesResources && !initial {
			select {
			case ms.kick <- struct{}{}:
			default:
			}
		}
	}
	handler := cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(obj any, initial bool) { ms.sink.added(m, obj); wake(initial) },
		UpdateFunc: func(old, cur any) { ms.sink.changed(m, old, cur); wake(false) },
		DeleteFunc: func(obj any) { ms.sink.gone(m, obj); wake(false) },
	}
	informer, shared := ms.shared.Lookup(gvr)
	if !shared {
		// Not a shared informer, whose queues take 25 KiB: nobody else listens.
		var controller cache.Controller
		m.store, controller = cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: ms.listWatch(gvr), ObjectType: &metav1.PartialObjectMetadata{}, Handler: handler, Transform: trim,
		})
		m.synced = controller.HasSynced
		var own context.Context
		own, m.stop = context.WithCancel(ctx)
		known()
		ms.wg.Go(func() { controller.RunWithContext(own) })
		return m
	}
	m.store = informer.GetIndexer()
	known()
	registration, err := informer.AddEventHandler(handler)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Failed to watch a resource for garbage collection", "resource", gvr)
		return nil
	}
	m.synced = registration.HasSynced
	return m
}

// listWatch reads the metadata of all objects of a resource.
func (ms *monitors) listWatch(gvr schema.GroupVersionResource) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return ms.client.Resource(gvr).Namespace(metav1.NamespaceAll).List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return ms.client.Resource(gvr).Namespace(metav1.NamespaceAll).Watch(ctx, options)
		},
	}, ms.client)
}

// end stops a monitor. What it had seen is not taken for deleted: the resource may be served by another version.
func (ms *monitors) end(m *monitor) {
	if m.stop == nil {
		return
	}
	m.stop()
	for _, obj := range m.store.List() {
		ms.sink.gone(m, obj)
	}
}

func (ms *monitors) byKind(kind schema.GroupKind) (mapping, bool) {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	m, ok := ms.kinds[kind]
	return m, ok
}

// byKey takes a queue key apart.
func (ms *monitors) byKey(key string) (*monitor, string, bool) {
	i := strings.IndexByte(key, '|') + 1
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	m := ms.active[key[:i]]
	return m, key[i:], m != nil
}

func (ms *monitors) allSynced() bool {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	for _, m := range ms.active {
		if m.synced != nil && !m.synced() {
			return false
		}
	}
	return true
}

// trim drops what garbage collection does not read, which for custom resources is most of the metadata.
func trim(obj any) (any, error) {
	if o, err := meta.Accessor(obj); err == nil {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
		o.SetLabels(nil)
	}
	return obj, nil
}

func verbs(have metav1.Verbs, want ...string) bool {
	return discovery.SupportsAllVerbs{Verbs: want}.Match("", &metav1.APIResource{Verbs: have})
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
