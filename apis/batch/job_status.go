// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for a Job's status. Other controllers than the built-in one may run jobs (KEP-4368), so a
// status is held to what users of jobs rely on: counters that only grow, and conditions that agree with each other.

package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateJobStatusUpdate checks an update of a Job's status. A rule about fields that the update leaves alone does not
// apply to it.
func ValidateJobStatusUpdate(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&job.ObjectMeta, &before.ObjectMeta))
	l.Add(validateCounts(&job.Status))
	l.Add(validateFinish(job, before))
	l.Add(validateIndexes(job, before))
	l.Add(validateCriteria(job, before))
	l.Add(validateProgress(job, before))
	return l.Errors()
}

func hasCondition(job *batchv1.Job, kind batchv1.JobConditionType) bool {
	return conditionIs(job, kind, corev1.ConditionTrue)
}

func conditionIs(job *batchv1.Job, kind batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == kind && c.Status == status {
			return true
		}
	}
	return false
}

func isFinished(job *batchv1.Job) bool {
	return hasCondition(job, batchv1.JobComplete) || hasCondition(job, batchv1.JobFailed)
}

// turned tells whether the update changed a condition to or from true.
func turned(job, before *batchv1.Job, kind batchv1.JobConditionType) bool {
	return hasCondition(job, kind) != hasCondition(before, kind)
}

func sameTime(a, b *metav1.Time) bool { return ptr.Equal(a, b) }

func validateCounts(status *batchv1.JobStatus) field.ErrorList {
	var l check.List
	p := field.NewPath("status")
	l.Add(check.NonNegative(p.Child("active"), status.Active))
	l.Add(check.NonNegative(p.Child("succeeded"), status.Succeeded))
	l.Add(check.NonNegative(p.Child("failed"), status.Failed))
	l.Add(check.NonNegativeIfSet(p.Child("ready"), status.Ready))
	l.Add(check.NonNegativeIfSet(p.Child("terminating"), status.Terminating))
	if pods := status.UncountedTerminatedPods; pods != nil {
		seen := sets.New[types.UID]()
		for _, list := range []struct {
			name string
			uids []types.UID
		}{{"succeeded", pods.Succeeded}, {"failed", pods.Failed}} {
			for i, uid := range list.uids {
				p := p.Child("uncountedTerminatedPods", list.name).Index(i)
				if uid == "" {
					l.Invalid(p, uid, "must not be empty")
				} else if seen.Has(uid) {
					l.Duplicate(p, uid)
				}
				seen.Insert(uid)
			}
		}
	}
	return l.Errors()
}

