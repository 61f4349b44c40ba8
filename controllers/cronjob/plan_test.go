// SPDX-License-Identifier: Apache-2.0

package cronjob

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// noon is a Sunday.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newCronJob was created an hour before noon. Its schedules are in UTC.
func newCronJob(schedule string, change ...func(*batchv1.CronJob)) *batchv1.CronJob {
	cj := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tick", UID: "1", CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec: batchv1.CronJobSpec{
			Schedule: schedule, TimeZone: new("UTC"), ConcurrencyPolicy: batchv1.AllowConcurrent, Suspend: new(false),
			SuccessfulJobsHistoryLimit: new(int32(3)), FailedJobsHistoryLimit: new(int32(1)),
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
				Spec: batchv1.JobSpec{BackoffLimit: new(int32(2))}},
		},
	}
	for _, f := range change {
		f(cj)
	}
	return cj
}

// newJobOf is a job of newCronJob; how is what it ended with, if it has.
func newJobOf(name string, minute int, how batchv1.JobConditionType) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(newCronJob("* * * * *"), kind)}}}
	job.Status.StartTime = new(metav1.NewTime(noon.Add(time.Duration(minute) * time.Minute)))
	if how != "" {
		job.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	}
	if how == batchv1.JobComplete {
		job.Status.CompletionTime = new(metav1.NewTime(job.Status.StartTime.Add(time.Minute)))
	}
	return job
}

func active(names ...string) func(*batchv1.CronJob) {
	return func(cj *batchv1.CronJob) {
		for _, name := range names {
			cj.Status.Active = append(cj.Status.Active, corev1.ObjectReference{Namespace: "default", Name: name, UID: types.UID(name)})
		}
	}
}

func last(ago time.Duration) func(*batchv1.CronJob) {
	return func(cj *batchv1.CronJob) { cj.Status.LastScheduleTime = new(metav1.NewTime(noon.Add(-ago))) }
}

