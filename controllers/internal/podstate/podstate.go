// SPDX-License-Identifier: Apache-2.0

// Package podstate answers what controllers ask of a pod's status: is it ready, available, active. Each answer costs
// one pass over a handful of conditions.
package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Ready reports whether the pod's Ready condition is true.
func Ready(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// ReadyTime is when the pod became ready; zero if it is not.
func ReadyTime(pod *corev1.Pod) time.Time {
	if c := Condition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// Available reports whether the pod has been ready for at least minReadySeconds.
func Available(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	if !Ready(pod) {
		return false
	}
	since := ReadyTime(pod)
	return minReadySeconds == 0 || (!since.IsZero() && !since.Add(time.Duration(minReadySeconds)*time.Second).After(now))
}

// NextAvailable is how long it takes until the first of pods that is ready but not yet available becomes so; zero if
// there is none.
func NextAvailable(pods []*corev1.Pod, minReadySeconds int32, now time.Time) time.Duration {
	var next time.Duration
	for _, pod := range pods {
		since := ReadyTime(pod)
		if since.IsZero() {
			continue
		}
		wait := since.Add(time.Duration(minReadySeconds) * time.Second).Sub(now)
		if wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
	}
	return next
}

// Terminal reports whether the pod has run to its end: its phase will not change again.
func Terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Active reports whether the pod runs or will, and nobody has asked for its deletion.
func Active(pod *corev1.Pod) bool { return !Terminal(pod) && pod.DeletionTimestamp == nil }

// Terminating reports whether the pod is being deleted and has not ended yet.
func Terminating(pod *corev1.Pod) bool { return !Terminal(pod) && pod.DeletionTimestamp != nil }

// Condition returns the condition of the type, nil if there is none.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
