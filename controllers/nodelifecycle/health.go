// SPDX-License-Identifier: Apache-2.0

package nodelifecycle

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heard is when a node last gave a sign of life, by the clock here: its own may be wrong.
type heard struct {
	at        time.Time
	heartbeat metav1.Time      // of the Ready condition
	renewed   metav1.MicroTime // of the lease
}

// listen takes note of what is new since. A node that is seen for the first time has just been heard.
func (h heard) listen(node *v1.Node, lease *coordinationv1.Lease, now time.Time) heard {
	ready := condition(node, v1.NodeReady)
	if h.at.IsZero() {
		h.at = now
		if ready == nil {
			h.at = node.CreationTimestamp.Time
		}
	}
	if ready != nil && !ready.LastHeartbeatTime.Equal(&h.heartbeat) {
		if !h.heartbeat.IsZero() {
			h.at = now
		}
		h.heartbeat = ready.LastHeartbeatTime
	}
	if lease != nil && lease.Spec.RenewTime != nil && h.renewed.Before(lease.Spec.RenewTime) {
		h.renewed = *lease.Spec.RenewTime
		h.at = now
	}
	return h
}

// silent returns the conditions of a node that is not heard of any more, nil where they say so already.
func silent(node *v1.Node, now metav1.Time) []v1.NodeCondition {
	conditions := slices.Clone(node.Status.Conditions)
	changed := false
	for _, kind := range []v1.NodeConditionType{v1.NodeReady, v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure} {
		i := slices.IndexFunc(conditions, func(c v1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			conditions = append(conditions, v1.NodeCondition{
				Type: kind, Status: v1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: now,
			})
		case conditions[i].Status != v1.ConditionUnknown:
			conditions[i].Status = v1.ConditionUnknown
			conditions[i].Reason = "NodeStatusUnknown"
			conditions[i].Message = "Kubelet stopped posting node status."
			conditions[i].LastTransitionTime = now
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return conditions
}

// unready returns the conditions of a pod that cannot be reached any more, nil where it is not ready anyway.
func unready(pod *v1.Pod, now metav1.Time) []v1.PodCondition {
	i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodReady && c.Status == v1.ConditionTrue })
	if i < 0 {
		return nil
	}
	conditions := slices.Clone(pod.Status.Conditions)
	conditions[i].Status = v1.ConditionFalse
	conditions[i].LastTransitionTime = now
	return conditions
}

// readiness is the status of the Ready condition, "" where there is none yet.
func readiness(node *v1.Node) v1.ConditionStatus {
	if c := condition(node, v1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}

func condition(node *v1.Node, kind v1.NodeConditionType) *v1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}