// validateFinish checks what must hold once a job is complete or failed.
func validateFinish(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	p, s, older := field.NewPath("status"), &job.Status, &before.Status
	conditions := func(detail string) { l.Invalid(p.Child("conditions"), field.OmitValueType{}, detail) }
	complete, failed, finished := hasCondition(job, batchv1.JobComplete), hasCondition(job, batchv1.JobFailed), isFinished(job)
	completed, failedNow := turned(job, before, batchv1.JobComplete), turned(job, before, batchv1.JobFailed)
	finishedNow := finished != isFinished(before)
	started, ended := !sameTime(s.StartTime, older.StartTime), !sameTime(s.CompletionTime, older.CompletionTime)

	if (completed || failedNow) && complete && failed {
		conditions("cannot set Complete=True and Failed=true conditions")
	}
	if (completed || turned(job, before, batchv1.JobFailureTarget)) && complete && hasCondition(job, batchv1.JobFailureTarget) {
		conditions("cannot set Complete=True and FailureTarget=true conditions")
	}
	if (completed || ended) && s.CompletionTime != nil && !complete {
		l.Invalid(p.Child("completionTime"), s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	}
	if (completed || ended) && s.CompletionTime == nil && complete {
		l.Required(p.Child("completionTime"), "completionTime is required for Complete jobs")
	}
	if (started || ended) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		l.Invalid(p.Child("completionTime"), s.CompletionTime, "must be equal to or after `startTime`")
	}
	if (failedNow || !ptr.Equal(s.FailedIndexes, older.FailedIndexes)) && failed && !hasCondition(job, batchv1.JobFailureTarget) {
		conditions("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if (completed || turned(job, before, batchv1.JobSuccessCriteriaMet)) && complete && !hasCondition(job, batchv1.JobSuccessCriteriaMet) {
		conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	if !finished {
		return l.Errors()
	}
	if (finishedNow || s.Active != older.Active) && s.Active > 0 {
		l.Invalid(p.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	nothingToDo := ptr.Deref(job.Spec.Suspend, false) && ptr.Equal(job.Spec.Completions, ptr.To[int32](0))
	if (finishedNow || started) && !nothingToDo && s.StartTime == nil {
		l.Required(p.Child("startTime"), "startTime is required for finished job")
	}
	pods := s.UncountedTerminatedPods
	if (finishedNow || !equality.Semantic.DeepEqual(pods, older.UncountedTerminatedPods)) && pods != nil && len(pods.Failed)+len(pods.Succeeded) > 0 {
		l.Invalid(p.Child("uncountedTerminatedPods"), pods, "must be empty for finished job")
	}
	if n := s.Terminating; (finishedNow || !ptr.Equal(n, older.Terminating)) && n != nil && *n > 0 {
		l.Invalid(p.Child("terminating"), n, "terminating>0 is invalid for finished job")
	}
	return l.Errors()
}

func validateIndexes(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &job.Status
	completedChanged := s.CompletedIndexes != before.Status.CompletedIndexes
	failedChanged := !ptr.Equal(s.FailedIndexes, before.Status.FailedIndexes)
	if completions := job.Spec.Completions; completions != nil {
		completed, err := parseIndexes(s.CompletedIndexes, *completions)
		if err != nil && completedChanged {
			l.Invalid(p.Child("completedIndexes"), s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
		if s.FailedIndexes != nil {
			failed, err := parseIndexes(*s.FailedIndexes, *completions)
			if err != nil && failedChanged && job.Spec.BackoffLimitPerIndex != nil {
				l.Invalid(p.Child("failedIndexes"), s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err))
			}
			if index, both := overlap(completed, failed); both && (completedChanged || failedChanged) {
				l.Invalid(p.Child("failedIndexes"), *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", index))
			}
		}
	}
	if completedChanged && s.CompletedIndexes != "" && !isIndexed(&job.Spec) {
		l.Invalid(p.Child("completedIndexes"), s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failedChanged && s.FailedIndexes != nil && job.Spec.BackoffLimitPerIndex == nil {
		l.Invalid(p.Child("failedIndexes"), *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (!ptr.Equal(s.Ready, before.Status.Ready) || s.Active != before.Status.Active) && s.Ready != nil && *s.Ready > s.Active {
		l.Invalid(p.Child("ready"), *s.Ready, "cannot set more ready pods than active")
	}
	return l.Errors()
}

func validateCriteria(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	conditions := func(detail string) {
		l.Invalid(field.NewPath("status", "conditions"), field.OmitValueType{}, detail)
	}
	met := hasCondition(job, batchv1.JobSuccessCriteriaMet)
	if met && hasCondition(job, batchv1.JobFailed) {
		conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if met && hasCondition(job, batchv1.JobFailureTarget) {
		conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
	if job.Spec.SuccessPolicy != nil && !met && hasCondition(job, batchv1.JobComplete) {
		conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	}
	return l.Errors()
}

// validateProgress checks that nothing that was said of the job is taken back.
func validateProgress(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	p, s, older := field.NewPath("status"), &job.Status, &before.Status
	conditions := func(detail string) { l.Invalid(p.Child("conditions"), field.OmitValueType{}, detail) }
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if hasCondition(before, kind) && !hasCondition(job, kind) {
			conditions(fmt.Sprintf("cannot disable the terminal %s=True condition", kind))
		}
	}
	if s.Failed < older.Failed {
		l.Invalid(p.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	elastic := isIndexed(&job.Spec) && ptr.Equal(job.Spec.Completions, job.Spec.Parallelism)
	if s.Succeeded < older.Succeeded && !elastic {
		l.Invalid(p.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
	if s.CompletionTime != nil && older.CompletionTime != nil && !sameTime(s.CompletionTime, older.CompletionTime) {
		l.Invalid(p.Child("completionTime"), s.CompletionTime, "field is immutable")
	}
	resuming := hasCondition(before, batchv1.JobSuspended) && conditionIs(job, batchv1.JobSuspended, corev1.ConditionFalse)
	if older.StartTime != nil && !sameTime(s.StartTime, older.StartTime) && !resuming && !ptr.Deref(job.Spec.Suspend, false) {
		l.Invalid(p.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
	met, wasMet := hasCondition(job, batchv1.JobSuccessCriteriaMet), hasCondition(before, batchv1.JobSuccessCriteriaMet)
	if wasMet && !met {
		conditions("cannot disable the SuccessCriteriaMet=True condition")
	}
	if hasCondition(before, batchv1.JobComplete) && !wasMet && met {
		conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
	return l.Errors()
}
