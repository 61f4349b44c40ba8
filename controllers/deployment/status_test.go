// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStatus(t *testing.T) {
	two := int32(2)
	old, newest := set("v1", 9, 8, 7), set("v2", 1, 5, 1)
	old.Status.TerminatingReplicas, newest.Status.TerminatingReplicas = &two, new(int32)
	r := split(deploy(10, "3", "2"), []*appsv1.ReplicaSet{old, newest})
	want := appsv1.DeploymentStatus{
		ObservedGeneration: 2, Replicas: 13, UpdatedReplicas: 5, ReadyReplicas: 8, AvailableReplicas: 8, UnavailableReplicas: 5, TerminatingReplicas: &two,
		Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", Message: "Deployment has minimum availability.",
			LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
		}},
	}
	if diff := cmp.Diff(want, r.status(now)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}

	old.Status.AvailableReplicas, newest.Status.TerminatingReplicas = 6, nil
	got := r.status(now)
	if c := condition(&got, appsv1.DeploymentAvailable); c.Status != corev1.ConditionFalse || c.Reason != "MinimumReplicasUnavailable" || got.TerminatingReplicas != nil {
		t.Errorf("available %+v, terminating %v", c, got.TerminatingReplicas)
	}
}

func TestProgress(t *testing.T) {
	progressing := func(status corev1.ConditionStatus, reason string, ago time.Duration) *appsv1.DeploymentCondition {
		at := metav1.NewTime(now.Add(-ago))
		return &appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, LastUpdateTime: at, LastTransitionTime: at}
	}
	failed := set("v2", 1, 5, 0)
	failed.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "no quota"}}
	rolling := []*appsv1.ReplicaSet{set("v1", 9, 8, 8), set("v2", 1, 5, 0)}
	before := appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 13, UpdatedReplicas: 5, ReadyReplicas: 8, AvailableReplicas: 8}
	for _, tc := range []struct {
		name       string
		size       int32
		noDeadline bool
		before     appsv1.DeploymentStatus
		had        *appsv1.DeploymentCondition
		sets       []*appsv1.ReplicaSet
		status     corev1.ConditionStatus
		reason     string
		message    string
		failure    string
		updated    bool // the condition's update time is now
		wait       time.Duration
	}{
		{name: "complete", size: 5, had: progressing("True", ReasonReplicaSetUpdated, time.Minute), sets: []*appsv1.ReplicaSet{set("v2", 1, 5, 5)},
			status: "True", reason: "NewReplicaSetAvailable", message: `ReplicaSet "web-v2" has successfully progressed.`, updated: true},
		{name: "still complete", size: 5, had: progressing("True", ReasonNewReplicaAvailable, time.Hour), sets: []*appsv1.ReplicaSet{set("v2", 1, 5, 4)},
			status: "True", reason: "NewReplicaSetAvailable"},
		{name: "a step forward", size: 10, had: progressing("True", ReasonReplicaSetUpdated, time.Minute), sets: rolling,
			status: "True", reason: "ReplicaSetUpdated", message: `ReplicaSet "web-v2" is progressing.`, updated: true, wait: 601 * time.Second},
		{name: "no step, time left", size: 10, before: before, had: progressing("True", ReasonReplicaSetUpdated, time.Minute), sets: rolling,
			status: "True", reason: "ReplicaSetUpdated", wait: 541 * time.Second},
		{name: "no step, no time left", size: 10, before: before, had: progressing("True", ReasonReplicaSetUpdated, 11*time.Minute), sets: rolling,
			status: "False", reason: "ProgressDeadlineExceeded", message: `ReplicaSet "web-v2" has timed out progressing.`, updated: true},
		{name: "stays timed out", size: 10, before: before, had: progressing("False", ReasonTimedOut, time.Hour), sets: rolling,
			status: "False", reason: "ProgressDeadlineExceeded"},
		{name: "a step after the deadline mends it", size: 10, had: progressing("False", ReasonTimedOut, time.Hour), sets: rolling,
			status: "True", reason: "ReplicaSetUpdated", message: `ReplicaSet "web-v2" is progressing.`, updated: true, wait: 601 * time.Second},
		{name: "the first rollout's end does not time out the next", size: 10, before: before, had: progressing("True", ReasonNewReplicaAvailable, time.Hour), sets: rolling,
			status: "True", reason: "NewReplicaSetAvailable"},
		{name: "no deadline, no condition", size: 10, noDeadline: true, had: progressing("True", ReasonReplicaSetUpdated, time.Hour), sets: rolling},
		{name: "a ReplicaSet that cannot make pods", size: 10, before: before, had: progressing("True", ReasonReplicaSetUpdated, time.Minute), sets: []*appsv1.ReplicaSet{set("v1", 9, 8, 8), failed},
			status: "True", reason: "ReplicaSetUpdated", failure: "no quota", wait: 541 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := deploy(tc.size, "3", "2")
			if tc.noDeadline {
				d.Spec.ProgressDeadlineSeconds = nil
			}
			d.Status = tc.before
			d.Status.Conditions = []appsv1.DeploymentCondition{*tc.had}
			status, wait := split(d, tc.sets).progress(now)
			if wait != tc.wait {
				t.Errorf("looks again after %v, want %v", wait, tc.wait)
			}
			failure := ""
			if c := condition(&status, appsv1.DeploymentReplicaFailure); c != nil {
				failure = c.Message
			}
			if failure != tc.failure {
				t.Errorf("failure %q, want %q", failure, tc.failure)
			}
			c := condition(&status, appsv1.DeploymentProgressing)
			if tc.reason == "" {
				if c != nil {
					t.Errorf("condition %+v, want none", c)
				}
				return
			}
			if c == nil || c.Status != tc.status || c.Reason != tc.reason || c.Message != tc.message || c.LastUpdateTime.Time.Equal(now) != tc.updated {
				t.Fatalf("condition %+v", c)
			}
			if same := c.LastTransitionTime.Equal(&tc.had.LastTransitionTime); same != (tc.status == tc.had.Status) {
				t.Errorf("transition time %v, was %v", c.LastTransitionTime, tc.had.LastTransitionTime)
			}
		})
	}
}

func TestMarkPaused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		paused bool
		had    string
		want   string
	}{
		{"running", false, ReasonReplicaSetUpdated, ReasonReplicaSetUpdated},
		{"paused", true, ReasonReplicaSetUpdated, ReasonPaused},
		{"resumed", false, ReasonPaused, ReasonResumed},
		{"a missed deadline is not hidden", true, ReasonTimedOut, ReasonTimedOut},
	} {
		d := deploy(1, "1", "1")
		d.Spec.Paused = tc.paused
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, tc.had, "", now)
		markPaused(d, now)
		if got := condition(&d.Status, appsv1.DeploymentProgressing).Reason; got != tc.want {
			t.Errorf("%s: reason %s, want %s", tc.name, got, tc.want)
		}
	}
}
