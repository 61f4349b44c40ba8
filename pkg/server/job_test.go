// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// runJob creates the job, and has its pods succeed as they appear, until it is complete. It returns the job and its pods.
func runJob(t *testing.T, c *cluster, name string, spec batchv1.JobSpec) (*batchv1.Job, []corev1.Pod) {
	t.Helper()
	spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	jobs, pods := c.BatchV1().Jobs("default"), c.CoreV1().Pods("default")
	job, err := jobs.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var list *corev1.PodList
	eventually(t, "the job to complete", func() (bool, error) {
		if list, err = pods.List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + name}); err != nil {
			return false, err
		}
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Status.Phase == corev1.PodPending {
				pod.Status.Phase = corev1.PodSucceeded
				if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
					return false, err
				}
			}
		}
		if job, err = jobs.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		done := slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobComplete })
		return done, fmt.Errorf("status %+v", job.Status)
	})
	// The job is done when no pod of its has a finalizer any more, which the list before may not say yet.
	if list, err = pods.List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + name}); err != nil {
		t.Fatal(err)
	}
	return job, list.Items
}

// TestJobLabels holds that a job without labels gets those of its template, and that an error about them is told of the template alone.
func TestJobLabels(t *testing.T) {
	jobs := newCluster(t).BatchV1().Jobs("default")
	create := func(name string) (*batchv1.Job, error) {
		return jobs.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}, metav1.CreateOptions{DryRun: []string{"All"}})
	}
	if job, err := create("short"); err != nil || job.Labels["job-name"] != "short" {
		t.Errorf("%v, %v", job, err)
	}
	if _, err := create(strings.Repeat("a", 64)); err == nil || strings.Contains(err.Error(), "metadata.labels") || !strings.Contains(err.Error(), "spec.template.labels") {
		t.Errorf("a name that is no label: %v", err)
	}
}

func TestJobs(t *testing.T) {
	c := newCluster(t)

	job, pods := runJob(t, c, "plain", batchv1.JobSpec{Completions: new(int32(3)), Parallelism: new(int32(2))})
	if s := job.Status; s.Succeeded != 3 || s.Failed != 0 || s.Active != 0 || s.StartTime == nil || s.CompletionTime == nil || len(pods) != 3 {
		t.Errorf("%d pods, status %+v", len(pods), s)
	}
	if uid := job.Spec.Selector.MatchLabels["batch.kubernetes.io/controller-uid"]; uid != string(job.UID) {
		t.Errorf("selector %v of job %s", job.Spec.Selector, job.UID)
	}
	for _, pod := range pods {
		if pod.Labels["job-name"] != "plain" || pod.Labels["controller-uid"] != string(job.UID) || len(pod.Finalizers) > 0 {
			t.Errorf("pod %s: labels %v, finalizers %v", pod.Name, pod.Labels, pod.Finalizers)
		}
	}

	job, pods = runJob(t, c, "indexed", batchv1.JobSpec{Completions: new(int32(3)), Parallelism: new(int32(3)), CompletionMode: new(batchv1.IndexedCompletion)})
	if job.Status.CompletedIndexes != "0-2" {
		t.Errorf("completed indexes %q", job.Status.CompletedIndexes)
	}
	seen := map[string]bool{}
	for _, pod := range pods {
		index := pod.Annotations["batch.kubernetes.io/job-completion-index"]
		seen[index] = true
		if pod.Labels["batch.kubernetes.io/job-completion-index"] != index || pod.Spec.Hostname != "indexed-"+index || pod.Spec.Containers[0].Env[0].Name != "JOB_COMPLETION_INDEX" {
			t.Errorf("pod %s: annotations %v, labels %v, hostname %s, env %v", pod.Name, pod.Annotations, pod.Labels, pod.Spec.Hostname, pod.Spec.Containers[0].Env)
		}
	}
	if len(seen) != 3 || len(pods) != 3 {
		t.Errorf("indexes %v on %d pods", seen, len(pods))
	}

	done, err := c.BatchV1().Jobs("default").List(t.Context(), metav1.ListOptions{FieldSelector: "status.successful=3"})
	if err != nil || len(done.Items) != 2 {
		t.Errorf("jobs with three successes: %v, %v", done, err)
	}

	// A job that may not stay takes its pods along.
	runJob(t, c, "brief", batchv1.JobSpec{})
	if _, err := c.BatchV1().Jobs("default").Patch(t.Context(), "brief", types.MergePatchType, []byte(`{"spec":{"ttlSecondsAfterFinished":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "job and pod to go", func() (bool, error) {
		left, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=brief"})
		if err != nil || len(left.Items) > 0 {
			return false, fmt.Errorf("pods are left: %v", err)
		}
		jobs, err := c.BatchV1().Jobs("default").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=brief"})
		return err == nil && len(jobs.Items) == 0, err
	})
}
