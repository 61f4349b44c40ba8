// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// input is made from words: name (runs), name=3 (ended with 3), each newest last.
func input(pod *v1.Pod, words string) Input {
	r := &pleg.Pod{Sandboxes: []pleg.Sandbox{{ID: "s", Ready: true, IPs: []string{"10.0.0.1"}}}}
	for i, word := range strings.Fields(words) {
		name, code, ended := strings.Cut(word, "=")
		c := pleg.Container{Name: name, ID: fmt.Sprint(name, i), SandboxID: "s", RestartCount: i, State: pleg.Running, CreatedAt: time.Unix(int64(i), 0), StartedAt: time.Unix(int64(i), 0)}
		if ended {
			c.State, c.FinishedAt = pleg.Exited, time.Unix(int64(i+1), 0)
			fmt.Sscan(code, &c.ExitCode)
		}
		r.Containers = append([]pleg.Container{c}, r.Containers...)
	}
	yes := func(string) bool { return true }
	return Input{Pod: pod, Runtime: r, RuntimeName: "test", HostIPs: []string{"192.0.2.1"}, Started: yes, Ready: yes,
		Message: func(pleg.Container) string { return "" }, Now: metav1.NewTime(time.Unix(100, 0))}
}

func podOf(policy v1.RestartPolicy, names ...string) *v1.Pod {
	pod := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: policy}}
	always := v1.ContainerRestartPolicyAlways
	for _, name := range names {
		switch kind, name, _ := strings.Cut(name, ":"); kind {
		case "init":
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, v1.Container{Name: name})
		case "sidecar":
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, v1.Container{Name: name, RestartPolicy: &always})
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: kind})
		}
	}
	return pod
}

func TestPhase(t *testing.T) {
	always, onFailure, never := v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever
	for _, c := range []struct {
		name       string
		pod        *v1.Pod
		runtime    string
		terminated bool
		want       v1.PodPhase
	}{
		{"nothing yet", podOf(always, "a"), "", false, v1.PodPending},
		{"one of two", podOf(always, "a", "b"), "a", false, v1.PodPending},
		{"runs", podOf(always, "a"), "a", false, v1.PodRunning},
		{"one ended, always", podOf(always, "a", "b"), "a b=1", false, v1.PodRunning},
		{"all ended, always", podOf(always, "a"), "a=0", false, v1.PodRunning},
		{"all ended, always, terminated", podOf(always, "a"), "a=0", true, v1.PodSucceeded},
		{"all failed, always, terminated", podOf(always, "a"), "a=143", true, v1.PodFailed},
		{"done", podOf(never, "a", "b"), "a=0 b=0", false, v1.PodSucceeded},
		{"one failed, never", podOf(never, "a", "b"), "a=0 b=1", false, v1.PodFailed},
		{"failed, on failure", podOf(onFailure, "a"), "a=1", false, v1.PodRunning},
		{"failed, one runs, never", podOf(never, "a", "b"), "a=1 b", false, v1.PodRunning},
		{"init runs", podOf(always, "init:i", "a"), "i", false, v1.PodPending},
		{"init failed, always", podOf(always, "init:i", "a"), "i=1", false, v1.PodPending},
		{"init failed, never", podOf(never, "init:i", "a"), "i=1", false, v1.PodFailed},
		{"sidecar runs on", podOf(never, "sidecar:x", "a"), "x a=0", false, v1.PodRunning},
		{"sidecar ended too", podOf(never, "sidecar:x", "a"), "x=143 a=0", true, v1.PodSucceeded},
		{"sidecar restarts", podOf(always, "sidecar:x", "a"), "x=1 a", false, v1.PodRunning},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := input(c.pod, c.runtime)
			in.Terminated = c.terminated
			if got := Generate(in).Phase; got != c.want {
				t.Errorf("phase is %s, want %s", got, c.want)
			}
		})
	}
}

func TestPhaseIsNeverLeft(t *testing.T) {
	in := input(podOf(v1.RestartPolicyAlways, "a"), "a")
	in.Pod.Status.Phase = v1.PodFailed
	if got := Generate(in).Phase; got != v1.PodFailed {
		t.Errorf("a failed pod became %s", got)
	}
}

