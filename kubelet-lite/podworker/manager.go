// SPDX-License-Identifier: Apache-2.0

// Package podworker drives pods to what their specs say. Each pod has a worker, whose goroutine exists only while there is
// something to do: it is woken by the API, the runtime, a probe, an image that has arrived or a timer, looks at the pod and
// the runtime, decides (plan.go), acts and reports. Pods never wait for one another, but for a turn at the runtime.
// The cost of a pass is a few map lookups where nothing is to be done; a pod at rest costs its record alone.
package podworker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/hivemind-project/hivemind/kubelet-lite/status"
)

// Manager holds the workers of a node's pods.
type Manager struct {
	Deps
	ctx     context.Context
	backOff *flowcontrol.Backoff
	starts  chan struct{}
	stops   chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	workers map[types.UID]*worker

	allocating sync.Mutex // held while it is decided whether a pod may grow
}

// NewManager returns a manager whose workers work until ctx ends.
func NewManager(ctx context.Context, deps Deps) *Manager {
	if deps.Parallel <= 0 {
		deps.Parallel = 8
	}
	return &Manager{Deps: deps, ctx: ctx, backOff: newBackOff(deps.Clock), workers: map[types.UID]*worker{},
		starts: make(chan struct{}, deps.Parallel), stops: make(chan struct{}, deps.Parallel)}
}

// Update takes a pod as the API shows it, new or changed.
func (m *Manager) Update(pod *v1.Pod) {
	m.Status.Observe(pod)
	w := m.worker(pod.UID)
	w.mu.Lock()
	before := w.pod
	w.pod = pod
	if pod.DeletionTimestamp != nil {
		w.terminating()
	}
	w.mu.Unlock()
	if before != nil && onlyStatusChanged(before, pod) {
		return
	}
	w.wake()
}

// Reject makes a pod that this node does not admit Failed; nothing of it is run.
func (m *Manager) Reject(pod *v1.Pod, reason, message string) {
	w := m.worker(pod.UID)
	w.mu.Lock()
	w.pod, w.rejected = pod, &status.Failure{Reason: reason, Message: message}
	w.mu.Unlock()
	w.wake()
}

// Fail ends a pod for a reason of the node's, such as eviction; its containers get their grace, or that many seconds.
func (m *Manager) Fail(uid types.UID, reason, message string, grace *int64) {
	m.mu.Lock()
	w, ok := m.workers[uid]
	m.mu.Unlock()
	if !ok {
		return
	}
	w.mu.Lock()
	w.failure, w.graceOverride = &status.Failure{Reason: reason, Message: message, Disrupted: true}, grace
	w.terminating()
	w.mu.Unlock()
	w.wake()
}

// Remove takes that a pod is not in the API any more: what runs of it is stopped and removed. It serves as well for pods that
// only the runtime knows.
func (m *Manager) Remove(uid types.UID) {
	w := m.worker(uid)
	w.mu.Lock()
	w.gone = true
	w.terminating()
	w.mu.Unlock()
	w.wake()
}

// Wake has a pod looked at; it does nothing for one that is unknown.
func (m *Manager) Wake(uid types.UID) {
	m.mu.Lock()
	w, ok := m.workers[uid]
	m.mu.Unlock()
	if ok {
		w.wake()
	}
}

// Known says whether a pod has a worker.
func (m *Manager) Known(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.workers[uid]
	return ok
}

// Admitted returns the pods that were admitted and have not ended, with what is set aside for them. One that the API no longer has, because it was deleted
// without grace, is not among them though it may be stopping yet: the scheduler gives its place away.
func (m *Manager) Admitted() []*v1.Pod {
	var pods []*v1.Pod
	for _, w := range m.all() {
		w.mu.Lock()
		if w.pod != nil && !w.gone && w.rejected == nil && w.stage < ended && w.pod.Status.Phase != v1.PodFailed && w.pod.Status.Phase != v1.PodSucceeded {
			pods = append(pods, cmp.Or(w.held, w.pod))
		}
		w.mu.Unlock()
	}
	return pods
}

// Wait returns once no worker runs; the manager's context must have ended.
func (m *Manager) Wait() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	for _, w := range m.all() {
		w.mu.Lock()
		w.stopTimer()
		w.mu.Unlock()
	}
	m.Prober.Close()
	m.running.Wait()
}

// begin counts a goroutine that Wait is to wait for; false means that there are to be no more.
func (m *Manager) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.running.Add(1)
	return true
}

// all returns the workers. A worker's lock is taken before the manager's, never after it.
func (m *Manager) all() []*worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.workers))
}

func (m *Manager) worker(uid types.UID) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.workers[uid]
	if !ok {
		w = newWorker(m, uid)
		m.workers[uid] = w
	}
	return w
}

// drop forgets a pod that has been removed from everywhere.
func (m *Manager) drop(w *worker) {
	m.mu.Lock()
	delete(m.workers, w.uid)
	m.mu.Unlock()
	m.Status.Forget(w.uid)
	m.Images.Forget(w.uid)
	m.Prober.StopPod(w.uid)
	// There is room now for others to grow.
	for _, other := range m.all() {
		other.mu.Lock()
		held := other.held != nil
		other.mu.Unlock()
		if held {
			other.wake()
		}
	}
}

// turn is a place among those who use the runtime, or the API server; it is taken at first need. Without slots there are places for all.
type turn struct {
	slots chan struct{}
	held  bool
}

func (t *turn) take(ctx context.Context) error {
	if t.held || t.slots == nil {
		return nil
	}
	select {
	case t.slots <- struct{}{}:
		t.held = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) release() {
	if t.held {
		t.held = false
		<-t.slots
	}
}

// onlyStatusChanged says whether an update brings nothing that a worker acts on: most updates are its own status come back.
// Conditions of others matter, for readiness gates.
func onlyStatusChanged(before, after *v1.Pod) bool {
	if before.Generation != after.Generation || (before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) ||
		!equalGrace(before.DeletionGracePeriodSeconds, after.DeletionGracePeriodSeconds) || before.Status.Phase != after.Status.Phase {
		return false
	}
	if before.Generation == 0 { // an API without generations of pods
		return false
	}
	if !maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) {
		return false
	}
	return equalForeign(before.Status.Conditions, after.Status.Conditions)
}

func equalGrace(a, b *int64) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

func now(m *Manager) metav1.Time { return metav1.NewTime(m.Clock.Now()) }

// sooner is the earlier of two delays, where zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
