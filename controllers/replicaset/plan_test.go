// SPDX-License-Identifier: Apache-2.0

package replicaset

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func set(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-uid", Generation: 3},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
}

type podOption func(*corev1.Pod)

func running(name string, options ...podOption) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-of-" + name),
			Labels:            map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
		},
		Spec: corev1.PodSpec{NodeName: "n-" + name},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
		}}},
	}
	for _, o := range options {
		o(pod)
	}
	return pod
}

func onNode(name string) podOption            { return func(p *corev1.Pod) { p.Spec.NodeName = name } }
func inPhase(phase corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = phase } }
func notReady(p *corev1.Pod)                  { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func labelled(labels map[string]string) podOption {
	return func(p *corev1.Pod) { p.Labels = labels }
}
func readyFor(d time.Duration) podOption {
	return func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-d)) }
}
func createdBefore(d time.Duration) podOption {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-d)) }
}
func restarts(n int32) podOption {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}
func cost(value string) podOption {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: value} }
}

func TestDecide(t *testing.T) {
	many := make([]*corev1.Pod, 600)
	for i := range many {
		many[i] = running("p")
	}
	for _, tc := range []struct {
		name    string
		size    int32
		active  []*corev1.Pod
		related []*corev1.Pod
		create  int
		remove  []string
	}{
		{name: "nothing to do", size: 1, active: []*corev1.Pod{running("a")}},
		{name: "creates what is missing", size: 3, active: []*corev1.Pod{running("a")}, create: 2},
		{name: "creates at most a burst", size: 2000, create: burst},
		{name: "unassigned goes first", size: 1,
			active: []*corev1.Pod{running("a", inPhase(corev1.PodPending)), running("b", onNode(""), inPhase(corev1.PodPending))}, remove: []string{"b"}},
		{name: "pending before unknown before running", size: 0 + 1,
			active: []*corev1.Pod{running("a"), running("b", inPhase(corev1.PodUnknown)), running("c", inPhase(corev1.PodPending))}, remove: []string{"c", "b"}},
		{name: "not ready before ready whatever its cost", size: 1,
			active: []*corev1.Pod{running("a", cost("-5")), running("b", notReady, cost("100"))}, remove: []string{"b"}},
		{name: "cheap before dear", size: 1,
			active: []*corev1.Pod{running("a", cost("10")), running("b", cost("-10")), running("c")}, remove: []string{"b", "c"}},
		{name: "a cost that is no number is none", size: 1,
			active: []*corev1.Pod{running("a", cost("+7"), readyFor(time.Minute)), running("b", cost("1"))}, remove: []string{"a"}},
		{name: "the fuller node first, counting the pods of sibling sets", size: 1,
			active:  []*corev1.Pod{running("a", onNode("n1")), running("b", onNode("n2"))},
			related: []*corev1.Pod{running("a", onNode("n1")), running("b", onNode("n2")), running("x", onNode("n2"))}, remove: []string{"b"}},
		{name: "ended pods do not fill a node", size: 1,
			active:  []*corev1.Pod{running("a", onNode("n1")), running("b", onNode("n2"))},
			related: []*corev1.Pod{running("a", onNode("n1")), running("y", onNode("n1")), running("b", onNode("n2")), running("x", onNode("n2"), inPhase(corev1.PodFailed)), running("z", onNode("n2"), inPhase(corev1.PodFailed))}, remove: []string{"a"}},
		{name: "ready for a shorter time first", size: 1,
			active: []*corev1.Pod{running("a"), running("b", readyFor(time.Minute))}, remove: []string{"b"}},
		{name: "times of the same magnitude tie and the UID decides", size: 1,
			active: []*corev1.Pod{running("b", readyFor(3000*time.Second)), running("a", readyFor(3100*time.Second))}, remove: []string{"a"}},
		{name: "restarted more often first", size: 1,
			active: []*corev1.Pod{running("a", restarts(1)), running("b", restarts(4))}, remove: []string{"b"}},
		{name: "younger first", size: 1,
			active: []*corev1.Pod{running("a"), running("b", createdBefore(time.Second))}, remove: []string{"b"}},
		{name: "all go without ranking", size: 0, active: []*corev1.Pod{running("a"), running("b", notReady)}, remove: []string{"a", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := slices.Clone(tc.active)
			p := decide(set(tc.size), tc.active, func() []*corev1.Pod { return tc.related }, now)
			var remove []string
			for _, pod := range p.remove {
				remove = append(remove, pod.Name)
			}
			if p.create != tc.create || !slices.Equal(remove, tc.remove) {
				t.Errorf("got create %d, remove %v; want %d, %v", p.create, remove, tc.create, tc.remove)
			}
			if !slices.Equal(before, tc.active) {
				t.Error("the slice of the caller was reordered")
			}
		})
	}
	if p := decide(set(0), many, func() []*corev1.Pod { return nil }, now); len(p.remove) != burst {
		t.Errorf("removes %d at a time, want %d", len(p.remove), burst)
	}
}

func TestStatusOf(t *testing.T) {
	failure := appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
		Reason: "FailedCreate", Message: "exceeded quota",
	}
	one, none := int32(1), int32(0)
	for _, tc := range []struct {
		name        string
		size        int32
		minReady    int32
		had         []appsv1.ReplicaSetCondition
		active      []*corev1.Pod
		terminating []*corev1.Pod
		failed      error
		want        appsv1.ReplicaSetStatus
	}{
		{name: "counts", size: 3, minReady: 60, active: []*corev1.Pod{
			running("a"), running("b", readyFor(time.Second)), running("c", notReady, labelled(map[string]string{"app": "other"})),
		}, terminating: []*corev1.Pod{running("d")},
			want: appsv1.ReplicaSetStatus{Replicas: 3, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 1, TerminatingReplicas: &one, ObservedGeneration: 3}},
		{name: "no count of terminating pods for kinds without", size: 0, want: appsv1.ReplicaSetStatus{ObservedGeneration: 3}},
		{name: "a refusal shows", size: 1, failed: errors.New("exceeded quota"), terminating: []*corev1.Pod{},
			want: appsv1.ReplicaSetStatus{ObservedGeneration: 3, TerminatingReplicas: &none, Conditions: []appsv1.ReplicaSetCondition{failure}}},
		{name: "and keeps its first message and time", size: 1, failed: errors.New("another"), had: []appsv1.ReplicaSetCondition{failure},
			want: appsv1.ReplicaSetStatus{ObservedGeneration: 3, Conditions: []appsv1.ReplicaSetCondition{failure}}},
		{name: "and goes with the first success", size: 1, had: []appsv1.ReplicaSetCondition{failure}, want: appsv1.ReplicaSetStatus{ObservedGeneration: 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rs := set(tc.size)
			rs.Spec.MinReadySeconds = tc.minReady
			rs.Status.Conditions = tc.had
			got := statusOf(rs, tc.active, tc.terminating, tc.failed, now)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}
