// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestAccount(t *testing.T) {
	won, lost, runs := pod("won", corev1.PodSucceeded), exit(1, 0, pod("lost", corev1.PodFailed)), pod("runs", corev1.PodRunning)
	ignore := func(s *batchv1.JobSpec) {
		s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionIgnore,
			OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{2}}}}}
	}
	deleting := newJob()
	deleting.DeletionTimestamp = new(metav1.NewTime(noon))
	verdict := func(kind batchv1.JobConditionType) *batchv1.JobCondition {
		return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: "R"}
	}
	for _, test := range []struct {
		name    string
		job     *batchv1.Job
		pods    []*corev1.Pod
		verdict *batchv1.JobCondition
		release []string
		noted   string // succeeded and failed
		// conditions that the status has now, and the one to come
		conditions, last string
	}{
		{"nothing", newJob(), []*corev1.Pod{runs}, nil, nil, "[] []", "", ""},
		{"one of each", newJob(), []*corev1.Pod{won, lost, runs}, nil, []string{"lost", "won"}, "[won] [lost]", "", ""},
		{"an ignored failure", newJob(ignore), []*corev1.Pod{won, lost}, nil, []string{"lost", "won"}, "[won] []", "", ""},
		{"the job fails: what runs has failed too", newJob(), []*corev1.Pod{won, lost, runs}, verdict(batchv1.JobFailureTarget),
			[]string{"lost", "runs", "won"}, "[won] [lost runs]", "FailureTarget", "Failed"},
		{"the job has been about to fail", newJob(), nil, verdict(batchv1.JobFailed), nil, "[] []", "", "Failed"},
		{"the job succeeds: what runs is let go", newJob(), []*corev1.Pod{won, runs}, verdict(batchv1.JobSuccessCriteriaMet),
			[]string{"runs", "won"}, "[won] []", "SuccessCriteriaMet", "Complete"},
		{"the job is being deleted", deleting, []*corev1.Pod{runs}, nil, []string{"runs"}, "[] []", "", ""},
		{"indexes need no note", indexedJob(3), []*corev1.Pod{at(1, 0, pod("a", corev1.PodSucceeded)), at(7, 0, pod("b", corev1.PodFailed))}, nil, []string{"a", "b"}, "[] []", "", ""},
		{"a failed pod waits for its successor", indexedJob(3, func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = new(int32(1)) }),
			[]*corev1.Pod{at(0, 0, pod("held", corev1.PodFailed)), at(1, 1, pod("gone", corev1.PodFailed))}, nil, []string{"gone"}, "[] [gone]", "", ""},
	} {
		s := see(test.job, test.pods...)
		a := s.account(test.verdict)
		notes := test.job.Status.UncountedTerminatedPods
		slices.Sort(notes.Failed)
		conditions, last := "", ""
		for _, c := range test.job.Status.Conditions {
			conditions += string(c.Type)
		}
		if a.last != nil {
			last = string(a.last.Type)
		}
		if noted := fmt.Sprint(notes.Succeeded, notes.Failed); noted != test.noted || !slices.Equal(names(a.release), test.release) || conditions != test.conditions || last != test.last || a.full {
			t.Errorf("%s: noted %s, release %v, conditions %q, then %q, full: %v", test.name, noted, names(a.release), conditions, last, a.full)
		}
	}
}

// A status of thousands of pods grows in steps.
func TestAccountInSteps(t *testing.T) {
	var pods []*corev1.Pod
	for i := range maxNoted + 100 {
		pods = append(pods, pod(fmt.Sprint(i), corev1.PodSucceeded))
	}
	job := newJob()
	s := see(job, pods...)
	a := s.account(nil)
	if !a.full || len(a.release) != maxNoted || len(job.Status.UncountedTerminatedPods.Succeeded) != maxNoted {
		t.Fatalf("first: full %v, %d to release", a.full, len(a.release))
	}
	for _, p := range a.release {
		a.tracked.Delete(p.UID)
		p.Finalizers = nil
	}
	settle(&job.Status, a.tracked)
	a = see(job, pods...).account(nil)
	if a.full || len(a.release) != 100 || job.Status.Succeeded != maxNoted {
		t.Errorf("second: full %v, %d to release, %d counted", a.full, len(a.release), job.Status.Succeeded)
	}
}

func TestFinish(t *testing.T) {
	complete := &batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon)}
	for _, test := range []struct {
		name   string
		status batchv1.JobStatus
		last   *batchv1.JobCondition
		want   bool
	}{
		{"not to end", batchv1.JobStatus{}, nil, false},
		{"all counted", batchv1.JobStatus{Terminating: new(int32(0))}, complete, true},
		{"one to be counted", batchv1.JobStatus{UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}}}, complete, false},
		{"one still ending", batchv1.JobStatus{Terminating: new(int32(1))}, complete, false},
	} {
		job := newJob()
		job.Status = test.status
		if got := finish(job, test.last); got != test.want || finished(job) != test.want || (job.Status.CompletionTime != nil) != test.want {
			t.Errorf("%s: %v, status %+v", test.name, got, job.Status)
		}
	}
}

