// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newJob is a job as the server stores it.
func newJob(change ...func(*batchv1.JobSpec)) *batchv1.Job {
	labels := map[string]string{batchv1.ControllerUidLabel: "1"}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sum", UID: "1"},
		Spec: batchv1.JobSpec{
			Parallelism: new(int32(1)), Completions: new(int32(1)), BackoffLimit: new(int32(6)), CompletionMode: new(batchv1.NonIndexedCompletion),
			Suspend: new(false), PodReplacementPolicy: new(batchv1.TerminatingOrFailed), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever,
				InitContainers: []corev1.Container{{Name: "i"}}, Containers: []corev1.Container{{Name: "c"}}}},
		},
	}
	for _, f := range change {
		f(&job.Spec)
	}
	return job
}

func indexedJob(completions int32, change ...func(*batchv1.JobSpec)) *batchv1.Job {
	return newJob(append([]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
		s.Completions, s.CompletionMode = &completions, new(batchv1.IndexedCompletion)
	}}, change...)...)
}

// pod is a tracked pod of the job.
func pod(name string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{batchv1.ControllerUidLabel: "1"},
			Finalizers: []string{batchv1.JobTrackingFinalizer}, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(newJob(), kind)},
			CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Status: corev1.PodStatus{Phase: phase},
	}
}

// at gives the pod an index, and the failures before it.
func at(index int, failures int, p *corev1.Pod) *corev1.Pod {
	p.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: strconv.Itoa(index), batchv1.JobIndexFailureCountAnnotation: strconv.Itoa(failures)}
	return p
}

func leaving(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = new(metav1.NewTime(noon))
	return p
}

// exit has the pod's container end with the code, so long ago.
func exit(code int32, ago time.Duration, p *corev1.Pod) *corev1.Pod {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(noon.Add(-ago))}}}}
	return p
}

func names(pods []*corev1.Pod) []string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	return slices.Sorted(slices.Values(all))
}

func see(job *batchv1.Job, pods ...*corev1.Pod) *state {
	return observe(job, pods, nil, failures{}, noon)
}

func TestObserve(t *testing.T) {
	ready := pod("ready", corev1.PodRunning)
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	plain := pod("plain", corev1.PodSucceeded)
	plain.Finalizers = nil
	pods := []*corev1.Pod{
		ready, pod("pending", corev1.PodPending), leaving(pod("leaving", corev1.PodRunning)), plain,
		pod("won", corev1.PodSucceeded), pod("noted", corev1.PodSucceeded), pod("released", corev1.PodSucceeded),
		exit(3, time.Minute, pod("lost", corev1.PodFailed)), exit(7, time.Minute, pod("ignored", corev1.PodFailed)),
	}
	for _, test := range []struct {
		name                                          string
		change                                        func(*batchv1.JobSpec)
		active, ready, terminating, succeeded, failed int32
	}{
		{"as it is", func(*batchv1.JobSpec) {}, 2, 1, 1, 12, 24},
		{"replacing failed pods only, those that are leaving have not failed", func(s *batchv1.JobSpec) { s.PodReplacementPolicy = new(batchv1.Failed) }, 2, 1, 1, 12, 23},
		{"with a policy", func(s *batchv1.JobSpec) {
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionIgnore,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{7}}}}}
		}, 2, 1, 1, 12, 22},
	} {
		job := newJob(test.change)
		job.Status = batchv1.JobStatus{Succeeded: 10, Failed: 20, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{
			Succeeded: []types.UID{"noted"}, Failed: []types.UID{"vanished"}}}
		s := observe(job, pods, sets.New[types.UID]("released"), failures{}, noon)
		if int32(len(s.active)) != test.active || s.ready != test.ready || s.terminating != test.terminating || s.succeeded != test.succeeded || s.failed != test.failed {
			t.Errorf("%s: %d active, %d ready, %d terminating, %d succeeded, %d failed", test.name, len(s.active), s.ready, s.terminating, s.succeeded, s.failed)
		}
	}
}

func TestObserveIndexes(t *testing.T) {
	job := indexedJob(6, func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = new(int32(1)) })
	job.Status.CompletedIndexes, job.Status.FailedIndexes = "0", new("1")
	s := see(job,
		at(2, 0, pod("won", corev1.PodSucceeded)),
		at(9, 0, pod("outside", corev1.PodSucceeded)),
		pod("without", corev1.PodSucceeded),
		at(3, 1, pod("last try", corev1.PodFailed)),
		at(4, 0, exit(1, 3*time.Second, pod("first try", corev1.PodFailed))),
		at(5, 0, pod("replaced", corev1.PodFailed)),
		at(5, 1, pod("replacement", corev1.PodRunning)),
	)
	if s.done.String() != "0,2" || s.doneBefore.String() != "0" || s.succeeded != 2 || s.failedIndexes.String() != "1,3" {
		t.Errorf("done %q after %q, %d succeeded, failed %q", s.done, s.doneBefore, s.succeeded, s.failedIndexes)
	}
	if len(s.held) != 1 || s.held[4].Name != "first try" {
		t.Errorf("held back: %v", s.held)
	}
	if got := s.retryIn(4); got != 7*time.Second {
		t.Errorf("index 4 has to wait %v", got)
	}
	if got := s.retryIn(3); got != 0 {
		t.Errorf("index 3 has to wait %v", got)
	}
}

