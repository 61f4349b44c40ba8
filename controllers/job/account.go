// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// maxNoted is how many finished pods are counted in one sync: their UIDs stand in the status meanwhile, 20 KB of them.
const maxNoted = 500

// Every pod is counted exactly once, whenever this process ends: first the pod is noted in the status, by its UID or by
// its index, then it loses the tracking finalizer, which has kept it from vanishing uncounted, and then a number takes the
// place of the note (KEP-2307).

// account is what one sync counts.
type account struct {
	// release are the pods to take the finalizer from, once the status is stored.
	release []*corev1.Pod
	// tracked are the pods that had the finalizer.
	tracked sets.Set[types.UID]
	// full says that there are more pods to count than one sync may.
	full bool
	// last is the condition that is to be set once everything is counted and all pods have ended.
	last *batchv1.JobCondition
}

// account notes finished pods and the verdict in the status.
func (s *state) account(verdict *batchv1.JobCondition) account {
	status := &s.job.Status
	if status.UncountedTerminatedPods == nil {
		status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	a := account{tracked: sets.New[types.UID]()}
	for _, pod := range s.pods {
		if s.tracks(pod) {
			a.tracked.Insert(pod.UID)
		}
	}
	settle(status, a.tracked)
	s.note(&a, verdict)
	if indexed(s.job) {
		s.noteIndexes()
	}
	if verdict == nil {
		return a
	}
	a.last = s.is(batchv1.JobFailed, verdict.Reason, verdict.Message)
	if verdict.Type == batchv1.JobSuccessCriteriaMet {
		a.last.Type = batchv1.JobComplete
	}
	if verdict.Type != batchv1.JobFailed && condition(s.job, verdict.Type) == nil {
		status.Conditions = append(status.Conditions, *verdict)
	}
	return a
}

func (s *state) note(a *account, verdict *batchv1.JobCondition) {
	notes := s.job.Status.UncountedTerminatedPods
	indexesNoted := 0
	for _, pod := range s.inOrder() {
		ended := failed(s.job, pod)
		if !s.tracks(pod) || !s.releases(pod, ended, verdict) {
			continue
		}
		a.release = append(a.release, pod)
		switch {
		case pod.Status.Phase == corev1.PodSucceeded && !s.notedFailed.Has(pod.UID):
			if indexed(s.job) {
				if s.hasPlace(pod) && !s.doneBefore.has(indexOf(pod)) {
					indexesNoted++
				}
			} else if !s.notedSucceeded.Has(pod.UID) {
				notes.Succeeded = append(notes.Succeeded, pod.UID)
			}
		case ended || verdict != nil && verdict.Type != batchv1.JobSuccessCriteriaMet:
			// What still ran when the job failed has failed as well.
			if !s.notedFailed.Has(pod.UID) && s.hasPlace(pod) && judge(s.job.Spec.PodFailurePolicy, pod).counts() {
				notes.Failed = append(notes.Failed, pod.UID)
			}
		}
		if indexesNoted+len(notes.Succeeded)+len(notes.Failed) >= maxNoted {
			a.full = true
			return
		}
	}
}

// inOrder returns the pods by index, so that a status of many indexes grows from its front.
func (s *state) inOrder() []*corev1.Pod {
	if !indexed(s.job) {
		return s.pods
	}
	return slices.SortedStableFunc(slices.Values(s.pods), byIndex)
}

// releases reports whether the pod may go: it ended, or the job does. A failed pod whose successor is yet to be created
// has to stay, for it knows how many failures its index had.
func (s *state) releases(pod *corev1.Pod, ended bool, verdict *batchv1.JobCondition) bool {
	if s.job.DeletionTimestamp != nil || verdict != nil || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if !ended {
		return false
	}
	held := s.held[indexOf(pod)]
	return held == nil || held.UID != pod.UID
}

// noteIndexes writes the indexes that have ended into the status.
func (s *state) noteIndexes() {
	status := &s.job.Status
	status.CompletedIndexes, status.FailedIndexes, status.Succeeded = s.done.String(), nil, int32(s.done.total())
	if s.perIndex() {
		status.FailedIndexes = ptr.To(s.failedIndexes.String())
	}
}

// settle counts the noted pods that have lost their finalizer.
func settle(status *batchv1.JobStatus, tracked sets.Set[types.UID]) {
	notes := status.UncountedTerminatedPods
	count := func(list []types.UID) ([]types.UID, int32) {
		left := slices.DeleteFunc(slices.Clone(list), func(uid types.UID) bool { return !tracked.Has(uid) })
		return left, int32(len(list) - len(left))
	}
	var succeeded, failed int32
	notes.Succeeded, succeeded = count(notes.Succeeded)
	notes.Failed, failed = count(notes.Failed)
	status.Succeeded += succeeded
	status.Failed += failed
}

// finish sets the last condition, unless pods are still to be counted or have not ended yet.
func finish(job *batchv1.Job, last *batchv1.JobCondition) bool {
	status := &job.Status
	notes := ptr.Deref(status.UncountedTerminatedPods, batchv1.UncountedTerminatedPods{})
	if last == nil || len(notes.Succeeded)+len(notes.Failed) > 0 || ptr.Deref(status.Terminating, 0) > 0 {
		return false
	}
	setCondition(status, last)
	if last.Type == batchv1.JobComplete {
		status.CompletionTime = ptr.To(last.LastTransitionTime)
	}
	return true
}
