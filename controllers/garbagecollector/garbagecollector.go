// SPDX-License-Identifier: Apache-2.0

// Package garbagecollector deletes objects whose owners are gone, holds up owners until their dependents are gone
// (foreground deletion), and lets dependents go where their owner is deleted alone (orphaning).
//
// It keeps one index, from an owner's UID to the objects that name it, so memory grows with the number of owned objects:
// a map entry each. What objects look like is read from informers: those that exist for built-in types, and informers of
// metadata alone for the rest. Whether an owner exists is first asked of these caches; only its absence is verified at
// the API server, once. A change that touches neither owners nor deletion costs a comparison.
package garbagecollector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/lru"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
)

const (
	// syncTimeout is how long the start waits for informers, some of which may never sync (a conversion webhook that is
	// down, say).
	syncTimeout = 30 * time.Second
	// absentSize is how many owners are remembered not to exist.
	absentSize = 500
	// unknownKind is how long an object waits whose owner is of a kind that is not served, unless that is found to be served meanwhile.
	unknownKind = time.Minute
)

// Informers are the shared informers of built-in types.
type Informers interface {
	// Lookup returns the informer of a resource, if there can be one.
	Lookup(schema.GroupVersionResource) (cache.SharedIndexInformer, bool)
	// StartWithContext runs those that were looked up since, until ctx ends.
	StartWithContext(ctx context.Context)
}

// Controller collects garbage.
type Controller struct {
	metadata  metadata.Interface
	discovery discovery.ServerResourcesInterface
	recorder  record.EventRecorder
	monitors  *monitors
	graph     *graph
	absent    *lru.Cache
	loop      *loop.Loop

	mu sync.Mutex
	// strangers are objects, by key, that wait for their owners' kinds to be served.
	strangers map[schema.GroupKind]map[string]struct{}
}

// New returns the controller. informers are asked for every resource that can be deleted; where they have none, the
// controller runs an informer of metadata itself.
func New(client metadata.Interface, discovery discovery.ServerResourcesInterface, informers Informers, recorder record.EventRecorder) *Controller {
	c := &Controller{
		metadata:  client,
		discovery: discovery,
		recorder:  recorder,
		graph:     newGraph(),
		absent:    lru.New(absentSize),
		strangers: map[schema.GroupKind]map[string]struct{}{},
	}
	c.loop = loop.New("garbagecollector", c.sync)
	c.monitors = newMonitors(client, informers, c)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	done := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(done)
		c.monitors.run(ctx, c.discovery, ready)
	}()
	select {
	case <-ready:
	case <-ctx.Done():
	case <-time.After(syncTimeout):
	}
	c.loop.Run(ctx, workers)
	<-done
}

// sync looks at one object: does it have to wait for its dependents, or to go because of its owners.
func (c *Controller) sync(ctx context.Context, key string) error {
	m, name, ok := c.monitors.byKey(key)
	if !ok {
		return nil
	}
	obj, ok := m.get(name)
	if !ok {
		c.forget(key)
		return nil
	}
	this := item{m, name}
	err := c.process(ctx, this, obj)
	if apierrors.IsConflict(err) {
		// The cache was behind: once more with what the server has.
		live, errLive := c.live(ctx, m, obj)
		if errLive != nil {
			return ignoreNotFound(errLive)
		}
		if live.GetUID() != obj.GetUID() {
			return nil
		}
		err = c.process(ctx, this, live)
	}
	return ignoreNotFound(err)
}

func (c *Controller) process(ctx context.Context, this item, obj metav1.Object) error {
	switch {
	case waitsFor(obj, metav1.FinalizerOrphanDependents):
		return c.orphan(ctx, this, obj)
	case waitsFor(obj, metav1.FinalizerDeleteDependents):
		return c.awaitDependents(ctx, this, obj)
	case obj.GetDeletionTimestamp() != nil || len(obj.GetOwnerReferences()) == 0:
		return nil
	}
	owners, err := c.classify(ctx, this, obj)
	if err != nil {
		return err
	}
	dependents := c.graph.dependents(obj.GetUID())
	circular := slices.ContainsFunc(dependents, func(d item) bool {
		dependent, ok := d.monitor.get(d.name)
		return ok && waitsFor(dependent, metav1.FinalizerDeleteDependents)
	})
	do := decide(obj, owners, len(dependents) > 0, circular)
	if len(do.drop) > 0 || do.unblock {
		refs := slices.DeleteFunc(slices.Clone(obj.GetOwnerReferences()), func(ref metav1.OwnerReference) bool {
			return slices.Contains(do.drop, ref.UID)
		})
		if do.unblock {
			for i := range refs {
				refs[i].BlockOwnerDeletion = new(bool)
			}
		}
		updated, err := c.patch(ctx, this.monitor, obj, map[string]any{"ownerReferences": refs})
		if err != nil {
			return err
		}
		obj = updated
	}
	if do.remove == "" {
		return nil
	}
	return c.remove(ctx, this.monitor, obj, do.remove)
}

