// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// longestNote is how long the message of an event may be.
const longestNote = 1024

// bind waits for what the pod needs on its node and binds it there. What fails is taken back, and the pod is tried again.
func (s *Scheduler) bind(ctx context.Context, p *queued, to *placement) {
	err := s.bindTo(ctx, to)
	if err == nil {
		to.giveBack() // the API server's objects say the same now
		s.queue.done(p)
		s.recorder.Eventf(to.pod.Pod, nil, v1.EventTypeNormal, "Scheduled", "Binding",
			"Successfully assigned %v/%v to %v", to.pod.Namespace, to.pod.Name, to.node.Name)
		return
	}
	to.giveBack()
	s.mu.Lock()
	s.cluster.Forget(to.pod.UID)
	s.mu.Unlock()
	s.queue.wake(state.PodRemoved)
	if ctx.Err() == nil {
		s.fail(ctx, p, &failure{message: err.Error(), errored: true})
	}
}

func (s *Scheduler) bindTo(ctx context.Context, to *placement) error {
	for _, j := range to.judges {
		if j.PreBind == nil {
			continue
		}
		if err := j.PreBind(ctx, to.node.Node); err != nil {
			return fmt.Errorf("running PreBind plugin %q: %w", j.Name(), err)
		}
	}
	defer s.slot(ctx)()
	err := s.client.CoreV1().Pods(to.pod.Namespace).Bind(ctx, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: to.pod.Namespace, Name: to.pod.Name, UID: to.pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: to.node.Name},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("running Bind plugin %q: %w", "DefaultBinder", err)
	}
	return nil
}

// slot waits for leave to write; what it returns gives it back.
func (s *Scheduler) slot(ctx context.Context) func() {
	select {
	case s.writes <- struct{}{}:
		return func() { <-s.writes }
	case <-ctx.Done():
		return func() {}
	}
}

// fail puts the pod back into the queue and tells why, in an event and in its PodScheduled condition.
func (s *Scheduler) fail(ctx context.Context, p *queued, f *failure) {
	logger := klog.FromContext(ctx)
	now, err := s.pods.Pods(p.pod.Namespace).Get(p.pod.Name)
	if err != nil || now.UID != p.pod.UID || now.Spec.NodeName != "" || now.DeletionTimestamp != nil {
		s.queue.done(p) // deleted, or bound after all
		return
	}
	ready, err := state.NewPod(now)
	if err != nil {
		ready = p.pod
	}
	s.queue.retry(p, ready, f.waitsFor, f.errored)
	reason := v1.PodReasonUnschedulable
	if f.errored {
		reason = v1.PodReasonSchedulerError
		logger.Error(nil, "Error scheduling pod; retrying", "pod", klog.KObj(now), "err", f.message)
	}
	s.recorder.Eventf(now, nil, v1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", shorten(f.message))
	condition := v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: reason, Message: f.message,
		ObservedGeneration: now.Generation}
	nominated := now.Status.NominatedNodeName
	if f.denied || f.errored {
		nominated = ""
	}
	if f.room != nil {
		nominated = f.room.node
	}
	s.tell(ctx, notice{now, condition, nominated, f.room})
}

// notice is what is to be written about a pod that was not placed, and the room that is to be made for it.
type notice struct {
	pod       *v1.Pod
	condition v1.PodCondition
	nominated string
	room      *candidate
}

// tellers is how many notices may be under way at once. They are fewer than bindings, so that a crowd of pods that cannot be placed keeps neither
// those that can from their nodes nor clients from the API server.
const tellers = 2

// notices are those that wait.
type notices struct {
	mu      sync.Mutex
	waiting []notice
	running int
}

// tell writes the notice soon. One that makes room does not wait for others.
func (s *Scheduler) tell(ctx context.Context, n notice) {
	if n.room != nil {
		s.running.Go(func() { s.write(ctx, n) })
		return
	}
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	s.notices.waiting = append(s.notices.waiting, n)
	if s.notices.running < tellers {
		s.notices.running++
		s.running.Go(func() {
			for n, ok := s.notices.next(); ok; n, ok = s.notices.next() {
				s.write(ctx, n)
			}
		})
	}
}

// next is the notice that has waited longest; where there is none, whoever asks is to end.
func (q *notices) next() (n notice, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		q.running--
		return n, false
	}
	n, q.waiting[0] = q.waiting[0], notice{}
	q.waiting = q.waiting[1:]
	return n, true
}