func TestNewPod(t *testing.T) {
	if p := newPod(newJob(), noIndex, nil); p.GenerateName != "sum-" || !tracked(p) || len(p.Annotations) != 0 || p.Spec.Hostname != "" || len(p.Spec.Containers[0].Env) != 0 {
		t.Errorf("without index: %+v", p)
	}
	job := indexedJob(20000, func(s *batchv1.JobSpec) {
		s.BackoffLimitPerIndex = new(int32(5))
		s.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: indexVariable, Value: "mine"}}
		s.Template.Finalizers = []string{"example.com/f"}
	})
	job.Name = "a-name-that-is-as-long-as-that-of-a-job-may-be-and-then-some"
	p := newPod(job, 12345, at(12345, 2, pod("before", corev1.PodFailed)))
	if want := "a-name-that-is-as-long-as-that-of-a-job-may-be-and--12345-"; p.GenerateName != want || len(want)+5 > 63 {
		t.Errorf("generateName %q", p.GenerateName)
	}
	if !slices.Equal(p.Finalizers, []string{"example.com/f", batchv1.JobTrackingFinalizer}) {
		t.Errorf("finalizers %v", p.Finalizers)
	}
	if p.Annotations[batchv1.JobIndexFailureCountAnnotation] != "3" || p.Annotations[batchv1.JobCompletionIndexAnnotation] != "12345" {
		t.Errorf("annotations %v", p.Annotations)
	}
	if env := p.Spec.Containers[0].Env; len(env) != 1 || env[0].Value != "mine" {
		t.Errorf("a variable of the template was changed: %v", env)
	}
	if env := p.Spec.InitContainers[0].Env; len(env) != 1 || env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" {
		t.Errorf("init container: %v", env)
	}
	if job.Spec.Template.Labels[batchv1.JobCompletionIndexAnnotation] != "" || len(job.Spec.Template.Spec.InitContainers[0].Env) > 0 {
		t.Error("the template was changed")
	}
	if p := newPod(job, 0, nil); p.Annotations[batchv1.JobIndexFailureCountAnnotation] != "0" {
		t.Errorf("first try: %v", p.Annotations)
	}
}

func TestJudge(t *testing.T) {
	in := batchv1.PodFailurePolicyOnExitCodesOpIn
	rule := func(action batchv1.PodFailurePolicyAction, codes *batchv1.PodFailurePolicyOnExitCodesRequirement, conditions ...batchv1.PodFailurePolicyOnPodConditionsPattern) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: codes, OnPodConditions: conditions}
	}
	policy := &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		rule(batchv1.PodFailurePolicyActionIgnore, nil, batchv1.PodFailurePolicyOnPodConditionsPattern{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}),
		rule(batchv1.PodFailurePolicyActionFailJob, &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: new("c"), Operator: in, Values: []int32{3}}),
		rule(batchv1.PodFailurePolicyActionFailIndex, &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: in, Values: []int32{4, 5}}),
		rule(batchv1.PodFailurePolicyActionCount, &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{9}}),
		rule(batchv1.PodFailurePolicyActionFailJob, nil, batchv1.PodFailurePolicyOnPodConditionsPattern{Type: "Odd", Status: corev1.ConditionUnknown}),
	}}
	conditions := func(p *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus) *corev1.Pod {
		p.Status.Conditions = []corev1.PodCondition{{Type: kind, Status: status}}
		return p
	}
	initFails := exit(0, 0, pod("p", corev1.PodFailed))
	initFails.Status.InitContainerStatuses = exit(5, 0, pod("x", "")).Status.ContainerStatuses
	for _, test := range []struct {
		name    string
		pod     *corev1.Pod
		action  batchv1.PodFailurePolicyAction
		message string
	}{
		{"no rule", exit(9, 0, pod("p", corev1.PodFailed)), batchv1.PodFailurePolicyActionCount, ""},
		{"disrupted", conditions(exit(3, 0, pod("p", corev1.PodFailed)), corev1.DisruptionTarget, corev1.ConditionTrue), batchv1.PodFailurePolicyActionIgnore, ""},
		{"not disrupted", conditions(exit(3, 0, pod("p", corev1.PodFailed)), corev1.DisruptionTarget, corev1.ConditionFalse), batchv1.PodFailurePolicyActionFailJob,
			"Container c for pod default/p failed with exit code 3 matching FailJob rule at index 1"},
		{"an init container", initFails, batchv1.PodFailurePolicyActionFailIndex, ""},
		{"any other code", exit(1, 0, pod("p", corev1.PodFailed)), batchv1.PodFailurePolicyActionCount, ""},
		{"a condition", conditions(pod("p", corev1.PodFailed), "Odd", corev1.ConditionUnknown), batchv1.PodFailurePolicyActionFailJob,
			"Pod default/p has condition Odd matching FailJob rule at index 4"},
	} {
		if got := judge(policy, test.pod); got.action != test.action || got.message != test.message {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	if !judge(nil, exit(1, time.Second, pod("p", corev1.PodFailed))).counts() {
		t.Error("without a policy a failure does not count")
	}
}