// awaitDependents lets an owner go once nothing blocks its deletion, and sees to it that what blocks it is deleted.
func (c *Controller) awaitDependents(ctx context.Context, owner item, obj metav1.Object) error {
	blocked := false
	for _, d := range c.graph.dependents(obj.GetUID()) {
		dependent, ok := d.monitor.get(d.name)
		if !ok {
			continue
		}
		if blocks(dependent, obj.GetUID()) {
			blocked = true
		}
		if dependent.GetDeletionTimestamp() == nil {
			c.loop.Add(d.key())
		}
	}
	if blocked {
		return nil
	}
	return c.removeFinalizer(ctx, owner.monitor, obj, metav1.FinalizerDeleteDependents)
}

// orphan takes the owner from its dependents, then lets it go.
func (c *Controller) orphan(ctx context.Context, owner item, obj metav1.Object) error {
	dependents := c.graph.dependents(obj.GetUID())
	errs := podcontrol.Parallel(len(dependents), func(i int) error {
		d := dependents[i]
		dependent, ok := d.monitor.get(d.name)
		if !ok {
			return nil
		}
		return ignoreNotFound(c.dropOwner(ctx, d.monitor, dependent, obj.GetUID()))
	})
	if len(errs) > 0 {
		return fmt.Errorf("orphan dependents of %s %s: %w", owner.monitor.gvr.Resource, owner.name, errors.Join(errs...))
	}
	return c.removeFinalizer(ctx, owner.monitor, obj, metav1.FinalizerOrphanDependents)
}

// classify sorts an object's owners. An owner that cannot be looked up is an error: nothing is deleted on a guess.
func (c *Controller) classify(ctx context.Context, this item, obj metav1.Object) (owners, error) {
	var found owners
	for _, ref := range obj.GetOwnerReferences() {
		owner, err := c.owner(ctx, this, obj, ref)
		switch {
		case errors.Is(err, errMisplaced):
			found.misplaced = true
		case err != nil:
			return owners{}, err
		case owner == nil:
			found.dangling = append(found.dangling, ref.UID)
		case waitsFor(owner, metav1.FinalizerDeleteDependents):
			found.waiting = append(found.waiting, ref.UID)
		default:
			found.solid = append(found.solid, ref.UID)
		}
	}
	return found, nil
}

// errMisplaced says that a cluster-scoped object names a namespaced owner. It can never be right, and is left alone.
var errMisplaced = errors.New("cluster-scoped objects cannot refer to namespaced owners")

// absence is an owner that is known not to exist: where one was looked for, or if only the UID is set, one that was
// seen to be deleted.
type absence struct {
	kind      schema.GroupKind
	namespace string
	name      string
	uid       types.UID
}

// owner returns the owner that ref names, nil if there is none.
func (c *Controller) owner(ctx context.Context, this item, obj metav1.Object, ref metav1.OwnerReference) (metav1.Object, error) {
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	mapping, ok := c.monitors.byKind(kind)
	if !ok {
		c.await(kind, this.key())
		return nil, loop.RetryAfter(unknownKind)
	}
	namespace := ""
	if mapping.namespaced {
		if namespace = obj.GetNamespace(); namespace == "" {
			c.reportMisplaced(this, obj, ref, mapping)
			return nil, errMisplaced
		}
	}
	where := absence{kind, namespace, ref.Name, ref.UID}
	if _, ok := c.absent.Get(absence{uid: ref.UID}); ok {
		return nil, nil
	}
	if _, ok := c.absent.Get(where); ok {
		return nil, nil
	}
	if mapping.monitor != nil {
		if owner, ok := mapping.monitor.get(objectName(namespace, ref.Name)); ok && owner.GetUID() == ref.UID {
			return owner, nil
		}
	}
	live, err := c.metadata.Resource(mapping.gvr).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case err == nil && live.UID == ref.UID:
		return live, nil
	case err == nil || apierrors.IsNotFound(err):
		c.absent.Add(where, struct{}{})
		c.reportMisplaced(this, obj, ref, mapping)
		return nil, nil
	}
	return nil, fmt.Errorf("look up owner %s %s of %s %s: %w", ref.Kind, ref.Name, this.monitor.gvr.Resource, this.name, err)
}

// await has an object looked at again once a kind is found to be served.
func (c *Controller) await(kind schema.GroupKind, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.strangers[kind] == nil {
		c.strangers[kind] = map[string]struct{}{}
	}
	c.strangers[kind][key] = struct{}{}
}

// forget has an object that has gone wait no more.
func (c *Controller) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, keys := range c.strangers {
		delete(keys, key)
	}
}

// refreshed is called when discovery has been read.
func (c *Controller) refreshed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, keys := range c.strangers {
		if _, ok := c.monitors.byKind(kind); !ok {
			continue
		}
		for key := range keys {
			c.loop.Add(key)
		}
		delete(c.strangers, kind)
	}
}

