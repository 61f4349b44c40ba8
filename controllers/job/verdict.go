// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// verdict is the condition that ends the job, nil while it goes on. A job that is to fail or has succeeded gets
// FailureTarget or SuccessCriteriaMet first, its active pods are deleted, and only once all of them have ended and are
// counted it is Failed or Complete. What an earlier sync decided stands; else failure goes before success.
func (s *state) verdict() *batchv1.JobCondition {
	job := s.job
	if c := condition(job, batchv1.JobSuccessCriteriaMet); c != nil && c.Status == corev1.ConditionTrue {
		return s.is(c.Type, c.Reason, c.Message)
	}
	if c := condition(job, batchv1.JobFailureTarget); c != nil && c.Status == corev1.ConditionTrue {
		return s.is(batchv1.JobFailed, c.Reason, c.Message)
	}
	if message, fails := s.failedByPolicy(); fails {
		return s.is(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, message)
	}
	if s.pastBackoffLimit() {
		return s.is(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	}
	if left, limited := s.deadline(); limited && left <= 0 {
		return s.is(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	if lost := s.failedIndexes.total(); s.perIndex() && lost > 0 {
		if most := job.Spec.MaxFailedIndexes; most != nil && lost > int(*most) {
			return s.is(batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
		}
		if lost+s.done.total() >= s.completions() {
			return s.is(batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		}
	}
	if rule, met := successRule(job.Spec.SuccessPolicy, s.completions(), s.done); met {
		return s.is(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
	}
	return nil
}

// completed is the verdict on a job that has reached its completions and has no active pods left, nil for all others. Jobs
// without completions end with the first success, but let the other pods end by themselves.
func (s *state) completed(active int32) *batchv1.JobCondition {
	enough := s.succeeded > 0
	if n := s.job.Spec.Completions; n != nil {
		enough = s.succeeded >= *n
	}
	if !enough || active > 0 {
		return nil
	}
	return s.is(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

func (s *state) failedByPolicy() (string, bool) {
	if s.job.Spec.PodFailurePolicy == nil {
		return "", false
	}
	for _, pod := range s.pods {
		if !failed(s.job, pod) {
			continue
		}
		if j := judge(s.job.Spec.PodFailurePolicy, pod); j.action == batchv1.PodFailurePolicyActionFailJob {
			return j.message, true
		}
	}
	return "", false
}

// pastBackoffLimit counts failed pods, and restarts where it is containers that are tried again.
func (s *state) pastBackoffLimit() bool {
	limit := ptr.Deref(s.job.Spec.BackoffLimit, 6)
	if s.failed > limit {
		return true
	}
	return s.job.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && restarts(s.pods) >= max(limit, 1)
}

// deadline is how long the job may still be active, if that is limited.
func (s *state) deadline() (left time.Duration, limited bool) {
	seconds, started := s.job.Spec.ActiveDeadlineSeconds, s.job.Status.StartTime
	if seconds == nil || started == nil || suspended(s.job) {
		return 0, false
	}
	return started.Add(time.Duration(*seconds) * time.Second).Sub(s.now), true
}

// settleSuspension writes into the status whether the job is suspended, and returns the event to record where that is
// new. The time that a job may be active starts anew when it is resumed.
func (s *state) settleSuspension() (reason, message string, changed bool) {
	status := &s.job.Status
	if suspended(s.job) {
		if !setCondition(status, s.is(batchv1.JobSuspended, "JobSuspended", "Job suspended")) {
			return "", "", false
		}
		status.StartTime = nil
		return "Suspended", "Job suspended", true
	}
	resumed := s.is(batchv1.JobSuspended, "JobResumed", "Job resumed")
	resumed.Status = corev1.ConditionFalse
	if !setCondition(status, resumed) {
		return "", "", false
	}
	status.StartTime = ptr.To(metav1.NewTime(s.now))
	return "Resumed", "Job resumed", true
}

func (s *state) is(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(s.now)
	return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastProbeTime: now, LastTransitionTime: now, Reason: reason, Message: message}
}

// setCondition reports whether the condition is new. One that was never true needs no saying that it is false.
func setCondition(status *batchv1.JobStatus, c *batchv1.JobCondition) bool {
	i := slices.IndexFunc(status.Conditions, func(old batchv1.JobCondition) bool { return old.Type == c.Type })
	switch {
	case i < 0 && c.Status == corev1.ConditionFalse:
		return false
	case i < 0:
		status.Conditions = append(status.Conditions, *c)
		return true
	}
	old := &status.Conditions[i]
	if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
		return false
	}
	*old = *c
	return true
}

func condition(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if job.Status.Conditions[i].Type == kind {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// finished reports whether the job is complete or failed; nothing is done for it any more.
func finished(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
