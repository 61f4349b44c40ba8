// SPDX-License-Identifier: Apache-2.0

package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func start(t *testing.T, objs ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objs...)
	controller, err := New(c.Client, c.Informers.Batch().V1().Jobs(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	// Failed pods are replaced at once.
	controller.now = func() time.Time { return time.Now().Add(maxBackoff) }
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

func podsOf(c *testcluster.Cluster) []corev1.Pod {
	list, err := c.Client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return byIndex(&a, &b) })
	return list.Items
}

// end puts the pods that run into the phase.
func end(t *testing.T, c *testcluster.Cluster, n int, phase corev1.PodPhase) {
	t.Helper()
	var running []corev1.Pod
	c.Eventually(fmt.Sprintf("%d running pods", n), func() error {
		running = slices.DeleteFunc(podsOf(c), func(p corev1.Pod) bool {
			return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		})
		if len(running) != n {
			return fmt.Errorf("%d pods run", len(running))
		}
		return nil
	})
	for i := range running {
		running[i].Status.Phase = phase
		if _, err := c.Client.CoreV1().Pods("default").UpdateStatus(context.Background(), &running[i], metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// reaches waits for the job's status.
func reaches(c *testcluster.Cluster, want string) *batchv1.Job {
	var job *batchv1.Job
	c.Eventually("status "+want, func() (err error) {
		if job, err = c.Client.BatchV1().Jobs("default").Get(context.Background(), "sum", metav1.GetOptions{}); err != nil {
			return err
		}
		if got := summary(job); got != want {
			return errors.New("is " + got)
		}
		return nil
	})
	return job
}

// summary is the active, succeeded and failed pods of a job, and its conditions that are true.
func summary(job *batchv1.Job) string {
	s := fmt.Sprintf("%d/%d/%d", job.Status.Active, job.Status.Succeeded, job.Status.Failed)
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			s += " " + string(c.Type) + ":" + c.Reason
		}
	}
	return s
}

func TestCompletes(t *testing.T) {
	c := start(t, newJob(func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = new(int32(3)), new(int32(2)) }))
	reaches(c, "2/0/0")
	if p := podsOf(c)[0]; !tracked(&p) || p.GenerateName != "sum-" || !metav1.IsControlledBy(&p, newJob()) {
		t.Errorf("pod: %+v", p.ObjectMeta)
	}
	end(t, c, 2, corev1.PodSucceeded)
	reaches(c, "1/2/0")
	end(t, c, 1, corev1.PodFailed)
	reaches(c, "1/2/1")
	end(t, c, 1, corev1.PodSucceeded)
	job := reaches(c, "0/3/1 SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached")
	if s := job.Status; s.StartTime == nil || s.CompletionTime == nil || *s.Ready != 0 || *s.Terminating != 0 || len(s.UncountedTerminatedPods.Succeeded) != 0 {
		t.Errorf("status: %+v", s)
	}
	c.Eventually("events and pods without finalizer", func() error {
		if lines := c.Events.Lines(); lines[len(lines)-1] != "Normal Completed Job completed" {
			return fmt.Errorf("events: %q", lines)
		}
		for _, p := range podsOf(c) {
			if tracked(&p) {
				return errors.New(p.Name + " keeps its finalizer")
			}
		}
		return nil
	})
	if pods := podsOf(c); len(pods) != 4 {
		t.Errorf("%d pods are left, want 4: those that ended stay", len(pods))
	}
}

func TestFails(t *testing.T) {
	c := start(t, newJob(func(s *batchv1.JobSpec) {
		s.BackoffLimit, s.Parallelism, s.Completions = new(int32(1)), new(int32(2)), new(int32(2))
	}))
	end(t, c, 2, corev1.PodFailed)
	job := reaches(c, "0/0/2 FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded")
	if m := job.Status.Conditions[1].Message; m != "Job has reached the specified backoff limit" {
		t.Errorf("message %q", m)
	}
	c.Eventually("the event", func() error {
		if lines := c.Events.Lines(); !slices.Contains(lines, "Warning BackoffLimitExceeded Job has reached the specified backoff limit") {
			return fmt.Errorf("events: %q", lines)
		}
		return nil
	})
}

