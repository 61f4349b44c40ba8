// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
)

// first is the lowest ordinal of the set.
func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals != nil {
		return int(set.Spec.Ordinals.Start)
	}
	return 0
}

// ordinal is the number of a pod by that name in the set, and whether it has one.
func ordinal(set *appsv1.StatefulSet, pod string) (int, bool) {
	number, ok := strings.CutPrefix(pod, set.Name+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == number
}

// newPod is the pod of the ordinal: of the current revision below the partition, and during an update that began
// elsewhere, else of the new one.
func (w *world) newPod(n int) *corev1.Pod {
	revision := w.update
	if strategy := w.set.Spec.UpdateStrategy; strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		old := int(w.set.Status.CurrentReplicas)
		if strategy.RollingUpdate != nil && strategy.RollingUpdate.Partition != nil {
			old = int(*strategy.RollingUpdate.Partition)
		}
		if n < first(w.set)+old {
			revision = w.current
		}
	}
	pod := podcontrol.FromTemplate(&revision.Template, w.set, metav1.NewControllerRef(w.set, kind))
	pod.Name = w.set.Name + "-" + strconv.Itoa(n)
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, w.set.Spec.ServiceName
	label(pod, n)
	pod.Labels[appsv1.StatefulSetRevisionLabel] = revision.Name
	pod.Spec.Volumes = volumes(w.set, pod, n)
	return pod
}

// identified returns the pod with the labels and volumes that are its own, nil if it has them.
func identified(set *appsv1.StatefulSet, pod *corev1.Pod) *corev1.Pod {
	n, _ := ordinal(set, pod.Name)
	if pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name && hasVolumes(set, pod, n) {
		return nil
	}
	pod = pod.DeepCopy()
	label(pod, n)
	pod.Spec.Volumes = volumes(set, pod, n)
	return pod
}

func label(pod *corev1.Pod, n int) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(n)
}

func claimName(set *appsv1.StatefulSet, template string, n int) string {
	return template + "-" + set.Name + "-" + strconv.Itoa(n)
}

// volumes are the pod's, those of claims first and in place of any others by their name.
func volumes(set *appsv1.StatefulSet, pod *corev1.Pod, n int) []corev1.Volume {
	var list []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		list = append(list, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, name, n)},
		}})
	}
	for _, v := range pod.Spec.Volumes {
		if !slices.ContainsFunc(list, func(have corev1.Volume) bool { return have.Name == v.Name }) {
			list = append(list, v)
		}
	}
	return list
}

func hasVolumes(set *appsv1.StatefulSet, pod *corev1.Pod, n int) bool {
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Name == name && v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claimName(set, name, n)
		}) {
			return false
		}
	}
	return true
}

// claimsOf returns the claims that the pod of the ordinal has.
func claimsOf(set *appsv1.StatefulSet, n int) []*corev1.PersistentVolumeClaim {
	var claims []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		claim := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		claim.Namespace, claim.Name = set.Namespace, claimName(set, claim.Name, n)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		claims = append(claims, claim)
	}
	return claims
}