func TestVerdict(t *testing.T) {
	ended := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: "R", Message: "M"})
		}
	}
	spec := func(f func(*batchv1.JobSpec)) func(*batchv1.Job) { return func(j *batchv1.Job) { f(&j.Spec) } }
	indexed := func(done, lost string, f func(*batchv1.JobSpec)) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Spec.CompletionMode, j.Spec.Completions, j.Spec.BackoffLimitPerIndex = new(batchv1.IndexedCompletion), new(int32(5)), new(int32(0))
			j.Status.CompletedIndexes, j.Status.FailedIndexes = done, &lost
			f(&j.Spec)
		}
	}
	started := func(ago time.Duration, f func(*batchv1.JobSpec)) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Status.StartTime = new(metav1.NewTime(noon.Add(-ago)))
			j.Spec.ActiveDeadlineSeconds = new(int64(60))
			f(&j.Spec)
		}
	}
	same := func(*batchv1.JobSpec) {}
	restarted := pod("restarted", corev1.PodRunning)
	restarted.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}}
	restarted.Status.InitContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
	onFailure := func(limit int32) func(*batchv1.Job) {
		return spec(func(s *batchv1.JobSpec) {
			s.Template.Spec.RestartPolicy, s.BackoffLimit = corev1.RestartPolicyOnFailure, &limit
		})
	}
	success := &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: new("3,4")}, {SucceededIndexes: new("0-2"), SucceededCount: new(int32(2))}}}

	for _, test := range []struct {
		name   string
		change func(*batchv1.Job)
		pods   []*corev1.Pod
		want   string
	}{
		{"running", spec(same), []*corev1.Pod{pod("a", corev1.PodRunning)}, ""},
		{"decided to succeed, then failing", func(j *batchv1.Job) {
			ended(batchv1.JobSuccessCriteriaMet)(j)
			j.Spec.BackoffLimit = new(int32(0))
		}, []*corev1.Pod{pod("a", corev1.PodFailed)}, "SuccessCriteriaMet R: M"},
		{"decided to fail", ended(batchv1.JobFailureTarget), nil, "Failed R: M"},
		{"at the backoff limit", spec(func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(1)) }), []*corev1.Pod{pod("a", corev1.PodFailed)}, ""},
		{"past it", spec(func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }), []*corev1.Pod{pod("a", corev1.PodFailed)},
			"FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"restarts below the limit", onFailure(4), []*corev1.Pod{restarted}, ""},
		{"restarts at it", onFailure(3), []*corev1.Pod{restarted}, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"no restarts at limit 0", onFailure(0), []*corev1.Pod{pod("a", corev1.PodRunning)}, ""},
		{"restarts at limit 0", onFailure(0), []*corev1.Pod{restarted}, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"before the deadline", started(59*time.Second, same), nil, ""},
		{"at the deadline", started(time.Minute, same), nil, "FailureTarget DeadlineExceeded: Job was active longer than specified deadline"},
		{"suspended past the deadline", started(time.Hour, func(s *batchv1.JobSpec) { s.Suspend = new(true) }), nil, ""},
		{"policy", spec(func(s *batchv1.JobSpec) {
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}}}}
		}), []*corev1.Pod{exit(42, 0, pod("a", corev1.PodFailed))},
			"FailureTarget PodFailurePolicy: Container c for pod default/a failed with exit code 42 matching FailJob rule at index 0"},
		{"a failed index", indexed("0", "1", same), nil, ""},
		{"too many failed indexes", indexed("0", "1,2", func(s *batchv1.JobSpec) { s.MaxFailedIndexes = new(int32(1)) }), nil,
			"FailureTarget MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes"},
		{"no index left, some failed", indexed("0,2-4", "1", same), nil, "FailureTarget FailedIndexes: Job has failed indexes"},
		{"success policy not yet", indexed("0,4", "", func(s *batchv1.JobSpec) { s.SuccessPolicy = success }), nil, ""},
		{"success policy", indexed("0,2", "", func(s *batchv1.JobSpec) { s.SuccessPolicy = success }), nil, "SuccessCriteriaMet SuccessPolicy: Matched rules at index 1"},
	} {
		job := newJob()
		test.change(job)
		got := ""
		if c := see(job, test.pods...).verdict(); c != nil {
			got = string(c.Type) + " " + c.Reason + ": " + c.Message
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCompleted(t *testing.T) {
	for _, test := range []struct {
		name        string
		completions *int32
		succeeded   int32
		active      int32
		want        bool
	}{
		{"short of one", new(int32(3)), 2, 0, false},
		{"all", new(int32(3)), 3, 0, true},
		{"more than asked for", new(int32(3)), 4, 0, true},
		{"one still runs", new(int32(3)), 3, 1, false},
		{"nothing to do", new(int32(0)), 0, 0, true},
		{"work queue, empty", nil, 1, 0, true},
		{"work queue, others run", nil, 1, 2, false},
		{"work queue, nothing yet", nil, 0, 0, false},
	} {
		job := newJob(func(s *batchv1.JobSpec) { s.Completions = test.completions })
		job.Status.Succeeded = test.succeeded
		if got := see(job).completed(test.active) != nil; got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
