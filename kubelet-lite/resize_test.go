// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
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

func TestResize(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.stop()
	slow := &slowRuntime{w.runtime, make(chan error)}
	w.service = slow
	w.start()

	pod := newPod("web")
	pod.Generation = 1
	cpu := func(text string) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(text)}}
	}
	pod.Spec.Containers[0].Resources = cpu("100m")
	w.create(pod)
	pod = w.until("web", "ready", isPodReady)
	pod.Generation = 2
	pod.Spec.Containers[0].Resources = cpu("200m")
	if _, err := w.client.CoreV1().Pods("default").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	// inProgress is the reason of the condition, while containers have what they had.
	inProgress := func(reason string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool {
			i := slices.IndexFunc(p.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodResizeInProgress })
			return p.Status.ObservedGeneration == 2 && i >= 0 && p.Status.Conditions[i].Reason == reason &&
				containerStatus(p, "main").Resources.Requests.Cpu().String() == "100m"
		}
	}
	w.until("web", "being resized", inProgress(""))
	slow.answers <- errors.New("no room")
	w.until("web", "told why not", inProgress(v1.PodReasonError))
	slow.answers <- nil
	pod = w.until("web", "resized", func(p *v1.Pod) bool { return containerStatus(p, "main").Resources.Requests.Cpu().String() == "200m" })
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodResizeInProgress {
			t.Errorf("there is still %+v", c)
		}
	}
	var events []string
	w.eventually(func() bool {
		events = slices.DeleteFunc(w.events.all(), func(e string) bool { return !strings.Contains(e, " Resize") })
		return len(events) == 3
	}, func() string { return "not three events of the resize" })
	const spec = `{"containers":[{"name":"main","resources":{"requests":{"cpu":"200m"}}}],"generation":2`
	want := []string{
		"Normal ResizeStarted Pod resize started: " + spec + "}",
		"Warning ResizeError Pod resize error: " + spec + `,"error":"Error resizing container main: no room"}`,
		"Normal ResizeCompleted Pod resize completed: " + spec + "}",
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
}