func (s *Scheduler) write(ctx context.Context, n notice) {
	logger := klog.FromContext(ctx)
	if ctx.Err() != nil {
		return
	}
	if err := s.patchUnplaced(ctx, n); err != nil && ctx.Err() == nil {
		logger.Error(err, "Error updating pod", "pod", klog.KObj(n.pod))
	}
	if n.room != nil {
		s.makeRoom(ctx, n.pod, n.room)
	}
}

// patchUnplaced writes the notice unless the pod has been placed since.
func (s *Scheduler) patchUnplaced(ctx context.Context, n notice) (err error) {
	for range 3 {
		now, notFound := s.pods.Pods(n.pod.Namespace).Get(n.pod.Name)
		if notFound != nil || now.UID != n.pod.UID || now.Spec.NodeName != "" || now.DeletionTimestamp != nil {
			return nil
		}
		if err = s.patchStatus(ctx, now, n.condition, n.nominated, now.ResourceVersion); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

// makeRoom deletes the victims, who are told why in their status and by an event, and takes back what less important pods were promised
// on the node.
func (s *Scheduler) makeRoom(ctx context.Context, pod *v1.Pod, room *candidate) {
	logger := klog.FromContext(ctx)
	for _, victim := range room.victims {
		condition := v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonPreemptionByScheduler,
			Message: s.options.Name + ": preempting to accommodate a higher priority pod", ObservedGeneration: victim.Generation}
		err := s.patchStatus(ctx, victim.Pod, condition, victim.Status.NominatedNodeName, "")
		if err == nil {
			err = s.client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name,
				metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &victim.UID}})
		}
		if err != nil {
			if !apierrors.IsNotFound(err) && ctx.Err() == nil {
				logger.Error(err, "Could not preempt pod", "pod", klog.KObj(victim), "preemptor", klog.KObj(pod))
			}
			continue
		}
		s.recorder.Eventf(victim.Pod, pod, v1.EventTypeNormal, "Preempted", "Preempting",
			"Preempted by pod %v on node %v", pod.UID, room.node)
	}
	var lesser []*state.Pod
	s.mu.Lock()
	priority := int32(0)
	if pod.Spec.Priority != nil {
		priority = *pod.Spec.Priority
	}
	for _, other := range s.cluster.Nominated(room.node) {
		if other.Priority() < priority {
			lesser = append(lesser, other)
		}
	}
	for _, other := range lesser {
		s.cluster.Denominate(other.UID)
	}
	s.mu.Unlock()
	for _, other := range lesser {
		if err := s.patchStatus(ctx, other.Pod, v1.PodCondition{}, "", ""); err != nil && ctx.Err() == nil {
			logger.Error(err, "Cannot clear 'NominatedNodeName' field of pod", "pod", klog.KObj(other))
		}
	}
}

// patchStatus writes a condition (none where its type is empty) and the nominated node, where that changes anything: to that version of the pod,
// or to any where it is empty.
func (s *Scheduler) patchStatus(ctx context.Context, pod *v1.Pod, condition v1.PodCondition, nominated, version string) error {
	patch := statusPatch(pod, condition, nominated, metav1.NewTime(s.options.Clock.Now()))
	if patch == nil {
		return nil
	}
	if version != "" {
		patch["metadata"].(map[string]any)["resourceVersion"] = version
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("write status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	defer s.slot(ctx)()
	_, err = s.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// statusPatch is the strategic merge patch for patchStatus, nil where there is nothing to write.
func statusPatch(pod *v1.Pod, condition v1.PodCondition, nominated string, now metav1.Time) map[string]any {
	status := map[string]any{}
	if pod.Status.NominatedNodeName != nominated {
		status["nominatedNodeName"] = nil
		if nominated != "" {
			status["nominatedNodeName"] = nominated
		}
	}
	if condition.Type != "" {
		i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == condition.Type })
		condition.LastTransitionTime = now
		changed := true
		if i >= 0 {
			old := pod.Status.Conditions[i]
			if old.Status == condition.Status {
				condition.LastTransitionTime = old.LastTransitionTime
			}
			changed = old.Status != condition.Status || old.Reason != condition.Reason || old.Message != condition.Message
		}
		if changed {
			status["conditions"] = []v1.PodCondition{condition}
		}
	}
	if len(status) == 0 {
		return nil
	}
	return map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status}
}

// shorten cuts a message to what an event holds.
func shorten(message string) string {
	if len(message) <= longestNote {
		return message
	}
	const more = " ..."
	return message[:longestNote-len(more)] + more
}
