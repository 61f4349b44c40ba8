// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/status"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// stage of a pod's life; it only grows.
type stage int

const (
	alive       stage = iota
	terminating       // its containers are being stopped
	ended             // nothing of it runs any more
	removed           // nothing of it is left
)

// worker is one pod.
//
//	Update ─▶ alive ──(deleted, failed, or every container done)──▶ terminating ──▶ ended ──(deleted)──▶ removed
type worker struct {
	m   *Manager
	uid types.UID

	mu            sync.Mutex
	pod           *v1.Pod // as the API last showed it; nil where only the runtime knows it
	gone          bool    // from the API
	rejected      *status.Failure
	failure       *status.Failure
	graceOverride *int64
	stage         stage
	busy, again   bool
	timer         clock.Timer
	stopping      map[string]*stop // by container id
	giveUp        context.CancelFunc
	held          *v1.Pod // the pod with what is set aside for it, while there is no room for what it asks for
	heldSince     time.Time

	// What follows is touched by the pass alone.
	starting context.Context // see start
	waiting  map[string]status.Waiting
	told     map[string]string // the last event of a kind, so that it is not repeated at every try
	force    map[string]bool
	messages map[string]string         // termination messages, by container id
	volumes  map[string]volume.Mounted // nil until they are mounted
	cgroup   bool
	sized    int64 // the generation of the pod whose resources all containers are known to have
	// resizing is the generation of the pod whose resources its containers are being given, 0 where they have them; resizeError is why the last try failed.
	resizing    int64
	resizeError string
	// deferred is why there is no room for what the pod asks for since its generation deferredAt; "" where there is.
	deferred   string
	deferredAt int64
	registered shape // as it was when what it refers to was last registered
	retry      time.Duration
	refreshed  time.Time
	written    shape // as it was when its volumes were last brought up to date
}

// shape is what is remembered of a pod to see whether it has changed; the pod itself would keep a second one in memory.
type shape struct {
	known               bool
	generation          int64
	labels, annotations map[string]string
}

func shapeOf(pod *v1.Pod) shape { return shape{true, pod.Generation, pod.Labels, pod.Annotations} }

// is says whether the pod has this shape still. An API without generations of pods leaves that open.
func (s shape) is(pod *v1.Pod) bool {
	return s.known && pod.Generation != 0 && s.generation == pod.Generation && maps.Equal(s.labels, pod.Labels) && maps.Equal(s.annotations, pod.Annotations)
}

func newWorker(m *Manager, uid types.UID) *worker { return &worker{m: m, uid: uid} }

// put sets an entry of a map that is made when it is first needed: most pods need none.
func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// start makes the context of what a pass starts, until end is called. It ends as well when the pod is to terminate: what is being started is
// given up.
func (w *worker) start() (end func()) {
	ctx, cancel := context.WithCancel(w.m.ctx)
	w.mu.Lock()
	w.starting, w.giveUp = ctx, cancel
	if w.gone || w.failure != nil || (w.pod != nil && w.pod.DeletionTimestamp != nil) {
		cancel()
	}
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		w.starting, w.giveUp = nil, nil
		w.mu.Unlock()
		cancel()
	}
}

// terminating has what is being started given up; the lock is held.
func (w *worker) terminating() {
	if w.giveUp != nil {
		w.giveUp()
	}
}

// wake has a pass made soon, by the goroutine that is at it or by a new one.
func (w *worker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = true
	if w.busy || w.m.ctx.Err() != nil || !w.m.begin() {
		return
	}
	w.busy = true
	w.stopTimer()
	go w.run()
}

// run makes passes until there is nothing to do, and leaves a timer for when there will be.
func (w *worker) run() {
	defer w.m.running.Done()
	for {
		w.mu.Lock()
		if !w.again || w.m.ctx.Err() != nil || w.stage == removed {
			w.busy = false
			w.mu.Unlock()
			return
		}
		w.again = false
		w.mu.Unlock()

		after := w.pass()

		w.mu.Lock()
		if after > 0 && !w.again {
			w.stopTimer()
			w.timer = w.m.Clock.AfterFunc(after, w.wake)
		}
		w.mu.Unlock()
	}
}

