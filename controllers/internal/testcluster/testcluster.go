// SPDX-License-Identifier: Apache-2.0

// Package testcluster is what controller tests run against: a fake clientset that behaves like an API server where
// controllers depend on it (names, UIDs, creation times, conflicts, status apart from spec), informers on it, and a
// record of events. It is only imported by tests. Starting one costs milliseconds.
package testcluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Cluster is a fake cluster. Take informers from it, then Start.
type Cluster struct {
	Client    *fake.Clientset
	Informers informers.SharedInformerFactory
	Events    *Events

	t    testing.TB
	last atomic.Int64
}

// New returns a cluster that holds objs.
func New(t testing.TB, objs ...runtime.Object) *Cluster {
	t.Helper()
	c := &Cluster{Events: &Events{}, t: t}
	objs = slices.Clone(objs)
	for i, obj := range objs {
		objs[i] = obj.DeepCopyObject()
		// As an API server would have it, so that updates of what was there from the start can be stale, too.
		if m, err := meta.Accessor(objs[i]); err == nil && m.GetResourceVersion() == "" {
			m.SetResourceVersion(strconv.FormatInt(c.last.Add(1), 10))
		}
	}
	client := fake.NewClientset(objs...)
	c.Client, c.Informers = client, informers.NewSharedInformerFactory(client, 0)
	client.PrependReactor("create", "*", c.complete)
	client.PrependReactor("update", "*", c.check)
	return c
}

// Start runs the informers and, once they have synced, run. Both end with the test, which fails if run does not return.
func (c *Cluster) Start(run func(ctx context.Context)) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.Informers.Start(ctx.Done())
	c.Informers.WaitForCacheSync(ctx.Done())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			c.t.Error("the controller still runs after its context ended")
		}
		c.Informers.Shutdown()
	})
}

// Eventually waits until check returns nil.
func (c *Cluster) Eventually(what string, check func() error) {
	c.t.Helper()
	Eventually(c.t, what, check)
}

// Eventually waits until check returns nil, and fails the test if that takes more than 15 seconds.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	err := errors.New("never checked")
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if err = check(); err == nil {
			return
		}
		wait(5 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// wait is the pause between two looks at a condition.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// complete fills in what an API server does on create.
func (c *Cluster) complete(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateAction)
	if !ok || create.GetSubresource() != "" {
		return false, nil, nil
	}
	obj, err := meta.Accessor(create.GetObject())
	if err != nil {
		return false, nil, nil
	}
	n := c.last.Add(1)
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(obj.GetGenerateName() + strconv.FormatInt(10000+n, 36))
	}
	if obj.GetUID() == "" {
		obj.SetUID(types.UID("uid-" + strconv.FormatInt(n, 10)))
	}
	if obj.GetNamespace() == "" {
		obj.SetNamespace(action.GetNamespace())
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(metav1.Now())
	}
	if obj.GetGeneration() == 0 {
		obj.SetGeneration(1)
	}
	obj.SetResourceVersion(strconv.FormatInt(n, 10))
	return false, nil, nil
}

// check refuses an update of an old version, and lets one of the status change nothing but status and annotations. The
// fake client handles one request at a time, so what is read here is what will be replaced.
func (c *Cluster) check(action clienttesting.Action) (bool, runtime.Object, error) {
	update, ok := action.(clienttesting.UpdateAction)
	if !ok {
		return false, nil, nil
	}
	next, err := meta.Accessor(update.GetObject())
	if err != nil {
		return false, nil, nil
	}
	resource := action.GetResource()
	current, err := c.Client.Tracker().Get(resource, action.GetNamespace(), next.GetName())
	if err != nil {
		return false, nil, nil
	}
	had, err := meta.Accessor(current)
	if err != nil {
		return false, nil, nil
	}
	if next.GetResourceVersion() != "" && next.GetResourceVersion() != had.GetResourceVersion() {
		return true, nil, apierrors.NewConflict(resource.GroupResource(), next.GetName(), errors.New("the object has been modified"))
	}
	if status := reflect.ValueOf(update.GetObject()).Elem().FieldByName("Status"); status.IsValid() {
		merged := current.DeepCopyObject()
		into := reflect.ValueOf(merged).Elem()
		if action.GetSubresource() == "status" {
			annotations := next.GetAnnotations()
			into.FieldByName("Status").Set(status)
			reflect.ValueOf(update.GetObject()).Elem().Set(into)
			next.SetAnnotations(annotations)
		}
	}
	next.SetResourceVersion(strconv.FormatInt(c.last.Add(1), 10))
	return false, nil, nil
}

// Events is an event recorder that keeps "Type Reason Message" lines.
type Events struct {
	mu    sync.Mutex
	lines []string
}

// Event records a line.
func (e *Events) Event(_ runtime.Object, eventtype, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, eventtype+" "+reason+" "+message)
}

// Eventf records a line.
func (e *Events) Eventf(obj runtime.Object, eventtype, reason, format string, args ...any) {
	e.Event(obj, eventtype, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf records a line.
func (e *Events) AnnotatedEventf(obj runtime.Object, _ map[string]string, eventtype, reason, format string, args ...any) {
	e.Eventf(obj, eventtype, reason, format, args...)
}

// Lines returns what was recorded so far.
func (e *Events) Lines() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lines)
}