func TestFailureWaitsForTheLastContainer(t *testing.T) {
	in := input(podOf(v1.RestartPolicyAlways, "a"), "a")
	in.Old.Phase = v1.PodRunning
	in.Failure = &Failure{Reason: "Evicted", Message: "why", Disrupted: true}
	s := Generate(in)
	if c := get(s.Conditions, v1.DisruptionTarget); s.Phase != v1.PodRunning || s.Reason != "" || c == nil || c.Reason != "TerminationByKubelet" {
		t.Errorf("while it runs: %s %s %v", s.Phase, s.Reason, c)
	}
	failure := in.Failure
	in = input(in.Pod, "a=0")
	in.Old, in.Failure, in.Terminated = s, failure, true
	if s = Generate(in); s.Phase != v1.PodFailed || s.Reason != "Evicted" || s.Message != "why" {
		t.Errorf("at the end: %s %s %s", s.Phase, s.Reason, s.Message)
	}
}

func TestContainerStatus(t *testing.T) {
	pod := podOf(v1.RestartPolicyAlways, "a")
	in := input(pod, "a=1 a=2 a")
	s := Generate(in).ContainerStatuses[0]
	if s.State.Running == nil || s.RestartCount != 2 || s.ContainerID != "test://a2" || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 2 {
		t.Errorf("status is %+v", s)
	}

	in = input(pod, "a=1")
	in.Waiting = map[string]Waiting{"a": {"CrashLoopBackOff", "back-off"}}
	s = Generate(in).ContainerStatuses[0]
	if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.LastTerminationState.Terminated == nil || s.Ready {
		t.Errorf("backing off: %+v", s)
	}

	// The runtime lost a container that ran.
	in = input(pod, "")
	in.Old.ContainerStatuses = []v1.ContainerStatus{{Name: "a", RestartCount: 4, ContainerID: "test://old", State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}}
	s = Generate(in).ContainerStatuses[0]
	if s.RestartCount != 5 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.Reason != "ContainerStatusUnknown" {
		t.Errorf("lost: %+v", s)
	}
}

func TestConditions(t *testing.T) {
	pod := podOf(v1.RestartPolicyAlways, "init:i", "a")
	pod.Spec.ReadinessGates = []v1.PodReadinessGate{{ConditionType: "gate"}}
	find := func(s v1.PodStatus, kind v1.PodConditionType) v1.PodCondition {
		if c := get(s.Conditions, kind); c != nil {
			return *c
		}
		return v1.PodCondition{}
	}
	s := Generate(input(pod, "i"))
	if c := find(s, v1.PodInitialized); c.Status != v1.ConditionFalse || c.Reason != "ContainersNotInitialized" {
		t.Errorf("Initialized is %+v", c)
	}
	if c := find(s, v1.ContainersReady); c.Message != "containers with unready status: [a]" {
		t.Errorf("ContainersReady is %+v", c)
	}
	s = Generate(input(pod, "i=0 a"))
	if c := find(s, v1.ContainersReady); c.Status != v1.ConditionTrue {
		t.Errorf("ContainersReady is %+v", c)
	}
	if c := find(s, v1.PodReady); c.Status != v1.ConditionFalse || c.Reason != "ReadinessGatesNotReady" || c.Message != `corresponding condition of pod readiness gate "gate" does not exist.` {
		t.Errorf("Ready is %+v", c)
	}
	before := s
	pod.Status.Conditions = []v1.PodCondition{{Type: "gate", Status: v1.ConditionTrue}}
	in := input(pod, "i=0 a")
	in.Old, in.Now = before, metav1.NewTime(time.Unix(200, 0))
	s = Generate(in)
	if c := find(s, v1.PodReady); c.Status != v1.ConditionTrue || c.LastTransitionTime.Unix() != 200 {
		t.Errorf("Ready is %+v", c)
	}
	if c := find(s, v1.ContainersReady); c.LastTransitionTime.Unix() != 100 {
		t.Errorf("ContainersReady changed at %v", c.LastTransitionTime)
	}
	if c := find(s, "gate"); c.Status != v1.ConditionTrue {
		t.Error("the condition of another was dropped")
	}
}