// stopTimer is called with the lock held.
func (w *worker) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// pass looks at the pod once and does what can be done now. It returns when to look again by itself; zero is never.
func (w *worker) pass() time.Duration {
	w.mu.Lock()
	pod, gone, rejected, failure := w.pod, w.gone, w.rejected, w.failure
	w.mu.Unlock()
	runtime := w.m.Cache.Get(w.uid)
	ctx := klog.NewContext(w.m.ctx, klog.FromContext(w.m.ctx).WithValues("pod", klog.KRef(runtime.Namespace, runtime.Name), "podUID", w.uid))
	switch {
	case pod == nil:
		return w.terminate(ctx, orphan(runtime), runtime)
	case rejected != nil:
		return w.reject(ctx, pod, *rejected, gone)
	case gone, pod.DeletionTimestamp != nil, failure != nil, w.stage >= terminating, isFinal(pod.Status.Phase):
		if w.deferred != "" {
			if before := allocated(pod, runtime); before != nil {
				pod = before
			}
		}
		return w.terminate(ctx, pod, runtime)
	}
	left, overdue := deadline(pod, w.started(pod), w.m.Clock.Now())
	if overdue {
		w.event(pod, v1.EventTypeNormal, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		w.mu.Lock()
		w.failure = &status.Failure{Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
		w.mu.Unlock()
		return w.terminate(ctx, pod, runtime)
	}
	return sooner(left, w.sync(ctx, pod, runtime))
}

// reject reports a pod that was not admitted, and lets it go once it is deleted.
func (w *worker) reject(ctx context.Context, pod *v1.Pod, why status.Failure, gone bool) time.Duration {
	if gone {
		w.finish()
		return 0
	}
	if w.told["rejected"] == "" {
		put(&w.told, "rejected", why.Reason)
		w.m.Recorder.Event(pod, v1.EventTypeWarning, why.Reason, why.Message)
		w.m.Status.Set(pod, status.Reject(pod, why.Reason, why.Message, now(w.m)))
	}
	if pod.DeletionTimestamp == nil {
		return 0
	}
	return w.deleteObject(ctx, pod)
}

// started is when the node first saw the pod.
func (w *worker) started(pod *v1.Pod) time.Time {
	if s, ok := w.m.Status.Get(w.uid); ok && s.StartTime != nil {
		return s.StartTime.Time
	}
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return time.Time{}
}

// deadline says how long a pod may still be active.
func deadline(pod *v1.Pod, since, now time.Time) (left time.Duration, overdue bool) {
	if pod.Spec.ActiveDeadlineSeconds == nil || since.IsZero() {
		return 0, false
	}
	left = time.Duration(*pod.Spec.ActiveDeadlineSeconds)*time.Second - now.Sub(since)
	return max(left, 0), left <= 0
}

// report computes and sends the pod's status.
func (w *worker) report(pod *v1.Pod, terminated bool) {
	if pod.Spec.Containers == nil {
		return // only the runtime knows it
	}
	runtime := w.m.Cache.Get(w.uid)
	old, ok := w.m.Status.Get(w.uid)
	if !ok {
		old = *pod.Status.DeepCopy()
	}
	w.probe(pod, runtime, old)
	w.mu.Lock()
	failure := w.failure
	w.mu.Unlock()
	w.m.Status.Set(pod, status.Generate(status.Input{
		Pod: pod, Runtime: runtime, Old: old, Waiting: w.waiting, RuntimeName: w.m.RuntimeName, HostIPs: w.m.HostIPs,
		Started: w.m.Prober.Started, Ready: w.m.Prober.Ready, Message: w.message, Terminated: terminated, Failure: failure,
		ResizeError: w.resizeError, ResizeDeferred: w.deferred, Sized: w.isSized(pod), Now: now(w.m),
	}))
}

// event records an event of the pod, once for each text.
func (w *worker) event(pod *v1.Pod, kind, reason, message string) {
	if w.told[reason] == message {
		return
	}
	put(&w.told, reason, message)
	w.m.Recorder.Event(pod, kind, reason, message)
}

// containerEvent records an event of one container.
func (w *worker) containerEvent(pod *v1.Pod, c *v1.Container, kind criconfig.Kind, eventType, reason, message string) {
	w.m.Recorder.Event(reference(pod, c, kind), eventType, reason, message)
}

// reference points at a container of a pod.
func reference(pod *v1.Pod, c *v1.Container, kind criconfig.Kind) *v1.ObjectReference {
	list := "containers"
	switch kind {
	case criconfig.Init, criconfig.Sidecar:
		list = "initContainers"
	case criconfig.Ephemeral:
		list = "ephemeralContainers"
	}
	return &v1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: "spec." + list + "{" + c.Name + "}"}
}

// backOffAgain returns growing delays between tries that failed, and settled forgets them.
func (w *worker) backOffAgain() time.Duration {
	w.retry = min(max(w.retry*2, 500*time.Millisecond), 10*time.Second)
	return w.retry
}

func (w *worker) settled() { w.retry = 0 }

// orphan is what can be said of a pod that only the runtime knows.
func orphan(runtime *pleg.Pod) *v1.Pod {
	pod := &v1.Pod{}
	pod.UID, pod.Name, pod.Namespace = runtime.UID, runtime.Name, runtime.Namespace
	return pod
}

func isFinal(p v1.PodPhase) bool { return p == v1.PodFailed || p == v1.PodSucceeded }

// equalForeign compares the conditions that others write, which readiness gates may wait for.
func equalForeign(a, b []v1.PodCondition) bool {
	foreign := func(list []v1.PodCondition) map[v1.PodConditionType]v1.ConditionStatus {
		m := map[v1.PodConditionType]v1.ConditionStatus{}
		for _, c := range list {
			if !slices.Contains([]v1.PodConditionType{v1.PodScheduled, v1.PodReady, v1.PodInitialized, v1.ContainersReady, v1.PodReadyToStartContainers}, c.Type) {
				m[c.Type] = c.Status
			}
		}
		return m
	}
	return maps.Equal(foreign(a), foreign(b))
}
