// SPDX-License-Identifier: Apache-2.0

package informer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// numbered is the pod of that number of a template, as it is decoded: nothing of it is shared.
func numbered(i int) *corev1.Pod {
	token := fmt.Sprintf("kube-api-access-%d", i)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("web-%d", i), Namespace: "default", GenerateName: "web-", Labels: map[string]string{"app": "web"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%d", i),
			Containers: []corev1.Container{{
				Name: "c", Image: "web",
				Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m")}},
				VolumeMounts: []corev1.VolumeMount{{Name: token, MountPath: "/var/run/secrets"}},
			}},
			Volumes:     []corev1.Volume{{Name: token, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o644)}}}},
			Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, PodIP: fmt.Sprintf("10.0.0.%d", i)},
	}
}

func TestPodsShareWhatTheyHaveInCommon(t *testing.T) {
	s := newParts()
	one, two := numbered(1), numbered(2)
	s.pod(one)
	s.pod(two)
	for i, pod := range []*corev1.Pod{one, two} {
		if diff := cmp.Diff(numbered(i+1), pod); diff != "" {
			t.Errorf("pod %d has changed (-want +got):\n%s", i+1, diff)
		}
	}
	if one.Spec.Volumes[0].Projected != two.Spec.Volumes[0].Projected {
		t.Error("the source of a volume is there twice")
	}
	if &one.Spec.Tolerations[0] != &two.Spec.Tolerations[0] {
		t.Error("tolerations are there twice")
	}
	if &one.OwnerReferences[0] != &two.OwnerReferences[0] {
		t.Error("owners are there twice")
	}
	if &one.Spec.Containers[0].VolumeMounts[0] == &two.Spec.Containers[0].VolumeMounts[0] {
		t.Error("mounts of volumes with other names are shared")
	}
	one.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("20m") // which nobody may do, but shows that it is one map
	if got := two.Spec.Containers[0].Resources.Requests.Cpu().String(); got != "20m" {
		t.Errorf("requests are there twice: %s", got)
	}
}

func TestPartsAreBounded(t *testing.T) {
	s := newParts()
	for i := range 2 * maxParts {
		pod := numbered(1)
		pod.Labels["number"] = fmt.Sprint(i)
		s.pod(pod)
	}
	if len(s.known) > maxParts {
		t.Errorf("%d parts are remembered", len(s.known))
	}
}

func BenchmarkShare(b *testing.B) {
	s := newParts()
	for b.Loop() {
		s.pod(numbered(1))
	}
}

func BenchmarkNumbered(b *testing.B) {
	for b.Loop() {
		numbered(1)
	}
}