func TestIndexed(t *testing.T) {
	c := start(t, indexedJob(3, func(s *batchv1.JobSpec) { s.Parallelism = new(int32(3)) }))
	reaches(c, "3/0/0")
	for i, p := range podsOf(c) {
		if indexOf(&p) != i || p.Labels[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(i) || p.Spec.Hostname != fmt.Sprintf("sum-%d", i) || !strings.HasPrefix(p.Name, fmt.Sprintf("sum-%d-", i)) {
			t.Errorf("pod %d: %s %v %v %s", i, p.Name, p.Labels, p.Annotations, p.Spec.Hostname)
		}
	}
	lose := podsOf(c)[1]
	lose.Status.Phase = corev1.PodFailed
	if _, err := c.Client.CoreV1().Pods("default").UpdateStatus(t.Context(), &lose, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	reaches(c, "3/0/1")
	end(t, c, 3, corev1.PodSucceeded)
	job := reaches(c, "0/3/1 SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached")
	if job.Status.CompletedIndexes != "0-2" {
		t.Errorf("completed indexes %q", job.Status.CompletedIndexes)
	}
}

func TestBackoffLimitPerIndex(t *testing.T) {
	c := start(t, indexedJob(2, func(s *batchv1.JobSpec) { s.Parallelism, s.BackoffLimitPerIndex = new(int32(2)), new(int32(1)) }))
	end(t, c, 2, corev1.PodFailed)
	reaches(c, "2/0/2")
	for _, p := range podsOf(c) {
		if p.Status.Phase == "" && p.Annotations[batchv1.JobIndexFailureCountAnnotation] != "1" {
			t.Errorf("%s does not know of the failure before it: %v", p.Name, p.Annotations)
		}
	}
	end(t, c, 2, corev1.PodFailed)
	job := reaches(c, "0/0/4 FailureTarget:FailedIndexes Failed:FailedIndexes")
	if *job.Status.FailedIndexes != "0,1" {
		t.Errorf("failed indexes %q", *job.Status.FailedIndexes)
	}
}

func TestSuspendAndResume(t *testing.T) {
	c := start(t, newJob(func(s *batchv1.JobSpec) { s.Suspend = new(true) }))
	if job := reaches(c, "0/0/0 Suspended:JobSuspended"); job.Status.StartTime != nil {
		t.Error("a suspended job has a start time")
	}
	suspend := func(is bool) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"suspend":%v}}`, is)
		if _, err := c.Client.BatchV1().Jobs("default").Patch(t.Context(), "sum", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	suspend(false)
	reaches(c, "1/0/0")
	suspend(true)
	reaches(c, "0/0/0 Suspended:JobSuspended")
	c.Eventually("no pods", func() error {
		if n := len(podsOf(c)); n > 0 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	var told []string
	for _, line := range c.Events.Lines() {
		if strings.HasSuffix(line, "ed") {
			told = append(told, line)
		}
	}
	if want := []string{"Normal Suspended Job suspended", "Normal Resumed Job resumed", "Normal Suspended Job suspended"}; !slices.Equal(told, want) {
		t.Errorf("events: %q", told)
	}
}

// What an earlier process noted and did not count is counted, once.
func TestCountsSurviveACrash(t *testing.T) {
	ended := func(name string, uid string, phase corev1.PodPhase, finalizers ...string) *corev1.Pod {
		p := pod(name, phase)
		p.UID, p.Finalizers = types.UID(uid), finalizers
		return p
	}
	job := newJob(func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = new(int32(5)), new(int32(1)) })
	job.Status = batchv1.JobStatus{Succeeded: 1, Failed: 1, StartTime: new(metav1.Now()), UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{
		Succeeded: []types.UID{"noted", "untracked", "gone"}, Failed: []types.UID{"lost"}}}
	c := start(t, job,
		ended("a", "noted", corev1.PodSucceeded, batchv1.JobTrackingFinalizer),
		ended("b", "untracked", corev1.PodSucceeded),
		ended("c", "counted", corev1.PodSucceeded),
		ended("d", "new", corev1.PodSucceeded, batchv1.JobTrackingFinalizer))
	reaches(c, "0/5/2 SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached")
}

func TestOrphansLoseTheFinalizer(t *testing.T) {
	stray, done, other := pod("stray", corev1.PodRunning), pod("done", corev1.PodRunning), pod("other", corev1.PodRunning)
	stray.OwnerReferences[0].UID = "gone"
	other.OwnerReferences[0].APIVersion = "example.com/v1"
	for _, p := range []*corev1.Pod{stray, done, other} {
		p.Finalizers = []string{batchv1.JobTrackingFinalizer}
	}
	job := newJob()
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	c := start(t, job, stray, done, other)
	c.Eventually("the finalizers gone", func() error {
		for _, p := range podsOf(c) {
			if tracked(&p) != (p.Name == "other") {
				return fmt.Errorf("%s has %v", p.Name, p.Finalizers)
			}
		}
		return nil
	})
}

func TestRefusedPods(t *testing.T) {
	job := newJob(func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = new(int32(100)), new(int32(100)) })
	c := testcluster.New(t, job)
	var tries atomic.Int32
	c.Client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return tries.Add(1) > 3, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("exceeded quota"))
	})
	controller, err := New(c.Client, c.Informers.Batch().V1().Jobs(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	reaches(c, "3/0/0")
	if lines := c.Events.Lines(); !slices.Contains(lines, `Warning FailedCreate Error creating: pods is forbidden: exceeded quota`) {
		t.Errorf("events: %q", lines)
	}
}