func TestResizeInProgress(t *testing.T) {
	cpu := func(milli int64) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}}
	}
	has := func(milli int64) string {
		return criconfig.Resizable(&v1.Pod{}, &v1.Container{Resources: cpu(milli)})
	}
	since := metav1.NewTime(time.Unix(50, 0))
	before := func(reason string) []v1.PodCondition {
		return []v1.PodCondition{{Type: v1.PodResizeInProgress, Status: v1.ConditionTrue, Reason: reason, LastProbeTime: since, LastTransitionTime: since}}
	}
	for _, c := range []struct {
		name, pod, runtime, has, failed, deferred string
		old                                       []v1.PodCondition
		want                                      string // the condition's reason, and since when it holds
	}{
		{name: "has it", pod: "a", runtime: "a", has: has(2), old: before("")},
		{name: "has less", pod: "a", runtime: "a", has: has(1), want: " 100"},
		{name: "not known what it has", pod: "a", runtime: "a"},
		{name: "had less before", pod: "a", runtime: "a", has: has(1), old: before(""), want: " 50"},
		{name: "cannot have it", pod: "a", runtime: "a", has: has(1), failed: "no room", old: before(""), want: "Error 100"},
		{name: "still cannot", pod: "a", runtime: "a", has: has(1), failed: "no room", old: before("Error"), want: "Error 50"},
		{name: "ended", pod: "a", runtime: "a=1", has: has(1)},
		{name: "not started", pod: "a", has: has(1)},
		{name: "deferred", pod: "a", runtime: "a", has: has(2), deferred: "full"},
		{name: "sidecar", pod: "sidecar:a", runtime: "a", has: has(1), want: " 100"},
		{name: "init container", pod: "init:a", runtime: "a", has: has(1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := podOf(v1.RestartPolicyAlways, c.pod)
			pod.Generation = 7
			for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
				for i := range list {
					list[i].Resources = cpu(2)
				}
			}
			in := input(pod, c.runtime)
			in.Old.Conditions, in.ResizeError, in.ResizeDeferred = c.old, c.failed, c.deferred
			for i := range in.Runtime.Containers {
				in.Runtime.Containers[i].Resources = c.has
			}
			got := ""
			if have := get(Generate(in).Conditions, v1.PodResizePending); (have != nil) != (c.deferred != "") || have != nil && (have.Reason != v1.PodReasonDeferred || have.Message != c.deferred) {
				t.Errorf("pending is %+v", have)
			}
			if have := get(Generate(in).Conditions, v1.PodResizeInProgress); have != nil {
				got = fmt.Sprint(have.Reason, " ", have.LastTransitionTime.Unix())
				if have.Status != v1.ConditionTrue || have.ObservedGeneration != 7 || have.Message != c.failed || have.LastProbeTime.IsZero() {
					t.Errorf("got %+v", have)
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRestartRules(t *testing.T) {
	never := v1.ContainerRestartPolicyNever
	c := &v1.Container{RestartPolicy: &never, RestartPolicyRules: []v1.ContainerRestartRule{{Action: v1.ContainerRestartRuleActionRestart,
		ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}}
	pod := podOf(v1.RestartPolicyAlways, "a")
	for code, want := range map[int32]bool{0: false, 1: false, 42: true} {
		if got := Restarts(pod, c, false, code); got != want {
			t.Errorf("restart after %d: %v", code, got)
		}
	}
}

func TestManagerSendsWhatChangesTogether(t *testing.T) {
	pod := podOf(v1.RestartPolicyAlways, "a")
	pod.Name, pod.Namespace, pod.UID = "web", "default", "uid"
	pod.Status.Conditions = []v1.PodCondition{{Type: "of-another", Status: v1.ConditionTrue}}
	client := fake.NewClientset(pod)
	enter, leave := make(chan struct{}, 16), make(chan struct{})
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		enter <- struct{}{}
		<-leave
		return false, nil, nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := NewManager(ctx, client, nil)
	m.Set(pod, v1.PodStatus{Phase: v1.PodPending})
	<-enter // the first is on its way
	for i := range 10 {
		m.Set(pod, v1.PodStatus{Phase: v1.PodRunning, Message: fmt.Sprint(i)})
	}
	close(leave)
	if err := m.Settle(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	got, err := client.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status.Phase != v1.PodRunning || got.Status.Message != "9" || len(got.Status.Conditions) != 1 {
		t.Errorf("status is %+v", got.Status)
	}
	m.Set(pod, v1.PodStatus{Phase: v1.PodRunning, Message: "9"})
	if err := m.Settle(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	patches := 0
	for _, a := range client.Actions() {
		if a.Matches("patch", "pods") {
			patches++
		}
	}
	if patches != 2 {
		t.Errorf("%d patches for eleven changes, want 2", patches)
	}
}

func TestManagerGivesUpOnAnotherPodOfTheSameName(t *testing.T) {
	old := podOf(v1.RestartPolicyAlways, "a")
	old.Name, old.Namespace, old.UID = "web", "default", "old"
	other := old.DeepCopy()
	other.UID = "new"
	client := fake.NewClientset(other)
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(v1.Resource("pods"), "web", errors.New("uid"))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := NewManager(ctx, client, nil)
	m.Set(old, v1.PodStatus{Phase: v1.PodRunning})
	if err := m.Settle(ctx, old.UID); err != nil {
		t.Fatal(err)
	}
}