func TestDecide(t *testing.T) {
	spec := func(f func(*batchv1.CronJobSpec)) func(*batchv1.CronJob) {
		return func(cj *batchv1.CronJob) { f(&cj.Spec) }
	}
	deadline := func(seconds int64) func(*batchv1.CronJob) {
		return spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = &seconds })
	}
	policy := func(p batchv1.ConcurrencyPolicy) func(*batchv1.CronJob) {
		return spec(func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = p })
	}
	zone := func(name string) func(*batchv1.CronJob) {
		return spec(func(s *batchv1.CronJobSpec) { s.TimeZone = &name })
	}
	old := func(cj *batchv1.CronJob) { cj.CreationTimestamp = metav1.NewTime(noon.AddDate(-1, 0, 0)) }
	now := noon.Add(20 * time.Second)
	const hour = time.Hour + late

	for _, test := range []struct {
		name  string
		cj    *batchv1.CronJob
		start string // hour and minute
		wait  time.Duration
		notes string
	}{
		{"due", newCronJob("0 * * * *"), "12:00", hour - 20*time.Second, ""},
		{"not yet", newCronJob("30 12 * * *"), "", 30*time.Minute - 20*time.Second + late, ""},
		{"started already", newCronJob("0 * * * *", last(0)), "", hour - 20*time.Second, ""},
		{"running already", newCronJob("0 * * * *", active(jobName(newCronJob(""), noon))), "", hour - 20*time.Second, ""},
		{"another runs", newCronJob("0 * * * *", active("other")), "12:00", hour - 20*time.Second, ""},
		{"another runs, which forbids", newCronJob("0 * * * *", active("other"), policy(batchv1.ForbidConcurrent)), "", hour - 20*time.Second,
			"Normal JobAlreadyActive Not starting job because prior execution is running and concurrency policy is Forbid"},
		{"another runs, to be replaced", newCronJob("0 * * * *", active("other"), policy(batchv1.ReplaceConcurrent)), "12:00", hour - 20*time.Second, ""},
		{"some missed: the last is made up for", newCronJob("*/15 * * * *", last(50*time.Minute)), "12:00", 15*time.Minute - 20*time.Second + late, ""},
		{"many missed", newCronJob("* * * * *", old), "12:00", 40*time.Second + late,
			"Warning TooManyMissedTimes too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"},
		{"many missed, but for a deadline", newCronJob("* * * * *", old, deadline(300)), "12:00", 40*time.Second + late, ""},
		{"past the deadline", newCronJob("0 11 * * *", last(24*time.Hour), deadline(60)), "", 23*time.Hour - 20*time.Second + late, ""},
		{"just past the deadline", newCronJob("0 * * * *", deadline(19)), "", hour - 20*time.Second, ""},
		{"suspended", newCronJob("* * * * *", spec(func(s *batchv1.CronJobSpec) { s.Suspend = new(true) })), "", 0, ""},
		{"being deleted", newCronJob("* * * * *", func(cj *batchv1.CronJob) { cj.DeletionTimestamp = new(metav1.Now()) }), "", 0, ""},
		{"in Kathmandu", newCronJob("45 17 * * *", zone("Asia/Kathmandu")), "12:00", 24*time.Hour - 20*time.Second + late, ""},
		{"nowhere", newCronJob("* * * * *", zone("Mars/Olympus")), "", 0, `Warning UnknownTimeZone invalid timeZone: "Mars/Olympus": unknown time zone Mars/Olympus`},
		{"a zone in the schedule", newCronJob("TZ=Asia/Kathmandu 45 17 * * *"), "12:00", 24*time.Hour - 20*time.Second + late, "Warning UnsupportedSchedule CRON_TZ or TZ used in schedule " +
			`"TZ=Asia/Kathmandu 45 17 * * *" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details`},
		{"nonsense", newCronJob("often"), "", 0, `Warning UnparseableSchedule unparseable schedule: "often" : expected exactly 5 fields, found 1: [often]`},
		{"never", newCronJob("59 23 31 2 *"), "", 0, "Warning InvalidSchedule invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"},
	} {
		d := decide(test.cj, now)
		start := ""
		if !d.start.IsZero() {
			start = d.start.UTC().Format("15:04")
		}
		if notes := text(d.notes); start != test.start || d.wait != test.wait || notes != test.notes {
			t.Errorf("%s: start %q, wait %v, notes %q", test.name, start, d.wait, notes)
		}
	}
}

func text(notes []note) string {
	var lines []string
	for _, n := range notes {
		lines = append(lines, fmt.Sprintf("%s %s %s", n.kind, n.reason, n.message))
	}
	return strings.Join(lines, "; ")
}

func TestDueAt(t *testing.T) {
	day := func(d, h, m int) time.Time { return time.Date(2026, 3, d, h, m, 0, 0, time.UTC) }
	for _, test := range []struct {
		name, schedule string
		created, now   time.Time
		want           time.Time
		missed         int64
	}{
		{"before the first", "0 12 * * *", day(1, 13, 0), day(2, 11, 0), time.Time{}, 0},
		{"at the first", "0 12 * * *", day(1, 11, 0), day(1, 12, 0), day(1, 12, 0), 0},
		{"after some", "0 12 * * *", day(1, 11, 0), day(4, 12, 30), day(4, 12, 0), 4},
		{"every so long, from the creation on", "@every 7m", day(1, 0, 1), day(1, 1, 0), day(1, 0, 57), 8},
		{"busy in the morning, looked at in the evening", "30 6-16/4 * * 1-5", day(2, 6, 0), day(6, 20, 0), day(6, 14, 30), 28},
		{"busy once a year", "0-5 0 1 1 *", time.Date(2020, 12, 31, 0, 0, 0, 0, time.UTC), day(1, 0, 0), time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC), 2714401},
	} {
		cj := newCronJob(test.schedule)
		cj.CreationTimestamp = metav1.NewTime(test.created)
		s, err := schedule(cj)
		if err != nil {
			t.Fatal(err)
		}
		d, err := dueAt(cj, s, test.now, true)
		if err != nil || !d.last.Equal(test.want) || d.missed != test.missed {
			t.Errorf("%s: %v after %d missed, %v", test.name, d.last, d.missed, err)
		}
	}
}

