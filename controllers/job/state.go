// SPDX-License-Identifier: Apache-2.0

package job

import (
	"math"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// state is a job and its pods at one moment, with what follows from them before anything is done.
type state struct {
	job  *batchv1.Job // the sync's own copy
	now  time.Time
	pods []*corev1.Pod
	// released are pods that the tracking finalizer has been taken from, though the cache may still show it.
	released sets.Set[types.UID]
	// noted are the pods that the status holds as finished and not yet counted.
	notedSucceeded, notedFailed sets.Set[types.UID]

	active             []*corev1.Pod
	ready, terminating int32
	// succeeded and failed count all pods that ended, those of this moment included.
	succeeded, failed int32
	failures          failures

	// Of indexed jobs: the indexes that had succeeded by the last status and those that have by now.
	doneBefore, done indexes
	// Of jobs with a backoff limit per index: the indexes that have failed for good, and the last failed pod of those that
	// are to be tried again. It stays until its successor has its count of failures.
	failedIndexes indexes
	held          map[int]*corev1.Pod
}

// observe reads the job's pods. before are the failures that are known of already.
func observe(job *batchv1.Job, pods []*corev1.Pod, released sets.Set[types.UID], before failures, now time.Time) *state {
	noted := ptr.Deref(job.Status.UncountedTerminatedPods, batchv1.UncountedTerminatedPods{})
	s := &state{
		job: job, now: now, pods: pods, released: released,
		notedSucceeded: sets.New(noted.Succeeded...), notedFailed: sets.New(noted.Failed...),
	}
	var newSucceeded, newFailed []*corev1.Pod
	for _, pod := range pods {
		switch {
		case podstate.Active(pod):
			s.active = append(s.active, pod)
			if podstate.Ready(pod) {
				s.ready++
			}
		case podstate.Terminating(pod):
			s.terminating++
		}
		if !s.counts(pod) {
			continue
		}
		if pod.Status.Phase == corev1.PodSucceeded && !s.notedSucceeded.Has(pod.UID) {
			newSucceeded = append(newSucceeded, pod)
		}
		if failed(job, pod) && !s.notedFailed.Has(pod.UID) {
			newFailed = append(newFailed, pod)
		}
	}
	s.failures = before.after(newSucceeded, newFailed)
	s.succeeded = job.Status.Succeeded + int32(len(newSucceeded)+len(s.notedSucceeded))
	s.failed = job.Status.Failed + int32(len(s.notedFailed))
	for _, pod := range newFailed {
		if judge(job.Spec.PodFailurePolicy, pod).counts() {
			s.failed++
		}
	}
	if indexed(job) {
		s.observeIndexes()
	}
	return s
}

func (s *state) observeIndexes() {
	completions := s.completions()
	s.doneBefore = parseIndexes(s.job.Status.CompletedIndexes, completions)
	var done, lost []int
	for _, pod := range s.pods {
		if !tracked(pod) || !s.hasPlace(pod) {
			continue
		}
		if pod.Status.Phase == corev1.PodSucceeded {
			done = append(done, indexOf(pod))
		} else if s.perIndex() && s.failsIndex(pod) {
			lost = append(lost, indexOf(pod))
		}
	}
	s.done = s.doneBefore.union(indexesOf(done...))
	s.succeeded = int32(s.done.total())
	if !s.perIndex() {
		return
	}
	s.failedIndexes = parseIndexes(ptr.Deref(s.job.Status.FailedIndexes, ""), completions).union(indexesOf(lost...))
	s.hold()
}

// failsIndex reports whether the failure of the pod is the last that its index may have.
func (s *state) failsIndex(pod *corev1.Pod) bool {
	if !failed(s.job, pod) {
		return false
	}
	verdict := judge(s.job.Spec.PodFailurePolicy, pod)
	counted, _ := failureCounts(pod)
	return verdict.action == batchv1.PodFailurePolicyActionFailIndex || verdict.counts() && counted >= *s.job.Spec.BackoffLimitPerIndex
}

// hold finds the last failed pod of every index that waits for a new one.
func (s *state) hold() {
	s.held = map[int]*corev1.Pod{}
	running := indexesIn(s.active)
	for _, pod := range s.pods {
		index := indexOf(pod)
		if !s.counts(pod) || !failed(s.job, pod) || s.done.has(index) || s.failedIndexes.has(index) || running.has(index) {
			continue
		}
		if last := s.held[index]; last == nil || allFailures(last) <= allFailures(pod) && !finishedAt(pod).Before(finishedAt(last)) {
			s.held[index] = pod
		}
	}
}

// allFailures is how many pods of the index failed before this one.
func allFailures(pod *corev1.Pod) int32 {
	counted, ignored := failureCounts(pod)
	return int32(min(int64(counted)+int64(ignored), math.MaxInt32-1))
}

// retryIn is how long the index has to wait for its next pod.
func (s *state) retryIn(index int) time.Duration {
	pod := s.held[index]
	if pod == nil {
		return 0
	}
	return failures{allFailures(pod) + 1, finishedAt(pod)}.remaining(s.now)
}

// counts reports whether the pod is still to be counted, or will be once it ends.
func (s *state) counts(pod *corev1.Pod) bool { return s.tracks(pod) && s.hasPlace(pod) }

func (s *state) tracks(pod *corev1.Pod) bool { return tracked(pod) && !s.released.Has(pod.UID) }

// hasPlace reports whether the pod has an index that belongs to the job, where pods need one.
func (s *state) hasPlace(pod *corev1.Pod) bool {
	index := indexOf(pod)
	return !indexed(s.job) || index != noIndex && index < s.completions()
}

func (s *state) completions() int { return int(ptr.Deref(s.job.Spec.Completions, 0)) }

func (s *state) perIndex() bool { return indexed(s.job) && s.job.Spec.BackoffLimitPerIndex != nil }

func indexed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func suspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }

func indexesIn(pods []*corev1.Pod) indexes {
	var all []int
	for _, pod := range pods {
		if index := indexOf(pod); index != noIndex {
			all = append(all, index)
		}
	}
	return indexesOf(all...)
}

// restarts is how often the containers of pods that still run were restarted.
func restarts(pods []*corev1.Pod) int32 {
	var n int32
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			n += status.RestartCount
		}
	}
	return n
}
