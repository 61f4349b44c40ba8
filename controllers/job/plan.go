// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// burst is how many pods are created or deleted in one go; the rest follow once the cache has shown these.
const burst = 500

// plan is what brings a job that goes on to the number of pods it is to have: pods to remove, or else to create. wait is
// when to look again because failed pods are replaced with a delay; 0 if none is waited for.
type plan struct {
	remove []*corev1.Pod
	// create has the index of every pod to create, noIndex in jobs without.
	create []int
	wait   time.Duration
}

func (s *state) plan() plan {
	if suspended(s.job) {
		return plan{remove: s.active}
	}
	want := s.wanted()
	if remove := s.surplus(len(s.active) - want); len(remove) > 0 {
		return plan{remove: remove[:min(len(remove), burst)]}
	}
	missing := want - len(s.active)
	if replacesFailedOnly(s.job) {
		missing -= int(s.terminating)
	}
	if missing <= 0 {
		return plan{}
	}
	missing = min(missing, burst)
	if !s.perIndex() {
		if wait := s.failures.remaining(s.now); wait > 0 {
			return plan{wait: wait}
		}
	}
	if !indexed(s.job) {
		return plan{create: slices.Repeat([]int{noIndex}, missing)}
	}
	var p plan
	for _, index := range s.pending(missing) {
		wait := s.retryIn(index)
		if wait == 0 {
			p.create = append(p.create, index)
		} else if p.wait == 0 || wait < p.wait {
			p.wait = wait
		}
	}
	return p
}

// wanted is how many pods are to be active: no more than completions are missing. Without completions, none is added once
// one has succeeded, and none is removed.
func (s *state) wanted() int {
	parallelism := int(ptr.Deref(s.job.Spec.Parallelism, 1))
	switch n := s.job.Spec.Completions; {
	case n != nil:
		return max(0, min(parallelism, int(*n-s.succeeded)))
	case s.succeeded > 0:
		return len(s.active)
	default:
		return parallelism
	}
}

// pending returns the first n indexes that have not ended and have no pod.
func (s *state) pending(n int) []int {
	taken := s.done.union(s.failedIndexes).union(indexesIn(s.active))
	if replacesFailedOnly(s.job) {
		var ending []*corev1.Pod
		for _, pod := range s.pods {
			if podstate.Terminating(pod) {
				ending = append(ending, pod)
			}
		}
		taken = taken.union(indexesIn(ending))
	}
	return taken.gaps(n, s.completions())
}

// surplus returns the active pods to remove: n at least, and all whose index is wrong or taken by another.
func (s *state) surplus(n int) []*corev1.Pod {
	remove, left := []*corev1.Pod(nil), slices.Clone(s.active)
	if indexed(s.job) {
		remove, left = s.misplaced()
	}
	if more := n - len(remove); more > 0 {
		podcontrol.SortForDeletion(left, nil, s.now)
		remove = append(remove, left[:more]...)
	}
	return remove
}

func (s *state) misplaced() (remove, left []*corev1.Pod) {
	places := map[int][]*corev1.Pod{}
	for _, pod := range s.active {
		if s.hasPlace(pod) {
			places[indexOf(pod)] = append(places[indexOf(pod)], pod)
		} else {
			remove = append(remove, pod)
		}
	}
	for _, pods := range places {
		podcontrol.SortForDeletion(pods, nil, s.now)
		last := len(pods) - 1
		remove, left = append(remove, pods[:last]...), append(left, pods[last])
	}
	return remove, left
}
