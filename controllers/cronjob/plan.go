// SPDX-License-Identifier: Apache-2.0

package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// note is an event to record.
type note struct{ kind, reason, message string }

func normal(reason, format string, args ...any) note {
	return note{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) note {
	return note{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// decision is whether to start a job now, and when to look again; wait is 0 if only a change of the cron job matters.
type decision struct {
	// start is the time that the job is for, zero if none is to be started.
	start time.Time
	wait  time.Duration
	notes []note
}

// decide looks for a time that was due and has had no job.
func decide(cj *batchv1.CronJob, now time.Time) decision {
	var d decision
	tell := func(n note) decision {
		d.notes = append(d.notes, n)
		return d
	}
	if cj.DeletionTimestamp != nil {
		return d
	}
	if zone := cj.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			return tell(warning("UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err))
		}
	}
	if ptr.Deref(cj.Spec.Suspend, false) {
		return d
	}
	if text := cj.Spec.Schedule; strings.Contains(text, "TZ") {
		tell(warning("UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", text))
	}
	s, err := schedule(cj)
	if err != nil {
		return tell(warning("UnparseableSchedule", "unparseable schedule: %q : %s", cj.Spec.Schedule, err))
	}
	at, err := dueAt(cj, s, now, true)
	if err != nil {
		return tell(warning("InvalidSchedule", "invalid schedule: %s : %s", cj.Spec.Schedule, err))
	}
	d.wait = untilNext(cj, s, now)
	if at.last.IsZero() {
		return d
	}
	if at.missed > 100 {
		tell(warning("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"))
	}
	if seconds := cj.Spec.StartingDeadlineSeconds; seconds != nil && at.last.Add(time.Duration(*seconds)*time.Second).Before(now) {
		return tell(warning("MissSchedule", "Missed scheduled time to start a job: %s", at.last.UTC().Format(time.RFC1123Z)))
	}
	running := slices.ContainsFunc(cj.Status.Active, func(ref corev1.ObjectReference) bool { return ref.Name == jobName(cj, at.last) })
	if running || cj.Status.LastScheduleTime.Equal(&metav1.Time{Time: at.last}) {
		return d
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(cj.Status.Active) > 0 {
		return tell(normal("JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid"))
	}
	d.start = at.last
	return d
}

// observe brings the status up to date with the cron job's jobs. missing are active jobs that the cache does not know.
func observe(cj *batchv1.CronJob, jobs []*batchv1.Job) (notes []note, missing []corev1.ObjectReference) {
	status := &cj.Status
	known := map[types.UID]bool{}
	for _, job := range jobs {
		known[job.UID] = true
		how := ended(job)
		switch active := isActive(cj, job.UID); {
		case how == "" && !active:
			notes = append(notes, warning("UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", job.Name))
		case how != "" && active:
			drop(cj, job.UID)
			notes = append(notes, normal("SawCompletedJob", "Saw completed job: %s, condition: %v", job.Name, how))
		}
		if at := job.Status.CompletionTime; how == batchv1.JobComplete && at != nil && (status.LastSuccessfulTime == nil || at.After(status.LastSuccessfulTime.Time)) {
			status.LastSuccessfulTime = at
		}
	}
	for _, ref := range status.Active {
		if !known[ref.UID] {
			missing = append(missing, ref)
		}
	}
	return notes, missing
}

// outdated returns the jobs that are more than the history is to hold, the oldest.
func outdated(cj *batchv1.CronJob, jobs []*batchv1.Job) []*batchv1.Job {
	var old []*batchv1.Job
	for how, limit := range map[batchv1.JobConditionType]*int32{
		batchv1.JobComplete: cj.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: cj.Spec.FailedJobsHistoryLimit,
	} {
		if limit == nil {
			continue
		}
		same := slices.DeleteFunc(slices.Clone(jobs), func(j *batchv1.Job) bool { return ended(j) != how || j.DeletionTimestamp != nil })
		slices.SortFunc(same, byStart)
		old = append(old, same[:max(0, len(same)-int(*limit))]...)
	}
	return old
}

// byStart orders jobs by when they started, those that never did last.
func byStart(a, b *batchv1.Job) int {
	at, bt := a.Status.StartTime, b.Status.StartTime
	switch {
	case at.Equal(bt):
		return cmp.Compare(a.Name, b.Name)
	case at == nil:
		return 1
	case bt == nil:
		return -1
	}
	return at.Compare(bt.Time)
}

// newJob is the job for that time. The time makes its name, so that there is one at most.
func newJob(cj *batchv1.CronJob, at time.Time) (*batchv1.Job, error) {
	template := &cj.Spec.JobTemplate
	zone, err := time.LoadLocation(ptr.Deref(cj.Spec.TimeZone, ""))
	if err != nil {
		return nil, fmt.Errorf("time zone of CronJob %s/%s: %w", cj.Namespace, cj.Name, err)
	}
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.In(zone).Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cj.Namespace, Name: jobName(cj, at), Labels: maps.Clone(template.Labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cj, kind)},
		},
		Spec: *template.Spec.DeepCopy(),
	}, nil
}

// jobName tells the minute: no schedule is finer.
func jobName(cj *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", cj.Name, at.Unix()/60)
}

// ended is the condition that a job ended with, empty if it has not.
func ended(job *batchv1.Job) batchv1.JobConditionType {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

func isActive(cj *batchv1.CronJob, uid types.UID) bool {
	return slices.ContainsFunc(cj.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}

func drop(cj *batchv1.CronJob, uid types.UID) {
	cj.Status.Active = slices.DeleteFunc(slices.Clone(cj.Status.Active), func(ref corev1.ObjectReference) bool { return ref.UID == uid })
}
