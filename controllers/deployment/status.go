// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the Progressing condition. kubectl rollout status reads ProgressDeadlineExceeded.
const (
	ReasonReplicaSetUpdated   = "ReplicaSetUpdated"
	ReasonFailedCreate        = "ReplicaSetCreateError"
	ReasonNewReplicaSet       = "NewReplicaSetCreated"
	ReasonFoundNewReplicaSet  = "FoundNewReplicaSet"
	ReasonNewReplicaAvailable = "NewReplicaSetAvailable"
	ReasonTimedOut            = "ProgressDeadlineExceeded"
	ReasonPaused              = "DeploymentPaused"
	ReasonResumed             = "DeploymentResumed"
)

// Reasons of the Available condition.
const (
	ReasonAvailable   = "MinimumReplicasAvailable"
	ReasonUnavailable = "MinimumReplicasUnavailable"
)

// status counts what the ReplicaSets report, with the Available condition that follows from it.
func (r *rollout) status(now time.Time) appsv1.DeploymentStatus {
	d, sets := r.d, r.all()
	status := appsv1.DeploymentStatus{
		ObservedGeneration:  d.Generation,
		TerminatingReplicas: terminating(sets),
		CollisionCount:      d.Status.CollisionCount,
		Conditions:          slices.Clone(d.Status.Conditions),
	}
	for _, rs := range sets {
		status.Replicas += rs.Status.Replicas
		status.ReadyReplicas += rs.Status.ReadyReplicas
		status.AvailableReplicas += rs.Status.AvailableReplicas
	}
	if r.newest != nil {
		status.UpdatedReplicas = r.newest.Status.Replicas
	}
	status.UnavailableReplicas = max(0, replicas(sets)-status.AvailableReplicas)

	_, unavailable := fenceposts(d)
	if status.AvailableReplicas >= *d.Spec.Replicas-unavailable {
		setCondition(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, ReasonAvailable, "Deployment has minimum availability.", now)
	} else {
		setCondition(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, ReasonUnavailable, "Deployment does not have minimum availability.", now)
	}
	return status
}

// progress is the status during a rollout, with what it says about progress, and how long until that has to be looked at
// again; zero if it need not.
func (r *rollout) progress(now time.Time) (appsv1.DeploymentStatus, time.Duration) {
	d, status := r.d, r.status(now)
	subject := fmt.Sprintf("Deployment %q", d.Name)
	if r.newest != nil {
		subject = fmt.Sprintf("ReplicaSet %q", r.newest.Name)
	}
	current := condition(&d.Status, appsv1.DeploymentProgressing)
	switch {
	case !hasDeadline(d):
		removeCondition(&status, appsv1.DeploymentProgressing)
	case current != nil && current.Reason == ReasonNewReplicaAvailable && status.Replicas == status.UpdatedReplicas:
		// The rollout is over: pods that come and go since are not its progress.
	case complete(d, &status):
		setCondition(&status, appsv1.DeploymentProgressing, corev1.ConditionTrue, ReasonNewReplicaAvailable, subject+" has successfully progressed.", now)
	case progressed(&d.Status, &status):
		// Every step forward sets the clock of the deadline back, so this one is written anew even with the same reason.
		removeCondition(&status, appsv1.DeploymentProgressing)
		setCondition(&status, appsv1.DeploymentProgressing, corev1.ConditionTrue, ReasonReplicaSetUpdated, subject+" is progressing.", now)
		if current != nil && current.Status == corev1.ConditionTrue {
			status.Conditions[len(status.Conditions)-1].LastTransitionTime = current.LastTransitionTime
		}
	case timedOut(d, current, now):
		setCondition(&status, appsv1.DeploymentProgressing, corev1.ConditionFalse, ReasonTimedOut, subject+" has timed out progressing.", now)
	}

	if failure := r.failure(); failure != nil {
		setCondition(&status, appsv1.DeploymentReplicaFailure, failure.Status, failure.Reason, failure.Message, failure.LastTransitionTime.Time)
	} else {
		removeCondition(&status, appsv1.DeploymentReplicaFailure)
	}
	return status, untilDeadline(d, &status, now)
}

// failure is what keeps a ReplicaSet from making pods, of the newest one for choice.
func (r *rollout) failure() *appsv1.ReplicaSetCondition {
	sets := r.all()
	for i := len(sets) - 1; i >= 0; i-- {
		for j := range sets[i].Status.Conditions {
			if c := &sets[i].Status.Conditions[j]; c.Type == appsv1.ReplicaSetReplicaFailure {
				return c
			}
		}
	}
	return nil
}

// markPaused notes that a Deployment was paused or resumed: time spent paused does not count towards the deadline.
func markPaused(d *appsv1.Deployment, now time.Time) {
	current := condition(&d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || (current != nil && current.Reason == ReasonTimedOut) {
		return
	}
	marked := current != nil && current.Reason == ReasonPaused
	switch {
	case d.Spec.Paused && !marked:
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, ReasonPaused, "Deployment is paused", now)
	case !d.Spec.Paused && marked:
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, ReasonResumed, "Deployment is resumed", now)
	}
}

// complete reports whether all pods are of the current template and available, and no other runs.
func complete(d *appsv1.Deployment, status *appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return status.UpdatedReplicas == want && status.Replicas == want && status.AvailableReplicas == want &&
		status.ObservedGeneration >= d.Generation
}

// progressed reports whether there are more new pods, fewer old ones, or more that are ready or available.
func progressed(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, current *appsv1.DeploymentCondition, now time.Time) bool {
	switch {
	case current == nil || current.Reason == ReasonNewReplicaAvailable:
		return false
	case current.Reason == ReasonTimedOut:
		return true
	}
	return current.LastUpdateTime.Add(deadline(d)).Before(now)
}

// untilDeadline is how long until a rollout that makes no progress has timed out, with a second to spare for rounding.
func untilDeadline(d *appsv1.Deployment, status *appsv1.DeploymentStatus, now time.Time) time.Duration {
	current := condition(status, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || current == nil || current.Reason == ReasonTimedOut || current.Reason == ReasonNewReplicaAvailable || complete(d, status) {
		return 0
	}
	return max(0, current.LastUpdateTime.Add(deadline(d)).Sub(now)) + time.Second
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// terminating sums the terminating pods; nil while a ReplicaSet has not said how many it has.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	var sum int32
	for _, rs := range sets {
		switch {
		case rs.Status.TerminatingReplicas != nil:
			sum += *rs.Status.TerminatingReplicas
		case rs.Status.ObservedGeneration > 0:
			return nil
		}
	}
	return &sum
}

func condition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			return &status.Conditions[i]
		}
	}
	return nil
}

// setCondition sets a condition unless it has this status and reason already.
func setCondition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, value corev1.ConditionStatus, reason, message string, now time.Time) {
	next := appsv1.DeploymentCondition{
		Type: kind, Status: value, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	if had := condition(status, kind); had != nil {
		if had.Status == value && had.Reason == reason {
			return
		}
		if had.Status == value {
			next.LastTransitionTime = had.LastTransitionTime
		}
	}
	removeCondition(status, kind)
	status.Conditions = append(status.Conditions, next)
}

func removeCondition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}
