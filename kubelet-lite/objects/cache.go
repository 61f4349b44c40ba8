// SPDX-License-Identifier: Apache-2.0

// Package objects keeps what the pods of this node refer to: their ConfigMaps and Secrets, and the tokens of their
// service accounts.
//
// Each object referred to is watched by itself (a field selector on its name), as the node authorizer allows no more:
// one watch an object, however many pods name it, from the first pod's registration to the last one's end. An immutable
// object is read once. So the cost grows with the distinct objects in use on this node: some 20 kB and one HTTP/2 stream
// for each.
package objects

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// syncWithin is how long a Get waits for an object that is being read for the first time.
const syncWithin = time.Second

// Cache holds the ConfigMaps and Secrets that registered pods refer to.
type Cache struct {
	ctx    context.Context // bounds the watches
	client kubernetes.Interface

	mu    sync.Mutex
	pods  map[types.UID][]key
	items map[key]*item
}

type kind string

const (
	configMap kind = "configmap"
	secret    kind = "secret"
)

type key struct {
	kind            kind
	namespace, name string
}

// item is one watched object.
type item struct {
	name   string
	refs   int
	synced chan struct{} // closed once the server has answered
	cancel context.CancelFunc

	mu      sync.Mutex
	isSet   bool
	object  runtime.Object // nil: it does not exist
	lastErr error
}

// New returns a cache whose watches end with ctx.
func New(ctx context.Context, client kubernetes.Interface) *Cache {
	return &Cache{ctx: ctx, client: client, pods: map[types.UID][]key{}, items: map[key]*item{}}
}

// Register begins to watch what the pod refers to. Called again for a pod it takes up what changed in its spec.
func (c *Cache) Register(pod *v1.Pod) {
	keys := references(pod)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		it := c.items[k]
		if it == nil {
			it = c.watch(k)
			c.items[k] = it
		}
		it.refs++
	}
	c.release(c.pods[pod.UID])
	c.pods[pod.UID] = keys
}

// Unregister drops what no other pod refers to.
func (c *Cache) Unregister(pod *v1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(c.pods[pod.UID])
	delete(c.pods, pod.UID)
}

// GetConfigMap returns the ConfigMap as last seen; it must not be changed. A NotFound error says that it does not exist.
func (c *Cache) GetConfigMap(namespace, name string) (*v1.ConfigMap, error) {
	obj, err := c.get(key{configMap, namespace, name})
	if err != nil {
		return nil, err
	}
	return obj.(*v1.ConfigMap), nil
}

// GetSecret returns the Secret as last seen; it must not be changed. A NotFound error says that it does not exist.
func (c *Cache) GetSecret(namespace, name string) (*v1.Secret, error) {
	obj, err := c.get(key{secret, namespace, name})
	if err != nil {
		return nil, err
	}
	return obj.(*v1.Secret), nil
}

func (c *Cache) get(k key) (runtime.Object, error) {
	c.mu.Lock()
	it := c.items[k]
	c.mu.Unlock()
	if it == nil {
		return nil, fmt.Errorf("object %q/%q not registered", k.namespace, k.name)
	}
	select {
	case <-it.synced:
	default:
		timeout := time.NewTimer(syncWithin)
		defer timeout.Stop()
		select {
		case <-it.synced:
		case <-timeout.C:
			it.mu.Lock()
			err := it.lastErr
			it.mu.Unlock()
			if err == nil {
				err = errors.New("timed out waiting for the condition")
			}
			return nil, fmt.Errorf("failed to sync %s cache: %w", k.kind, err)
		}
	}
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: string(k.kind)}, k.name)
	}
	return it.object, nil
}

// release gives references back. The caller holds the lock.
func (c *Cache) release(keys []key) {
	for _, k := range keys {
		it := c.items[k]
		if it.refs--; it.refs == 0 {
			it.cancel()
			delete(c.items, k)
		}
	}
}

// watch starts to follow an object. An unreachable server is asked again sooner than informers do: a pod waits.
func (c *Cache) watch(k key) *item {
	ctx, cancel := context.WithCancel(c.ctx)
	it := &item{name: k.name, synced: make(chan struct{}), cancel: cancel}
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, k.name).String()
	note := func(err error) {
		it.mu.Lock()
		it.lastErr = err
		it.mu.Unlock()
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (list runtime.Object, err error) {
			o.FieldSelector = selector
			if k.kind == secret {
				list, err = c.client.CoreV1().Secrets(k.namespace).List(ctx, o)
			} else {
				list, err = c.client.CoreV1().ConfigMaps(k.namespace).List(ctx, o)
			}
			note(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (w watch.Interface, err error) {
			o.FieldSelector = selector
			if k.kind == secret {
				w, err = c.client.CoreV1().Secrets(k.namespace).Watch(ctx, o)
			} else {
				w, err = c.client.CoreV1().ConfigMaps(k.namespace).Watch(ctx, o)
			}
			note(err)
			return w, err
		},
	}
	var expected runtime.Object = &v1.ConfigMap{}
	if k.kind == secret {
		expected = &v1.Secret{}
	}
	r := cache.NewReflectorWithOptions(listed{lw}, expected, it, cache.ReflectorOptions{
		Name:            fmt.Sprintf("%s %s/%s", k.kind, k.namespace, k.name),
		MinWatchTimeout: 30 * time.Minute,
		Backoff:         &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 8, Cap: 5 * time.Second},
	})
	go r.RunWithContext(ctx)
	return it
}

// listed has a reflector list and then watch. To stream the list (KEP-3157) saves nothing for one object, and costs a
// refused request where the server has no watch cache.
type listed struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is how client-go asks.
func (listed) IsWatchListSemanticsUnSupported() bool { return true }

// item is the reflector's store of one object.
var _ cache.ReflectorStore = (*item)(nil)

func (i *item) Add(obj any) error    { i.take(obj, obj); return nil }
func (i *item) Update(obj any) error { i.take(obj, obj); return nil }
func (i *item) Delete(obj any) error { i.take(obj, nil); return nil }
func (i *item) Resync() error        { return nil }

func (i *item) Replace(list []any, _ string) error {
	for _, obj := range list {
		if i.is(obj) {
			i.set(obj)
			return nil
		}
	}
	i.set(nil)
	return nil
}

// take sets the value if the event is about this object: what a server sends beyond the selector is not ours.
func (i *item) take(event, value any) {
	if i.is(event) {
		i.set(value)
	}
}

func (i *item) is(obj any) bool {
	m, ok := obj.(metav1.Object)
	return ok && m.GetName() == i.name
}

func (i *item) set(obj any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.object = nil
	immutable := false
	switch o := obj.(type) {
	case *v1.ConfigMap:
		i.object, immutable = o, o.Immutable != nil && *o.Immutable
	case *v1.Secret:
		i.object, immutable = o, o.Immutable != nil && *o.Immutable
	}
	if !i.isSet {
		i.isSet = true
		close(i.synced)
	}
	if immutable {
		// It cannot change any more: no need to watch. Its deletion does not concern the pods that have it.
		i.cancel()
	}
}
