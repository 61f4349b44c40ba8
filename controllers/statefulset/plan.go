// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hivemind-project/hivemind/controllers/internal/history"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// verb is what a step does to a pod, as events call it.
type verb string

const (
	create verb = "Create"
	remove verb = "Delete"
	mend   verb = "Update" // identity or volumes are not the set's
	tend   verb = "Tend"   // to the claims of a pod alone
)

type step struct {
	verb verb
	pod  *corev1.Pod
}

// plan is steps that are taken one after the other, or all at once.
type plan struct {
	steps   []step
	ordered bool
}

// world is a set and what there is of it.
type world struct {
	set             *appsv1.StatefulSet
	current, update history.Revision
	now             time.Time
	pods            []*corev1.Pod
	replicas        []*corev1.Pod // by ordinal from the first one on; nil where there is none
	condemned       []*corev1.Pod // beyond the set's size, highest ordinal first
}

func newWorld(set *appsv1.StatefulSet, pods []*corev1.Pod, current, update history.Revision, now time.Time) *world {
	w := &world{set: set, current: current, update: update, now: now, pods: pods, replicas: make([]*corev1.Pod, *set.Spec.Replicas)}
	for _, pod := range pods {
		n, ok := ordinal(set, pod.Name)
		switch i := n - first(set); {
		case !ok:
		case i >= 0 && i < len(w.replicas):
			w.replicas[i] = pod
		default:
			w.condemned = append(w.condemned, pod)
		}
	}
	slices.SortFunc(w.condemned, func(a, b *corev1.Pod) int {
		x, _ := ordinal(set, a.Name)
		y, _ := ordinal(set, b.Name)
		return y - x
	})
	return w
}

// plan returns what has to be done next. An ordered set waits for each pod before it goes on to the next one, and changes
// templates only once all are there.
func (w *world) plan() plan {
	p := plan{ordered: w.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement}
	add := func(v verb, pod *corev1.Pod) { p.steps = append(p.steps, step{v, pod}) }
	for i, pod := range w.replicas {
		switch {
		case pod == nil:
			add(create, w.newPod(first(w.set)+i))
			if p.ordered {
				return p
			}
			continue
		case podstate.Terminal(pod):
			if pod.DeletionTimestamp == nil {
				add(remove, pod)
			}
			if p.ordered {
				return p
			}
			continue
		}
		if pod.Status.Phase == corev1.PodPending {
			add(tend, pod)
		}
		if p.ordered && !w.settled(pod) {
			return p
		}
		if mended := identified(w.set, pod); mended != nil {
			add(mend, mended)
		} else if pod.Status.Phase != corev1.PodPending {
			add(tend, pod)
		}
	}

	broken := w.firstUnavailable()
	for _, pod := range w.condemned {
		if pod.DeletionTimestamp != nil {
			if p.ordered {
				return p
			}
			continue
		}
		// An ordered set does not shrink while another pod is broken, or two would be missing.
		if p.ordered && !w.settled(pod) && pod != broken {
			return p
		}
		add(tend, pod)
		add(remove, pod)
		if p.ordered {
			return p
		}
	}
	if w.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		for _, pod := range w.outdated() {
			add(remove, pod)
		}
	}
	return p
}

// outdated returns the pods to replace next for they are of an old template, highest ordinal first, none below the
// partition.
func (w *world) outdated() []*corev1.Pod {
	partition, limit := 0, 1
	if ru := w.set.Spec.UpdateStrategy.RollingUpdate; ru != nil {
		if ru.Partition != nil {
			partition = int(*ru.Partition)
		}
		if n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxUnavailable, intstr.FromInt32(1)), len(w.replicas), false); err == nil {
			limit = max(1, n)
		}
	}
	budget := limit
	for _, pod := range w.replicas {
		if !w.available(pod) {
			budget--
		}
	}
	var old []*corev1.Pod
	for i := len(w.replicas) - 1; i >= partition; i-- {
		pod := w.replicas[i]
		if pod == nil || podstate.Terminal(pod) {
			if limit == 1 {
				return old
			}
			continue
		}
		stale := pod.Labels[appsv1.StatefulSetRevisionLabel] != w.update.Name && pod.DeletionTimestamp == nil
		switch {
		case stale && !w.available(pod): // costs nothing
			old = append(old, pod)
		case stale && budget > 0:
			old = append(old, pod)
			budget--
		case stale:
			return old
		}
		// One at a time, and none while a later one is not there yet.
		if limit == 1 && (stale || !w.available(pod)) {
			return old
		}
	}
	return old
}

// settled reports whether an ordered set may go on past the pod.
func (w *world) settled(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && w.available(pod)
}

func (w *world) available(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && podstate.Available(pod, w.set.Spec.MinReadySeconds, w.now)
}

// firstUnavailable is the pod of the lowest ordinal that is not available; nil if that is one yet to be made.
func (w *world) firstUnavailable() *corev1.Pod {
	for _, pod := range w.replicas {
		if !w.available(pod) {
			return pod
		}
	}
	for i := len(w.condemned) - 1; i >= 0; i-- {
		if !w.available(w.condemned[i]) {
			return w.condemned[i]
		}
	}
	return nil
}

// status counts the pods there are. Once all are of the update revision, that is the current one.
func (w *world) status(collisions int32) appsv1.StatefulSetStatus {
	status := appsv1.StatefulSetStatus{
		ObservedGeneration: w.set.Generation,
		CurrentRevision:    w.current.Name,
		UpdateRevision:     w.update.Name,
		CollisionCount:     &collisions,
		Conditions:         w.set.Status.Conditions,
	}
	for _, pod := range w.pods {
		if pod.Status.Phase == "" {
			continue
		}
		status.Replicas++
		if pod.Status.Phase == corev1.PodRunning && podstate.Ready(pod) {
			status.ReadyReplicas++
			if podstate.Available(pod, w.set.Spec.MinReadySeconds, w.now) {
				status.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		switch revision := pod.Labels[appsv1.StatefulSetRevisionLabel]; {
		case revision == w.current.Name && revision == w.update.Name:
			status.CurrentReplicas++
			status.UpdatedReplicas++
		case revision == w.current.Name:
			status.CurrentReplicas++
		case revision == w.update.Name:
			status.UpdatedReplicas++
		}
	}
	want := *w.set.Spec.Replicas
	if w.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		status.UpdatedReplicas == want && status.ReadyReplicas == want && status.Replicas == want {
		status.CurrentReplicas, status.CurrentRevision = status.UpdatedReplicas, status.UpdateRevision
	}
	return status
}
