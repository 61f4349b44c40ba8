// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// SortForDeletion puts the pods that are missed least first: not yet assigned to a node, in an early phase, not ready, of
// low deletion cost (controller.kubernetes.io/pod-deletion-cost), on a node that has more of colocated, ready for a
// shorter time, restarted more often, younger. Times count by their power of two alone, so that a rollout's survivors
// are not all its oldest pods (KEP-2185); equals are ordered by UID. It sorts in n log n and reads colocated once.
func SortForDeletion(pods, colocated []*corev1.Pod, now time.Time) {
	onNode := map[string]int{}
	for _, pod := range colocated {
		if podstate.Active(pod) {
			onNode[pod.Spec.NodeName]++
		}
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			compareBool(b.Spec.NodeName == "", a.Spec.NodeName == ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			compareBool(podstate.Ready(a), podstate.Ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]),
			compareAge(a, b, podstate.ReadyTime(a), podstate.ReadyTime(b), now),
			compareRestarts(a, b),
			compareAge(a, b, a.CreationTimestamp.Time, b.CreationTimestamp.Time, now),
		)
	})
}

// compareAge puts the younger first, an unknown time before all.
func compareAge(a, b *corev1.Pod, at, bt, now time.Time) int {
	switch {
	case at.Equal(bt):
		return 0
	case at.IsZero():
		return -1
	case bt.IsZero():
		return 1
	}
	return cmp.Or(cmp.Compare(magnitude(now.Sub(at)), magnitude(now.Sub(bt))), cmp.Compare(a.UID, b.UID))
}

func magnitude(age time.Duration) int {
	if age <= 0 {
		return -1
	}
	return int(math.Log2(float64(age)))
}

func phaseRank(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodUnknown:
		return 1
	case corev1.PodRunning:
		return 2
	default:
		return 0
	}
}

// deletionCost is zero where the annotation is absent or is not a number in the one way the API allows to write it.
func deletionCost(pod *corev1.Pod) int32 {
	value := pod.Annotations[corev1.PodDeletionCost]
	cost, err := strconv.ParseInt(value, 10, 32)
	if err != nil || strconv.FormatInt(cost, 10) != value {
		return 0
	}
	return int32(cost)
}

// compareRestarts puts the pod with the more often restarted container first; sidecars count where the others tie.
func compareRestarts(a, b *corev1.Pod) int {
	am, as := maxRestarts(a)
	bm, bs := maxRestarts(b)
	return cmp.Or(cmp.Compare(bm, am), cmp.Compare(bs, as))
}

func maxRestarts(pod *corev1.Pod) (main, sidecar int32) {
	for i := range pod.Status.ContainerStatuses {
		main = max(main, pod.Status.ContainerStatuses[i].RestartCount)
	}
	for i := range pod.Status.InitContainerStatuses {
		status := &pod.Status.InitContainerStatuses[i]
		isSidecar := slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == status.Name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		})
		if isSidecar {
			sidecar = max(sidecar, status.RestartCount)
		}
	}
	return main, sidecar
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
