// SPDX-License-Identifier: Apache-2.0

package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// burst is how many pods are created or deleted in one go; the rest follow once the cache has shown these.
const burst = 500

// plan is what brings a set to its size.
type plan struct {
	create int
	remove []*corev1.Pod
}

// decide compares the active pods of rs with the size it is to have. related are the pods that matter for spreading:
// those of all sets with the same owner, so that a rolling update thins out the fullest nodes.
func decide(rs *appsv1.ReplicaSet, active []*corev1.Pod, related func() []*corev1.Pod, now time.Time) plan {
	diff := len(active) - int(*rs.Spec.Replicas)
	switch {
	case diff < 0:
		return plan{create: min(-diff, burst)}
	case diff == 0:
		return plan{}
	}
	remove := slices.Clone(active)
	if diff < len(remove) {
		podcontrol.SortForDeletion(remove, related(), now)
	}
	return plan{remove: remove[:min(diff, burst)]}
}

// statusOf is the status of a set with these pods. failed is the error that creating or deleting pods ended with.
func statusOf(rs *appsv1.ReplicaSet, active, terminating []*corev1.Pod, failed error, now time.Time) appsv1.ReplicaSetStatus {
	status := appsv1.ReplicaSetStatus{
		Replicas:           int32(len(active)),
		ObservedGeneration: rs.Generation,
		Conditions:         slices.Clone(rs.Status.Conditions),
	}
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if podstate.Ready(pod) {
			status.ReadyReplicas++
		}
		if podstate.Available(pod, rs.Spec.MinReadySeconds, now) {
			status.AvailableReplicas++
		}
	}
	if terminating != nil {
		n := int32(len(terminating))
		status.TerminatingReplicas = &n
	}

	is := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	switch {
	case failed == nil:
		status.Conditions = slices.DeleteFunc(status.Conditions, is)
	case !slices.ContainsFunc(status.Conditions, is):
		reason := podcontrol.ReasonFailedDelete
		if len(active) < int(*rs.Spec.Replicas) {
			reason = podcontrol.ReasonFailedCreate
		}
		status.Conditions = append(status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failed.Error(),
		})
	}
	if len(status.Conditions) == 0 {
		status.Conditions = nil
	}
	return status
}

func sameStatus(a, b *appsv1.ReplicaSetStatus) bool { return equality.Semantic.DeepEqual(a, b) }
