// SPDX-License-Identifier: Apache-2.0

package simulation_test

import (
	"fmt"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestResize has the scheduler and the node agent agree, by way of the API, on what a pod has that is to grow: its place is not given to another, and what
// it waits for is not yet its.
func TestResize(t *testing.T) {
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Simulated.CPU = "4"
	c := start(t, cfg)
	sized := func(name, cpu string) {
		t.Helper()
		p := pod(name)
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}
		c.create(p)
	}
	resize := func(name, cpu string) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": %q}}}]}}`, cpu)
		if _, err := c.CoreV1().Pods("default").Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize"); err != nil {
			t.Fatal(err)
		}
	}
	deferred := func(p *v1.Pod) bool {
		for _, condition := range p.Status.Conditions {
			if condition.Type == v1.PodResizePending {
				return condition.Reason == v1.PodReasonDeferred
			}
		}
		return false
	}
	has := func(cpu string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool {
			s := status(p)
			return p.Status.ObservedGeneration == p.Generation && s.Resources != nil && s.Resources.Requests.Cpu().String() == cpu && s.AllocatedResources.Cpu().String() == cpu
		}
	}
	sized("web", "1")
	sized("other", "2")
	c.until("web", "ready", ready)
	c.until("other", "ready", ready)

	resize("web", "2")
	c.until("web", "resized", func(p *v1.Pod) bool { return has("2")(p) && !deferred(p) })
	c.event("web", "ResizeCompleted", `"cpu":"2"`)
	resize("web", "3")
	c.until("web", "waiting for room", func(p *v1.Pod) bool { return has("2")(p) && deferred(p) })
	c.event("web", "ResizeDeferred", "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000")

	// It is to have what the other leaves, before any pod that comes later.
	sized("late", "1")
	c.event("late", "FailedScheduling", "Insufficient cpu")
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "other", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("web", "resized", func(p *v1.Pod) bool { return has("3")(p) && !deferred(p) })
	c.until("late", "ready", ready)
}
