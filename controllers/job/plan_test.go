// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestPlan(t *testing.T) {
	run := func(name string) *corev1.Pod { return pod(name, corev1.PodRunning) }
	spec := func(parallelism int32, completions *int32) *batchv1.Job {
		return newJob(func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = &parallelism, completions })
	}
	done := func(n int32, j *batchv1.Job) *batchv1.Job {
		j.Status.Succeeded = n
		return j
	}
	change := func(j *batchv1.Job, f func(*batchv1.JobSpec)) *batchv1.Job {
		f(&j.Spec)
		return j
	}
	wide := func(s *batchv1.JobSpec) { s.Parallelism = new(int32(3)) }
	perIndex := func(s *batchv1.JobSpec) { s.Parallelism, s.BackoffLimitPerIndex = new(int32(3)), new(int32(5)) }
	failedOnly := func(s *batchv1.JobSpec) { s.Parallelism, s.PodReplacementPolicy = new(int32(3)), new(batchv1.Failed) }
	const none = noIndex

	for _, test := range []struct {
		name   string
		job    *batchv1.Job
		pods   []*corev1.Pod
		create []int
		remove []string
		wait   time.Duration
	}{
		{"the first pods", spec(2, new(int32(5))), nil, []int{none, none}, nil, 0},
		{"no more than are missing", done(4, spec(3, new(int32(5)))), nil, []int{none}, nil, 0},
		{"enough", done(3, spec(2, new(int32(5)))), []*corev1.Pod{run("a"), run("b")}, nil, nil, 0},
		{"parallelism went down: the pending one goes", spec(1, new(int32(5))), []*corev1.Pod{run("a"), pod("b", corev1.PodPending)}, nil, []string{"b"}, 0},
		{"parallelism is zero", spec(0, new(int32(5))), []*corev1.Pod{run("a")}, nil, []string{"a"}, 0},
		{"work queue", spec(2, nil), []*corev1.Pod{run("a")}, []int{none}, nil, 0},
		{"work queue with a success", done(1, spec(3, nil)), []*corev1.Pod{run("a")}, nil, nil, 0},
		{"suspended", change(spec(2, new(int32(5))), func(s *batchv1.JobSpec) { s.Suspend = new(true) }), []*corev1.Pod{run("a"), run("b")}, nil, []string{"a", "b"}, 0},
		{"after a failure", spec(1, new(int32(5))), []*corev1.Pod{exit(1, 4*time.Second, pod("a", corev1.PodFailed))}, nil, nil, 6 * time.Second},
		{"long after a failure", spec(1, new(int32(5))), []*corev1.Pod{exit(1, 10*time.Second, pod("a", corev1.PodFailed))}, []int{none}, nil, 0},
		{"one that is leaving is replaced", spec(1, new(int32(5))), []*corev1.Pod{run("a"), leaving(run("b"))}, nil, nil, 0},
		{"only the failed are replaced", change(spec(3, new(int32(5))), failedOnly), []*corev1.Pod{run("a"), leaving(run("b"))}, []int{none}, nil, 0},

		{"indexes", indexedJob(5, wide), nil, []int{0, 1, 2}, nil, 0},
		{"indexes that are free", indexedJob(5, wide), []*corev1.Pod{at(0, 0, pod("a", corev1.PodSucceeded)), at(2, 0, run("b"))}, []int{1, 3}, nil, 0},
		{"an index twice, one without, one too high", indexedJob(5, wide), []*corev1.Pod{at(1, 0, run("a")), at(1, 0, pod("b", corev1.PodPending)), run("c"), at(5, 0, run("d"))},
			nil, []string{"b", "c", "d"}, 0},
		{"an index whose pod is leaving", indexedJob(5, failedOnly), []*corev1.Pod{leaving(at(0, 0, run("a")))}, []int{1, 2}, nil, 0},
		{"each index waits for itself", indexedJob(5, perIndex), []*corev1.Pod{at(0, 1, exit(1, 5*time.Second, pod("a", corev1.PodFailed)))}, []int{1, 2}, nil, 15 * time.Second},
		{"all wait", indexedJob(2, perIndex), []*corev1.Pod{at(0, 1, exit(1, 0, pod("a", corev1.PodFailed))), at(1, 0, exit(1, 0, pod("b", corev1.PodFailed)))}, nil, nil, 10 * time.Second},
	} {
		p := see(test.job, test.pods...).plan()
		if !slices.Equal(p.create, test.create) || !slices.Equal(names(p.remove), test.remove) || p.wait != test.wait {
			t.Errorf("%s: create %v, remove %v, wait %v", test.name, p.create, names(p.remove), p.wait)
		}
	}

	if p := see(spec(2000, new(int32(5000)))).plan(); len(p.create) != burst {
		t.Errorf("%d pods at once", len(p.create))
	}
}

