// SPDX-License-Identifier: Apache-2.0

package daemonset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// world is a set and what there is of it.
type world struct {
	ds    *appsv1.DaemonSet
	hash  string
	now   time.Time
	nodes []place
	// strays are pods that wait for a node which does not exist.
	strays []*corev1.Pod
}

// place is a node with its pods of the set, oldest first.
type place struct {
	node      string
	run, stay bool
	pods      []*corev1.Pod
}

// actions are the nodes that get a pod and the pods that go. again is when to look again though nothing changes.
type actions struct {
	create []string
	remove []*corev1.Pod
	again  time.Duration
}

func newWorld(ds *appsv1.DaemonSet, nodes []*corev1.Node, pods []*corev1.Pod, hash string, now time.Time) *world {
	on := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		on[nodeOf(pod)] = append(on[nodeOf(pod)], pod)
	}
	w := &world{ds: ds, hash: hash, now: now}
	template := podTemplate(ds, hash)
	for _, node := range slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) }) {
		p := place{node: node.Name, pods: on[node.Name]}
		p.run, p.stay = fits(ds, &template.Spec, node)
		slices.SortFunc(p.pods, func(a, b *corev1.Pod) int {
			return cmp.Or(assigned(b)-assigned(a), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		w.nodes = append(w.nodes, p)
		delete(on, node.Name)
	}
	for _, node := range slices.Sorted(maps.Keys(on)) {
		for _, pod := range on[node] {
			if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
				w.strays = append(w.strays, pod)
			}
		}
	}
	return w
}

// manage gives a pod to every node that is to have one and has none, and takes away what is too much, ended, or where it
// should not be. replaceAfter is asked how long a failed pod has to stay yet.
func (w *world) manage(replaceAfter func(*corev1.Pod) time.Duration) actions {
	do := actions{remove: slices.Clone(w.strays)}
	surge, _ := w.limits()
	for _, p := range w.nodes {
		if !p.stay {
			for _, pod := range p.pods {
				if pod.DeletionTimestamp == nil {
					do.remove = append(do.remove, pod)
				}
			}
			continue
		}
		var running []*corev1.Pod
		for _, pod := range p.pods {
			switch {
			case pod.DeletionTimestamp != nil:
			case pod.Status.Phase == corev1.PodFailed:
				if wait := replaceAfter(pod); wait == 0 {
					do.remove = append(do.remove, pod)
				} else if do.again == 0 || wait < do.again {
					do.again = wait
				}
			case pod.Status.Phase == corev1.PodSucceeded:
				do.remove = append(do.remove, pod)
			default:
				running = append(running, pod)
			}
		}
		// Without a surge the old pod must be gone before the next one comes: they may want the same port.
		if p.run && (len(p.pods) == 0 || (surge > 0 && len(running) == 0)) {
			do.create = append(do.create, p.node)
		}
		if len(running) < 2 {
			continue
		}
		if surge == 0 {
			do.remove = append(do.remove, running[1:]...)
			continue
		}
		var fresh, old *corev1.Pod
		for _, pod := range running {
			switch {
			case w.updated(pod) && fresh == nil:
				fresh = pod
			case !w.updated(pod) && old == nil:
				old = pod
			default:
				do.remove = append(do.remove, pod)
			}
		}
		if fresh != nil && old != nil && (!podstate.Ready(old) || w.available(fresh)) {
			do.remove = append(do.remove, old)
		}
	}
	return do
}

// roll replaces pods of an old template, as many at a time as may be unavailable or surplus. It adds to do.
func (w *world) roll(do actions) actions {
	surge, unavailable := w.limits()
	var broken, sound []*corev1.Pod // old pods that cost nothing to replace, and those that do
	var brokenNodes, soundNodes []string
	for _, p := range w.nodes {
		if !p.run {
			continue // what is deleted there would not come back
		}
		var fresh, old *corev1.Pod
		crowded := false
		for _, pod := range p.pods {
			if pod.DeletionTimestamp != nil {
				continue
			}
			if w.updated(pod) {
				crowded = crowded || fresh != nil
				fresh = pod
			} else {
				crowded = crowded || old != nil
				old = pod
			}
		}
		switch {
		case crowded, old == nil && fresh == nil:
			unavailable-- // settles first
			surge--
		case old == nil:
			if !w.available(fresh) {
				unavailable--
			}
		case fresh != nil:
			if surge > 0 && w.available(fresh) {
				do.remove = append(do.remove, old)
			} else {
				surge--
				unavailable--
			}
		case !w.available(old):
			broken, brokenNodes = append(broken, old), append(brokenNodes, p.node)
			unavailable--
		default:
			sound, soundNodes = append(sound, old), append(soundNodes, p.node)
		}
	}
	if allowed, _ := w.limits(); allowed > 0 {
		do.create = append(append(do.create, brokenNodes...), soundNodes[:max(0, min(surge, len(soundNodes)))]...)
		return do
	}
	do.remove = append(append(do.remove, broken...), sound[:max(0, min(unavailable, len(sound)))]...)
	return do
}

// limits are how many nodes may have a second pod and how many may be without one during an update. Only one of them is
// not zero.
func (w *world) limits() (surge, unavailable int) {
	desired := 0
	for _, p := range w.nodes {
		if p.run {
			desired++
		}
	}
	ru := w.ds.Spec.UpdateStrategy.RollingUpdate
	if w.ds.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || ru == nil {
		return 0, 0
	}
	resolve := func(value *intstr.IntOrString, otherwise int32) int {
		// Validation has refused what cannot be resolved.
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(value, intstr.FromInt32(otherwise)), desired, true)
		if err != nil {
			return 0
		}
		return n
	}
	surge, unavailable = resolve(ru.MaxSurge, 0), resolve(ru.MaxUnavailable, 1)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// status counts nodes. Unless the pods were acted on, the generation is not said to be observed.
func (w *world) status(observed bool, collisions int32) appsv1.DaemonSetStatus {
	status := appsv1.DaemonSetStatus{ObservedGeneration: w.ds.Status.ObservedGeneration, CollisionCount: w.ds.Status.CollisionCount, Conditions: w.ds.Status.Conditions}
	if observed {
		status.ObservedGeneration = w.ds.Generation
	}
	if collisions > 0 {
		status.CollisionCount = &collisions
	}
	for _, p := range w.nodes {
		if !p.run {
			if len(p.pods) > 0 {
				status.NumberMisscheduled++
			}
			continue
		}
		status.DesiredNumberScheduled++
		if len(p.pods) == 0 {
			continue
		}
		status.CurrentNumberScheduled++
		pod := p.pods[0]
		if podstate.Ready(pod) {
			status.NumberReady++
		}
		if w.available(pod) {
			status.NumberAvailable++
		}
		if slices.ContainsFunc(p.pods, w.updated) {
			status.UpdatedNumberScheduled++
		}
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return status
}

func (w *world) updated(pod *corev1.Pod) bool {
	return pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == w.hash
}

func (w *world) available(pod *corev1.Pod) bool {
	return podstate.Available(pod, w.ds.Spec.MinReadySeconds, w.now)
}

func assigned(pod *corev1.Pod) int {
	if pod.Spec.NodeName == "" {
		return 0
	}
	return 1
}
