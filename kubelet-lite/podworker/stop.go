// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

const minGrace = 2 // seconds that every container gets between TERM and KILL

// stop is a container that is being stopped: hook, turn, signal.
type stop struct {
	deadline time.Time
	cancel   context.CancelFunc
	turn     chan struct{} // closed when it may be signalled
	called   bool
}

// stopContainer begins to stop a container, or shortens the grace of one that is being stopped. It does not wait.
func (w *worker) stopContainer(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod, c pleg.Container, spec *v1.Container, why string, grace int64) {
	deadline := w.m.Clock.Now().Add(time.Duration(grace) * time.Second)
	w.mu.Lock()
	before := w.stopping[c.ID]
	if before != nil && !deadline.Before(before.deadline.Add(-time.Second)) {
		w.mu.Unlock()
		return
	}
	if before != nil {
		before.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stop{deadline: deadline, cancel: cancel, turn: make(chan struct{})}
	put(&w.stopping, c.ID, s)
	w.mu.Unlock()
	if before == nil {
		if why == "" {
			why = "Stopping container " + c.Name
		}
		if spec != nil {
			w.containerEvent(pod, spec, kindOf(pod, spec.Name), v1.EventTypeNormal, "Killing", why)
		}
	}
	if w.mayStop(pod, runtime, c.Name) {
		s.begin()
	}
	ip := ""
	if ips := runtime.IPs(); len(ips) > 0 {
		ip = ips[0]
	}
	hook := before == nil && spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && grace > 0
	if !w.m.begin() {
		cancel()
		return
	}
	go func() {
		defer w.m.running.Done()
		defer cancel()
		if hook {
			w.preStop(ctx, pod, spec, c, ip, deadline)
		}
		w.signal(ctx, s, c)
		w.mu.Lock()
		if w.stopping[c.ID] == s {
			delete(w.stopping, c.ID)
		}
		w.mu.Unlock()
		w.wake()
	}()
}

// preStop runs a container's hook, for as long as the grace lasts.
func (w *worker) preStop(ctx context.Context, pod *v1.Pod, spec *v1.Container, c pleg.Container, ip string, deadline time.Time) {
	ctx, cancel := context.WithTimeout(ctx, deadline.Sub(w.m.Clock.Now()))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.m.Hooks.Run(ctx, pod, spec, c.ID, ip, spec.Lifecycle.PreStop) }()
	select {
	case err := <-done:
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("PreStop hook failed", "container", spec.Name, "err", err)
			w.containerEvent(pod, spec, kindOf(pod, spec.Name), v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
	case <-ctx.Done(): // the grace is over, or has been shortened
	}
}

// signal waits for the container's turn and has the runtime stop it, with what is left of the grace.
func (w *worker) signal(ctx context.Context, s *stop, c pleg.Container) {
	left := s.deadline.Sub(w.m.Clock.Now())
	if left > 0 {
		timer := w.m.Clock.NewTimer(left)
		select {
		case <-s.turn:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
	if ctx.Err() != nil {
		return // another stop, with less grace, has taken over
	}
	seconds := max(int64(s.deadline.Sub(w.m.Clock.Now()).Round(time.Second)/time.Second), minGrace)
	// Once asked for, a stop is not taken back: the next one, if any, is asked for beside it.
	if err := w.m.Runtime.StopContainer(w.m.ctx, c.ID, seconds); err != nil && w.m.ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Container cannot be stopped yet", "container", c.ID, "grace", seconds)
		select {
		case <-w.m.Clock.After(time.Second): // before the next try
		case <-w.m.ctx.Done():
		}
		return
	}
	w.look(w.m.ctx, c.SandboxID, c.ID)
}

// begin lets a container be signalled.
func (s *stop) begin() {
	if !s.called {
		s.called = true
		close(s.turn)
	}
}

// nextTurns lets those containers be signalled for which nothing that must end before them runs any more.
func (w *worker) nextTurns(pod *v1.Pod, runtime *pleg.Pod) {
	for _, c := range runtime.Live() {
		if w.mayStop(pod, runtime, c.Name) {
			w.mu.Lock()
			if s := w.stopping[c.ID]; s != nil {
				s.begin()
			}
			w.mu.Unlock()
		}
	}
}

// mayStop says whether it is a container's turn: sidecars end after the containers that they serve, in reverse order (KEP-753).
// While the pod goes on there is no order.
func (w *worker) mayStop(pod *v1.Pod, runtime *pleg.Pod, name string) bool {
	if w.stage == alive || kindOf(pod, name) != criconfig.Sidecar {
		return true
	}
	for _, c := range runtime.Live() {
		switch kindOf(pod, c.Name) {
		case criconfig.Regular:
			return false
		case criconfig.Sidecar:
			if place(pod, c.Name) > place(pod, name) {
				return false
			}
		}
	}
	return true
}

func place(pod *v1.Pod, name string) int {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return i
		}
	}
	return -1
}

func (w *worker) isStopping(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping[id] != nil
}

func (w *worker) anyStopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stopping) > 0
}

// grace is how long, in seconds, the pod's containers get to end by themselves.
func (w *worker) grace(pod *v1.Pod) int64 {
	w.mu.Lock()
	override, gone := w.graceOverride, w.gone
	w.mu.Unlock()
	switch {
	case override != nil:
		return *override
	case pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil:
		return max(*pod.DeletionGracePeriodSeconds, 1)
	case gone && pod.DeletionTimestamp == nil:
		return 1 // it was removed from the API without grace
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return minGrace
}
