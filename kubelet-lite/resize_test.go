// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
)

// slowRuntime resizes containers when it is told how that ends.
type slowRuntime struct {
	*simulated.Runtime
	answers chan error
}

func (r *slowRuntime) UpdateContainerResources(ctx context.Context, _ string, _ *runtimeapi.ContainerResources) error {
	select {
	case err := <-r.answers:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cpu is what a container requests.
func cpu(text string) v1.ResourceRequirements {
	return v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(text)}}
}

// change gives a pod's container other resources, as a new generation.
func (w *world) change(pod *v1.Pod, to v1.ResourceRequirements) {
	w.t.Helper()
	pod.Generation++
	pod.Spec.Containers[0].Resources = to
	if _, err := w.client.CoreV1().Pods("default").Update(w.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// resizeEvents are those of a resize, once there are n.
func (w *world) resizeEvents(n int) []string {
	w.t.Helper()
	var events []string
	w.eventually(func() bool {
		events = slices.DeleteFunc(w.events.all(), func(e string) bool { return !strings.Contains(e, " Resize") })
		return len(events) == n
	}, func() string { return fmt.Sprintf("not %d events of resizes: %q", n, events) })
	return events
}

func resizeCondition(pod *v1.Pod, t v1.PodConditionType) *v1.PodCondition {
	if i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &pod.Status.Conditions[i]
	}
	return nil
}

func TestResize(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.stop()
	slow := &slowRuntime{w.runtime, make(chan error)}
	w.service = slow
	w.start()

	pod := newPod("web")
	pod.Generation = 1
	pod.Spec.Containers[0].Resources = cpu("100m")
	w.create(pod)
	pod = w.until("web", "ready", isPodReady)
	w.change(pod, cpu("200m"))

	// inProgress is the reason of the condition, while containers have what they had.
	inProgress := func(reason string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool {
			c := resizeCondition(p, v1.PodResizeInProgress)
			return p.Status.ObservedGeneration == 2 && c != nil && c.Reason == reason && containerStatus(p, "main").Resources.Requests.Cpu().String() == "100m"
		}
	}
	w.until("web", "being resized", inProgress(""))
	slow.answers <- errors.New("no room")
	w.until("web", "told why not", inProgress(v1.PodReasonError))
	slow.answers <- nil
	pod = w.until("web", "resized", func(p *v1.Pod) bool { return containerStatus(p, "main").Resources.Requests.Cpu().String() == "200m" })
	if c := resizeCondition(pod, v1.PodResizeInProgress); c != nil {
		t.Errorf("there is still %+v", c)
	}
	const spec = `{"containers":[{"name":"main","resources":{"requests":{"cpu":"200m"}}}],"generation":2`
	want := []string{
		"Normal ResizeStarted Pod resize started: " + spec + "}",
		"Warning ResizeError Pod resize error: " + spec + `,"error":"Error resizing container main: no room"}`,
		"Normal ResizeCompleted Pod resize completed: " + spec + "}",
	}
	if diff := cmp.Diff(want, w.resizeEvents(3)); diff != "" {
		t.Error(diff)
	}
}

func TestResizeWaitsForRoom(t *testing.T) {
	w := newWorld(t, simulated.Options{}) // a node of 4 CPUs
	for name, size := range map[string]string{"web": "1", "other": "2"} {
		pod := newPod(name)
		pod.Generation = 1
		pod.Spec.Containers[0].Resources = cpu(size)
		w.create(pod)
		w.until(name, "ready", isPodReady)
	}
	w.change(w.pod("web"), cpu("3"))
	waits := func(p *v1.Pod) bool {
		c, s := resizeCondition(p, v1.PodResizePending), containerStatus(p, "main")
		return p.Status.ObservedGeneration == 2 && c != nil && c.Reason == v1.PodReasonDeferred && resizeCondition(p, v1.PodResizeInProgress) == nil &&
			c.Message == "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000" &&
			s.Resources.Requests.Cpu().String() == "1" && s.AllocatedResources.Cpu().String() == "1"
	}
	pod := w.until("web", "waiting for room", waits)

	// A container that is started meanwhile gets what is set aside, and what waits keeps no new pod out.
	w.exit(pod, "main", 1)
	w.until("web", "restarted with what it had", func(p *v1.Pod) bool {
		s := containerStatus(p, "main")
		return s.RestartCount == 1 && s.State.Running != nil && waits(p)
	})
	late := newPod("late")
	late.Spec.Containers[0].Resources = cpu("1")
	w.create(late)
	w.until("late", "ready", isPodReady)

	w.delete("other", 0)
	w.untilGone("other")
	pod = w.until("web", "resized", func(p *v1.Pod) bool { return containerStatus(p, "main").Resources.Requests.Cpu().String() == "3" })
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodResizePending || c.Type == v1.PodResizeInProgress {
			t.Errorf("there is still %+v", c)
		}
	}
	var kinds []string
	for _, e := range w.resizeEvents(3) {
		kinds = append(kinds, strings.Fields(e)[1])
	}
	if diff := cmp.Diff([]string{"ResizeDeferred", "ResizeStarted", "ResizeCompleted"}, kinds); diff != "" {
		t.Error(diff)
	}
}

// The scheduler counts no pod that has been deleted without grace, and neither does the node, which would make the next one Failed for good.
func TestDeletedWithoutGraceIsNotCounted(t *testing.T) {
	w := newWorld(t, simulated.Options{}) // a node of 4 CPUs
	old := newPod("old")
	old.Annotations = map[string]string{"simulated.hivemind.io/stop-delay": "1m"}
	old.Spec.Containers[0].Resources = cpu("3")
	w.create(old)
	w.until("old", "ready", isPodReady)
	if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() bool { return w.events.has("Normal Killing Stopping container main") }, func() string { return "the old pod is not stopped" })
	next := newPod("next")
	next.Spec.Containers[0].Resources = cpu("3")
	w.create(next)
	w.until("next", "ready", isPodReady)
}

// Of two that wait for the same room, it is the more important one that gets it, whoever came first.
func TestResizeOrder(t *testing.T) {
	w := newWorld(t, simulated.Options{}) // a node of 4 CPUs
	for name, size := range map[string]string{"plain": "1", "important": "1", "other": "2"} {
		pod := newPod(name)
		pod.Generation = 1
		pod.Spec.Containers[0].Resources = cpu(size)
		if name == "important" {
			pod.Spec.Priority = new(int32(10))
		}
		w.create(pod)
		w.until(name, "ready", isPodReady)
	}
	waits := func(p *v1.Pod) bool { return resizeCondition(p, v1.PodResizePending) != nil }
	for _, name := range []string{"plain", "important"} {
		w.change(w.pod(name), cpu("3"))
		w.until(name, "waiting for room", waits)
	}
	w.delete("other", 0)
	w.untilGone("other")
	w.until("important", "resized", func(p *v1.Pod) bool { return containerStatus(p, "main").Resources.Requests.Cpu().String() == "3" })
	w.until("plain", "waiting on", func(p *v1.Pod) bool {
		c := resizeCondition(p, v1.PodResizePending)
		return c != nil && c.Message == "Node didn't have enough resource: cpu, requested: 3000, used: 3000, capacity: 4000"
	})
}
