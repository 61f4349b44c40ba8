// SPDX-License-Identifier: Apache-2.0

package podgc

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// victim is a pod to delete, why, and the condition that tells its owner so.
type victim struct {
	pod       *corev1.Pod
	why       string
	condition *corev1.PodCondition
}

// plan returns the pods to delete, each once. gone are nodes that do not exist any more; keep is how many pods that have
// ended may stay, zero for all.
func plan(pods []*corev1.Pod, nodes map[string]*corev1.Node, gone map[string]bool, keep int) []victim {
	var victims []victim
	var ended []*corev1.Pod
	for _, pod := range pods {
		node := nodes[pod.Spec.NodeName]
		switch {
		case gone[pod.Spec.NodeName]:
			victims = append(victims, victim{pod, "its node is gone", &corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Status.ObservedGeneration,
				Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
			}})
		case pod.DeletionTimestamp != nil && pod.Spec.NodeName == "":
			victims = append(victims, victim{pod: pod, why: "it was deleted before it had a node"})
		case pod.DeletionTimestamp != nil && node != nil && outOfService(node):
			victims = append(victims, victim{pod: pod, why: "its node is out of service"})
		case podstate.Terminal(pod):
			ended = append(ended, pod)
		}
	}
	if surplus := len(ended) - keep; keep > 0 && surplus > 0 {
		// Evicted pods first: they say little, and those of Jobs are worth more.
		slices.SortFunc(ended, func(a, b *corev1.Pod) int {
			return cmp.Or(evictedRank(a)-evictedRank(b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		for _, pod := range ended[:surplus] {
			victims = append(victims, victim{pod: pod, why: "too many pods have ended"})
		}
	}
	return victims
}

func evictedRank(pod *corev1.Pod) int {
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == "Evicted" {
		return 0
	}
	return 1
}

// outOfService reports whether somebody vouches, by a taint, that a node which is not ready runs nothing any more.
func outOfService(node *corev1.Node) bool {
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
