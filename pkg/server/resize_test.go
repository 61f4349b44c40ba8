// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/google/go-cmp/cmp"
)

// boundPod makes a node of two CPUs and a GiB, in a zone, and a pod on it.
func boundPod(t *testing.T, c *cluster, os string) *corev1.Pod {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{
		corev1.LabelTopologyZone: "east-1", corev1.LabelTopologyRegion: "east", corev1.LabelOSStable: os, "other": "label",
	}}}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	if _, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "example.com/i"}}}}
	eventually(t, "admission knows the node", func() (bool, error) {
		made, err := c.CoreV1().Pods("default").Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && made.Labels[corev1.LabelTopologyZone] != "", err
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"own": "label", corev1.LabelTopologyZone: "nowhere"}}, Spec: corev1.PodSpec{
		SchedulerName: "test",
		Containers: []corev1.Container{{Name: "c", Image: "example.com/i", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		}}},
	}}
	if _, err := c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := c.CoreV1().Pods("default").Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound, err := c.CoreV1().Pods("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

// A pod learns in which zone it is when it is bound, or made with a node.
func TestPodsHaveTheirNodesTopology(t *testing.T) {
	c := newCluster(t)
	bound := boundPod(t, c, "linux")
	want := map[string]string{"own": "label", corev1.LabelTopologyZone: "east-1", corev1.LabelTopologyRegion: "east"}
	if diff := cmp.Diff(want, bound.Labels); diff != "" {
		t.Errorf("labels of a pod that was bound (-want +got):\n%s", diff)
	}
	placed := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "placed"}, Spec: corev1.PodSpec{NodeName: "n", Containers: bound.Spec.Containers[:1]}}
	placed.Spec.Containers[0].VolumeMounts = nil
	made, err := c.CoreV1().Pods("default").Create(t.Context(), placed, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "own")
	if diff := cmp.Diff(want, made.Labels); diff != "" {
		t.Errorf("labels of a pod that was made with a node (-want +got):\n%s", diff)
	}
}

// What a node can never have is refused at once.
func TestResizeBeyondTheNode(t *testing.T) {
	resize := func(c *cluster, requests string) (*corev1.Pod, error) {
		patch := fmt.Appendf(nil, `{"spec":{"containers":[{"name":"c","resources":{"requests":%s}}]}}`, requests)
		return c.CoreV1().Pods("default").Patch(t.Context(), "a", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
	}
	t.Run("linux", func(t *testing.T) {
		c := newCluster(t)
		boundPod(t, c, "linux")
		for _, tt := range []struct{ requests, want string }{
			{`{"cpu":"2","memory":"1Gi"}`, "ok"},
			{`{"cpu":"2001m"}`, `403 Forbidden pods "a" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2001, allocatable: 2000`},
			{`{"cpu":"3","memory":"2Gi"}`, `403 Forbidden pods "a" is forbidden: node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824`},
		} {
			_, err := resize(c, tt.requests)
			if got := status(err); got != tt.want {
				t.Errorf("resize to %s:\ngot  %s\nwant %s", tt.requests, got, tt.want)
			}
			if err != nil && !apierrors.HasStatusCause(err, "NodeCapacity") {
				t.Errorf("resize to %s: %v lacks the cause", tt.requests, err)
			}
		}
		if err := c.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a resize on a node that is gone is refused", func() (bool, error) {
			_, err := resize(c, `{"cpu":"1500m"}`)
			return status(err) == `403 Forbidden pods "a" is forbidden: node "n" not found`, err
		})
	})
	t.Run("windows", func(t *testing.T) {
		c := newCluster(t)
		boundPod(t, c, "windows")
		_, err := resize(c, `{"cpu":"2"}`)
		if want := `403 Forbidden pods "a" is forbidden: pod resize is only supported on linux nodes, node "n" is "windows"`; status(err) != want || !apierrors.HasStatusCause(err, "UnsupportedPlatform") {
			t.Errorf("resize on another system:\ngot  %s\nwant %s", status(err), want)
		}
	})
}