// reportMisplaced records an event if the owner does exist, but in another namespace.
func (c *Controller) reportMisplaced(this item, obj metav1.Object, ref metav1.OwnerReference, mapping mapping) {
	if mapping.monitor == nil || !mapping.namespaced || !mapping.monitor.hasUID(ref.UID) {
		return
	}
	subject := &corev1.ObjectReference{
		APIVersion: this.monitor.kind.GroupVersion().String(), Kind: this.monitor.kind.Kind,
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(),
	}
	named := fmt.Sprintf("[%s/%s, namespace: %s, name: %s, uid: %s]", ref.APIVersion, ref.Kind, obj.GetNamespace(), ref.Name, ref.UID)
	c.recorder.Eventf(subject, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
		"ownerRef %s does not exist in namespace %q", named, obj.GetNamespace())
}

// added, changed, gone and unwatched keep the graph up to date; the informers call them.

func (c *Controller) added(m *monitor, obj any) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	this := item{m, nameOf(o)}
	refs := o.GetOwnerReferences()
	c.graph.link(this, refs)
	switch {
	case waitsFor(o, metav1.FinalizerOrphanDependents):
		c.loop.Add(this.key())
	case waitsFor(o, metav1.FinalizerDeleteDependents):
		c.loop.Add(this.key())
		c.enqueueDependents(o.GetUID())
	case len(refs) > 0 && o.GetDeletionTimestamp() == nil:
		c.loop.Add(this.key())
	}
}

func (c *Controller) changed(m *monitor, old, cur any) {
	before, err1 := meta.Accessor(old)
	after, err2 := meta.Accessor(cur)
	if err1 != nil || err2 != nil {
		return
	}
	if before.GetUID() != after.GetUID() {
		c.gone(m, before)
		c.added(m, after)
		return
	}
	if !slices.EqualFunc(before.GetOwnerReferences(), after.GetOwnerReferences(), sameReference) {
		this := item{m, nameOf(after)}
		c.graph.unlink(this, before.GetOwnerReferences())
		c.graph.link(this, after.GetOwnerReferences())
		c.loop.Add(this.key())
		c.enqueueWaitingOwners(before)
	}
	for _, finalizer := range []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents} {
		if waitsFor(after, finalizer) && !waitsFor(before, finalizer) {
			c.loop.Add(item{m, nameOf(after)}.key())
			c.enqueueDependents(after.GetUID())
		}
	}
}

func (c *Controller) gone(m *monitor, obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	o, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	c.graph.unlink(item{m, nameOf(o)}, o.GetOwnerReferences())
	if c.graph.hasDependents(o.GetUID()) {
		c.absent.Add(absence{uid: o.GetUID()}, struct{}{})
		c.enqueueDependents(o.GetUID())
	}
	c.enqueueWaitingOwners(o)
}

// unwatched forgets the edges of an object that is no longer watched here; it may well exist.
func (c *Controller) unwatched(m *monitor, obj any) {
	if o, err := meta.Accessor(obj); err == nil {
		c.graph.unlink(item{m, nameOf(o)}, o.GetOwnerReferences())
	}
}

func (c *Controller) enqueueDependents(uid types.UID) {
	for _, d := range c.graph.dependents(uid) {
		c.loop.Add(d.key())
	}
}

// enqueueWaitingOwners wakes the owners of obj that wait for their dependents.
func (c *Controller) enqueueWaitingOwners(obj metav1.Object) {
	for _, ref := range obj.GetOwnerReferences() {
		mapping, ok := c.monitors.byKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind())
		if !ok || mapping.monitor == nil {
			continue
		}
		namespace := ""
		if mapping.namespaced {
			namespace = obj.GetNamespace()
		}
		name := objectName(namespace, ref.Name)
		owner, ok := mapping.monitor.get(name)
		if ok && owner.GetUID() == ref.UID && waitsFor(owner, metav1.FinalizerDeleteDependents) {
			c.loop.Add(item{mapping.monitor, name}.key())
		}
	}
}

// waitsFor reports whether obj is being deleted and the finalizer holds it.
func waitsFor(obj metav1.Object, finalizer string) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), finalizer)
}

// blocks reports whether obj must go before its owner may.
func blocks(obj metav1.Object, owner types.UID) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return ref.UID == owner && isTrue(ref.BlockOwnerDeletion)
	})
}

func sameReference(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID && a.Kind == b.Kind && a.Name == b.Name && a.APIVersion == b.APIVersion &&
		isTrue(a.BlockOwnerDeletion) == isTrue(b.BlockOwnerDeletion)
}

func isTrue(b *bool) bool { return b != nil && *b }

func nameOf(obj metav1.Object) string { return objectName(obj.GetNamespace(), obj.GetName()) }

func objectName(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return strings.Join([]string{namespace, name}, "/")
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
