// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
)

func TestPodRuns(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	if !isRunning(pod) {
		t.Errorf("phase is %s", pod.Status.Phase)
	}
	s := containerStatus(pod, "main")
	if s.State.Running == nil || !s.Ready || s.Started == nil || !*s.Started || s.RestartCount != 0 || s.ContainerID == "" || s.ImageID == "" {
		t.Errorf("container status is %+v", s)
	}
	if pod.Status.PodIP == "" || pod.Status.HostIP != "192.0.2.1" || pod.Status.StartTime == nil || pod.Status.QOSClass != v1.PodQOSBestEffort {
		t.Errorf("pod status is %+v", pod.Status)
	}
	for _, want := range []string{"Normal Pulling Pulling image", "Normal Pulled Successfully pulled image", "Normal Created Container created", "Normal Started Container started"} {
		if !w.events.has(want) {
			t.Errorf("no event %q in %q", want, w.events.all())
		}
	}
	w.delete("web", 30)
	w.untilGone("web")
	if !w.events.has("Normal Killing Stopping container main") {
		t.Errorf("no Killing event in %q", w.events.all())
	}
	w.eventually(func() bool { return len(w.kubelet.cache.UIDs()) == 0 }, func() string { return "something is left in the runtime" })
}

func TestNodeIsRegistered(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	node, err := w.client.CoreV1().Nodes().Get(context.Background(), nodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if node.Labels[v1.LabelHostname] != nodeName || node.Labels[v1.LabelOSStable] != "linux" {
		t.Errorf("labels are %v", node.Labels)
	}
	if pods := node.Status.Allocatable[v1.ResourcePods]; pods.Value() != 110 {
		t.Errorf("allocatable is %v", node.Status.Allocatable)
	}
	for _, want := range []struct {
		kind   v1.NodeConditionType
		status v1.ConditionStatus
		reason string
	}{
		{v1.NodeReady, v1.ConditionTrue, "KubeletReady"},
		{v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory"},
		{v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure"},
		{v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID"},
	} {
		found := false
		for _, c := range node.Status.Conditions {
			found = found || (c.Type == want.kind && c.Status == want.status && c.Reason == want.reason)
		}
		if !found {
			t.Errorf("no condition %v in %+v", want, node.Status.Conditions)
		}
	}
	w.eventually(func() bool {
		_, err := w.client.CoordinationV1().Leases(v1.NamespaceNodeLease).Get(context.Background(), nodeName, metav1.GetOptions{})
		return err == nil
	}, func() string { return "no lease" })
}