func TestObserve(t *testing.T) {
	cj := newCronJob("* * * * *", active("running", "done", "lost", "gone"))
	notes, missing := observe(cj, []*batchv1.Job{
		newJobOf("running", -9, ""), newJobOf("done", -8, batchv1.JobComplete), newJobOf("lost", -7, batchv1.JobFailed),
		newJobOf("foreign", -6, ""), newJobOf("earlier", -20, batchv1.JobComplete),
	})
	if got, want := text(notes), "Normal SawCompletedJob Saw completed job: done, condition: Complete; Normal SawCompletedJob Saw completed job: lost, condition: Failed; "+
		"Warning UnexpectedJob Saw a job that the controller did not create or forgot: foreign"; got != want {
		t.Errorf("notes: %s", got)
	}
	if len(missing) != 1 || missing[0].Name != "gone" || len(cj.Status.Active) != 2 || !cj.Status.LastSuccessfulTime.Equal(new(metav1.NewTime(noon.Add(-7*time.Minute)))) {
		t.Errorf("missing %v, status %+v", missing, cj.Status)
	}
}

func TestOutdated(t *testing.T) {
	unstarted := newJobOf("unstarted", 0, batchv1.JobFailed)
	unstarted.Status.StartTime = nil
	leaving := newJobOf("leaving", -60, batchv1.JobComplete)
	leaving.DeletionTimestamp = new(metav1.Now())
	jobs := []*batchv1.Job{
		newJobOf("c4", -1, batchv1.JobComplete), newJobOf("c1", -9, batchv1.JobComplete), newJobOf("c3", -2, batchv1.JobComplete), newJobOf("c2", -3, batchv1.JobComplete),
		unstarted, newJobOf("f2", -1, batchv1.JobFailed), newJobOf("f1", -2, batchv1.JobFailed), newJobOf("r", -99, ""), leaving,
	}
	names := func(jobs []*batchv1.Job) string {
		var all []string
		for _, j := range jobs {
			all = append(all, j.Name)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	if got := names(outdated(newCronJob("* * * * *"), jobs)); got != "c1 f1 f2" {
		t.Errorf("outdated: %s", got)
	}
	none := newCronJob("* * * * *", func(cj *batchv1.CronJob) {
		cj.Spec.SuccessfulJobsHistoryLimit, cj.Spec.FailedJobsHistoryLimit = new(int32(0)), nil
	})
	if got := names(outdated(none, jobs)); got != "c1 c2 c3 c4" {
		t.Errorf("outdated without history: %s", got)
	}
}

func TestNewJob(t *testing.T) {
	cj := newCronJob("* * * * *", func(cj *batchv1.CronJob) { cj.Spec.TimeZone = new("Asia/Kathmandu") })
	job, err := newJob(cj, noon)
	if err != nil {
		t.Fatal(err)
	}
	if job.Name != "tick-29539440" || job.Labels["a"] != "b" || job.Annotations["c"] != "d" || *job.Spec.BackoffLimit != 2 || !metav1.IsControlledBy(job, cj) {
		t.Errorf("job: %+v", job.ObjectMeta)
	}
	if at := job.Annotations[batchv1.CronJobScheduledTimestampAnnotation]; at != "2026-03-01T17:45:00+05:45" {
		t.Errorf("scheduled at %s", at)
	}
	if len(cj.Spec.JobTemplate.Annotations) != 1 {
		t.Error("the template was changed")
	}
}
