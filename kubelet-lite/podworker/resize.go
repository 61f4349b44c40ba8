// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// resize gives running containers what their spec allows them now (KEP-1287). Until it is done, the pod's status says that it is in progress.
func (w *worker) resize(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod, list []kill) time.Duration {
	if len(list) == 0 {
		w.resized(pod)
		return 0
	}
	if w.resizing != pod.Generation {
		w.resizing, w.resizeError = pod.Generation, ""
		w.m.Recorder.Event(pod, v1.EventTypeNormal, "ResizeStarted", resizeMessage(pod, "started", ""))
	}
	// The pod's bound is set before its containers', for what grows, and after them, for what shrinks.
	bound := func() {
		if w.m.Cgroups != nil {
			if err := w.m.Cgroups.Ensure(pod); err != nil {
				klog.FromContext(ctx).V(2).Info("Pod cgroup cannot be resized yet", "err", err)
			}
		}
	}
	bound()
	var after time.Duration
	failure, restarts := "", false
	for _, k := range list {
		if k.restart {
			w.kill(ctx, pod, runtime, k)
			restarts = true
			continue
		}
		resources := &runtimeapi.ContainerResources{Linux: w.m.Builder.Resources(pod, k.spec)}
		if err := w.m.Runtime.UpdateContainerResources(ctx, k.container.ID, resources); err != nil {
			failure = fmt.Sprintf("Error resizing container %s: %v", k.spec.Name, err)
			continue
		}
		w.m.Cache.SetResources(w.uid, k.container.ID, criconfig.Resizable(pod, k.spec))
	}
	bound()
	if failure != "" {
		after = w.backOffAgain()
		if failure != w.resizeError {
			w.m.Recorder.Event(pod, v1.EventTypeWarning, "ResizeError", resizeMessage(pod, "error", failure))
		}
	}
	w.resizeError = failure
	if failure == "" && !restarts {
		w.resized(pod)
	}
	w.report(pod, false)
	return after
}

// resized says that all running containers have what their spec allows them, once after each resize.
func (w *worker) resized(pod *v1.Pod) {
	if w.resizing == 0 {
		return
	}
	w.resizing, w.resizeError = 0, ""
	w.m.Recorder.Event(pod, v1.EventTypeNormal, "ResizeCompleted", resizeMessage(pod, "completed", ""))
}

// resizeMessage is the kubelet's: what containers are to have, as JSON.
func resizeMessage(pod *v1.Pod, what, failure string) string {
	type container struct {
		Name      string                  `json:"name"`
		Resources v1.ResourceRequirements `json:"resources"`
	}
	var summary struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}
	for _, c := range pod.Spec.InitContainers {
		summary.InitContainers = append(summary.InitContainers, container{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		summary.Containers = append(summary.Containers, container{c.Name, c.Resources})
	}
	summary.Generation, summary.Error = pod.Generation, failure
	text, err := json.Marshal(summary)
	if err != nil {
		return "Pod resize " + what
	}
	return fmt.Sprintf("Pod resize %s: %s", what, text)
}