func TestFailures(t *testing.T) {
	success := func(ago time.Duration) *corev1.Pod { return exit(0, ago, pod("s", corev1.PodSucceeded)) }
	failure := func(ago time.Duration) *corev1.Pod { return exit(1, ago, pod("f", corev1.PodFailed)) }
	pods := func(all ...*corev1.Pod) []*corev1.Pod { return all }
	for _, test := range []struct {
		name              string
		before            failures
		succeeded, failed []*corev1.Pod
		want              failures
		remaining         time.Duration
	}{
		{"none", failures{}, nil, nil, failures{}, 0},
		{"the first", failures{}, nil, pods(failure(2 * time.Second)), failures{1, noon.Add(-2 * time.Second)}, 8 * time.Second},
		{"two more", failures{1, noon.Add(-time.Minute)}, nil, pods(failure(time.Second), failure(5*time.Second)), failures{3, noon.Add(-time.Second)}, 39 * time.Second},
		{"many", failures{40, noon}, nil, nil, failures{40, noon}, 10 * time.Minute},
		{"a success", failures{5, noon}, pods(success(0)), nil, failures{}, 0},
		{"failures around a success", failures{5, noon}, pods(success(30*time.Second), success(10*time.Second)), pods(failure(20*time.Second), failure(4*time.Second)),
			failures{1, noon.Add(-4 * time.Second)}, 6 * time.Second},
	} {
		got := test.before.after(test.succeeded, test.failed)
		if got.count != test.want.count || !got.last.Equal(test.want.last) || got.remaining(noon) != test.remaining {
			t.Errorf("%s: %+v with %v left", test.name, got, got.remaining(noon))
		}
	}
}

func TestFinishedAt(t *testing.T) {
	sidecar := exit(0, time.Minute, pod("sidecar", corev1.PodSucceeded))
	sidecar.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "log", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
	state := func(name string, ago time.Duration) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: exit(0, ago, pod("x", "")).Status.ContainerStatuses[0].State}
	}
	sidecar.Status.InitContainerStatuses = []corev1.ContainerStatus{state("init", time.Second), state("log", 50*time.Second)}
	unready := pod("unready", corev1.PodFailed)
	unready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: exit(0, 7*time.Second, pod("x", "")).Status.ContainerStatuses[0].State.Terminated.FinishedAt}}
	deleted := leaving(pod("deleted", corev1.PodRunning))
	deleted.DeletionGracePeriodSeconds = new(int64(30))
	for _, test := range []struct {
		pod *corev1.Pod
		ago time.Duration
	}{
		{exit(0, 3*time.Second, pod("ended", corev1.PodSucceeded)), 3 * time.Second},
		{sidecar, 50 * time.Second},
		{unready, 7 * time.Second},
		{deleted, 30 * time.Second},
		{pod("unknown", corev1.PodFailed), time.Hour},
	} {
		if got := noon.Sub(finishedAt(test.pod)); got != test.ago {
			t.Errorf("%s finished %v ago, want %v", test.pod.Name, got, test.ago)
		}
	}
}
