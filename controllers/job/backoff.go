// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// A failed pod is replaced after firstBackoff, twice that if the next one fails as well, and so on, up to maxBackoff.
const (
	firstBackoff = 10 * time.Second
	maxBackoff   = 10 * time.Minute
)

// failures counts the failures of a job since its last success.
type failures struct {
	count int32
	last  time.Time
}

// after is the count once the pods that were found finished since are part of it.
func (f failures) after(succeeded, failed []*corev1.Pod) failures {
	var success time.Time
	for _, pod := range succeeded {
		f = failures{}
		if at := finishedAt(pod); at.After(success) {
			success = at
		}
	}
	for _, pod := range failed {
		at := finishedAt(pod)
		if len(succeeded) > 0 && !at.After(success) {
			continue
		}
		f.count++
		if at.After(f.last) {
			f.last = at
		}
	}
	return f
}

// remaining is how long the next pod has to wait.
func (f failures) remaining(now time.Time) time.Duration {
	if f.count == 0 {
		return 0
	}
	wait := firstBackoff
	for i := int32(1); i < f.count && wait < maxBackoff; i++ {
		wait *= 2
	}
	return max(0, min(wait, maxBackoff)-now.Sub(f.last))
}

// finishedAt is when the pod ended, as well as that is known: when its last container did, when it ceased to be ready, or
// when its deletion was asked for.
func finishedAt(pod *corev1.Pod) time.Time {
	if at := containersFinishedAt(pod); !at.IsZero() {
		return at
	}
	if c := podstate.Condition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		return pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}

// containersFinishedAt is zero unless all containers have ended. Sidecars end after the others, so they count.
func containersFinishedAt(pod *corev1.Pod) time.Time {
	statuses := slices.Clone(pod.Status.ContainerStatuses)
	for _, status := range pod.Status.InitContainerStatuses {
		if slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == status.Name && ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
		}) {
			statuses = append(statuses, status)
		}
	}
	var last time.Time
	for i := range statuses {
		ended := statuses[i].State.Terminated
		if ended == nil || ended.FinishedAt.IsZero() {
			return time.Time{}
		}
		if ended.FinishedAt.After(last) {
			last = ended.FinishedAt.Time
		}
	}
	return last
}
