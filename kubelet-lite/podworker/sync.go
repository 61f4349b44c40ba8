// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// refreshPeriod is how often the content of a running pod's volumes is compared with its sources.
const refreshPeriod = 60 * time.Second

// sync brings a living pod closer to its spec.
func (w *worker) sync(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod) time.Duration {
	defer w.start()()
	pod = w.allocate(pod, runtime)
	var later time.Duration
	if w.deferred != "" {
		later = deferredPeriod
	}
	if w.m.Objects != nil && !w.registered.is(pod) {
		w.m.Objects.Register(pod)
		w.registered = shapeOf(pod)
	}
	// Between a container that was stopped because its definition changed and the next, which is there in a moment, nothing is said:
	// the pod would not be ready for that moment, and no update of it is worth that.
	due := w.restarting(runtime)
	if !due {
		w.report(pod, false)
	}
	a := plan(pod, runtime, world{failed: w.m.Prober.Failed, started: w.m.Prober.Started, stopping: w.isStopping, force: w.force, sized: w.isSized(pod)})
	if a.finished {
		return w.terminate(ctx, pod, runtime)
	}
	for _, k := range a.kill {
		w.kill(ctx, pod, runtime, k)
	}
	turn := &turn{slots: w.m.starts}
	defer turn.release()
	again := w.resize(ctx, pod, runtime, a.resize)
	if a.createSandbox || len(a.start) > 0 {
		after, err := w.bringUp(ctx, turn, pod, runtime, a)
		if err != nil && w.starting.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Pod cannot be started yet", "err", err)
			after = w.backOffAgain()
		} else if err == nil {
			w.settled()
		}
		again = sooner(again, after)
		due = true
	}
	if due {
		w.report(pod, false)
	}
	return sooner(later, sooner(again, w.refresh(ctx, pod)))
}

// restarting says whether a container has ended that was stopped to be started again.
func (w *worker) restarting(runtime *pleg.Pod) bool {
	for name := range w.force {
		if c, ok := runtime.Latest(name); ok && c.State == pleg.Exited {
			return true
		}
	}
	return false
}

// bringUp prepares what containers need, and starts those that are to be started. An error is of the pod as a whole; what
// goes wrong with one container is in its status, and does not hold up the others.
func (w *worker) bringUp(ctx context.Context, turn *turn, pod *v1.Pod, runtime *pleg.Pod, a actions) (time.Duration, error) {
	if a.createSandbox {
		if left, err := w.clearSandboxes(ctx, turn, pod, runtime); left || err != nil {
			return 0, err
		}
	}
	if !w.cgroup && w.m.Cgroups != nil {
		if err := w.m.Cgroups.Ensure(pod); err != nil {
			w.event(pod, v1.EventTypeWarning, "FailedCreatePodContainer", "unable to ensure pod container exists: "+err.Error())
			return 0, err
		}
		w.cgroup = true
	}
	if w.volumes == nil {
		if err := w.mount(w.starting, pod); err != nil {
			return 0, err
		}
	}
	config, warning, err := w.m.Builder.Sandbox(pod, a.attempt)
	if err != nil {
		w.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
		return 0, err
	}
	if warning != "" {
		w.event(pod, v1.EventTypeWarning, "DNSConfigForming", warning)
	}
	if err := turn.take(w.starting); err != nil {
		return 0, err
	}
	if a.createSandbox {
		if err := w.createSandbox(ctx, pod, config); err != nil {
			return 0, err
		}
		// With a sandbox, what to start is decided anew: init containers come first, and images may be here already.
		runtime = w.m.Cache.Get(w.uid)
		a = plan(pod, runtime, world{failed: w.m.Prober.Failed, started: w.m.Prober.Started, stopping: w.isStopping, force: w.force, sized: w.isSized(pod)})
		if a.createSandbox || a.finished {
			w.wake()
			return 0, nil
		}
	}
	var after time.Duration
	for _, s := range a.start {
		if w.starting.Err() != nil {
			return 0, w.starting.Err()
		}
		if err := turn.take(w.starting); err != nil {
			return 0, err
		}
		after = sooner(after, w.startContainer(ctx, turn, pod, runtime, config, a.sandboxID, s))
	}
	return after, nil
}

// mount brings the pod's volumes, with an event for each that cannot be brought.
func (w *worker) mount(ctx context.Context, pod *v1.Pod) error {
	volumes, err := w.m.Volumes.Mount(ctx, pod)
	if err != nil {
		if w.starting.Err() == nil {
			w.mountEvents(pod, err)
		}
		return fmt.Errorf("mount volumes: %w", err)
	}
	if volumes == nil {
		volumes = map[string]volume.Mounted{}
	}
	w.volumes, w.refreshed, w.written = volumes, w.m.Clock.Now(), shapeOf(pod)
	maps.DeleteFunc(w.told, func(kind, _ string) bool { return strings.HasPrefix(kind, "FailedMount") })
	return nil
}

func (w *worker) mountEvents(pod *v1.Pod, err error) {
	failed := volume.Errors(err)
	for _, e := range failed {
		if key := "FailedMount " + e.Volume; w.told[key] != e.Error() {
			put(&w.told, key, e.Error())
			w.m.Recorder.Event(pod, v1.EventTypeWarning, "FailedMount", e.Error())
		}
	}
	if len(failed) == 0 {
		w.event(pod, v1.EventTypeWarning, "FailedMount", err.Error())
	}
}

// clearSandboxes ends what is left of earlier sandboxes before there is a new one. left means that containers still run.
func (w *worker) clearSandboxes(ctx context.Context, turn *turn, pod *v1.Pod, runtime *pleg.Pod) (left bool, err error) {
	if len(runtime.Sandboxes) == 0 {
		return false, nil
	}
	w.event(pod, v1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	for _, c := range runtime.Live() {
		left = true
		w.stopContainer(ctx, pod, runtime, c, specOf(pod, c.Name), "", w.grace(pod))
	}
	if left || w.anyStopping() {
		return true, nil
	}
	if err := turn.take(w.starting); err != nil {
		return false, err
	}
	for i, s := range runtime.Sandboxes {
		// The newest keeps the dead containers, for their logs and exit codes.
		if i == 0 {
			err = w.stopSandbox(ctx, s.ID)
		} else {
			err = w.removeSandbox(ctx, s.ID)
		}
		if err != nil {
			return false, err
		}
	}
	w.volumes = nil // mount what is missing, after a reboot for example
	return false, nil
}

func (w *worker) createSandbox(ctx context.Context, pod *v1.Pod, config *runtimeapi.PodSandboxConfig) error {
	handler := ""
	if w.m.RuntimeHandler != nil && pod.Spec.RuntimeClassName != nil {
		var err error
		if handler, err = w.m.RuntimeHandler(pod.Spec.RuntimeClassName); err != nil {
			w.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
			return err
		}
	}
	if err := makeLogDir(config.LogDirectory); err != nil {
		return err
	}
	id, err := w.m.Runtime.RunPodSandbox(w.starting, config, handler)
	if err != nil {
		if w.starting.Err() == nil {
			w.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		}
		return fmt.Errorf("create sandbox: %w", err)
	}
	delete(w.told, "FailedCreatePodSandBox")
	delete(w.told, "SandboxChanged")
	if _, err := w.m.Watcher.RefreshSandbox(ctx, w.uid, id); err != nil {
		w.event(pod, v1.EventTypeWarning, "FailedPodSandBoxStatus", fmt.Sprintf("Unable to get pod sandbox status: %v", err))
		return err
	}
	return nil
}

// kill stops one container of a pod that goes on.
func (w *worker) kill(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod, k kill) {
	grace := w.grace(pod)
	if k.grace != nil {
		grace = *k.grace
	}
	if k.restart {
		put(&w.force, k.spec.Name, true)
	}
	w.stopContainer(ctx, pod, runtime, k.container, k.spec, k.message, grace)
}

// refresh keeps mounted ConfigMaps, Secrets and tokens up to date.
func (w *worker) refresh(ctx context.Context, pod *v1.Pod) time.Duration {
	if w.m.Builder.RootDir == "" {
		return 0 // nothing is written anywhere
	}
	if w.volumes == nil {
		if len(w.m.Cache.Get(w.uid).Live()) == 0 || !hasProjected(pod) {
			return 0
		}
		// Found running after a restart: mounting again only completes what is known of it.
		if err := w.mount(ctx, pod); err != nil {
			return w.backOffAgain()
		}
	}
	if !hasProjected(pod) {
		return 0
	}
	since := w.m.Clock.Since(w.refreshed)
	if since < refreshPeriod && w.written.is(pod) {
		return refreshPeriod - since
	}
	w.refreshed, w.written = w.m.Clock.Now(), shapeOf(pod)
	if err := w.m.Volumes.Refresh(ctx, pod); err != nil {
		w.mountEvents(pod, err)
	}
	return refreshPeriod
}

// probe begins to probe what runs, and ends it for what does not.
func (w *worker) probe(pod *v1.Pod, runtime *pleg.Pod, old v1.PodStatus) {
	ip := ""
	if ips := runtime.IPs(); len(ips) > 0 {
		ip = ips[0]
	} else if pod.Spec.HostNetwork && len(w.m.HostIPs) > 0 {
		ip = w.m.HostIPs[0]
	}
	for _, c := range runtime.Containers {
		if c.State != pleg.Running {
			w.m.Prober.Stop(c.ID)
			continue
		}
		if w.m.Prober.Knows(c.ID) {
			continue
		}
		before := statusOf(old, c.Name)
		was := before != nil && before.ContainerID == w.m.RuntimeName+"://"+c.ID
		name := c.Name
		w.m.Prober.Start(w.m.ctx, prober.Target{Pod: pod.UID, Container: func() *v1.Container { return specOf(w.current(), name) },
			ID: c.ID, PodIP: ip, StartedAt: c.StartedAt,
			WasReady: was && before.Ready, WasStarted: was && before.Started != nil && *before.Started,
			Event: func(eventType, reason, message string) {
				now := w.current()
				if spec := specOf(now, name); spec != nil {
					w.containerEvent(now, spec, kindOf(now, name), eventType, reason, message)
				}
			}})
	}
}

// current is the pod as the API last showed it; never nil.
func (w *worker) current() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == nil {
		return &v1.Pod{}
	}
	return w.pod
}

// specOf returns a container of a pod by name.
func specOf(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}

func kindOf(pod *v1.Pod, name string) criconfig.Kind {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name {
			if criconfig.IsSidecar(c) {
				return criconfig.Sidecar
			}
			return criconfig.Init
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return criconfig.Ephemeral
		}
	}
	return criconfig.Regular
}

func statusOf(s v1.PodStatus, name string) *v1.ContainerStatus {
	for _, list := range [][]v1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// hasProjected says whether a pod has volumes whose content changes with objects of the API.
func hasProjected(pod *v1.Pod) bool {
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil {
			return true
		}
	}
	return false
}

// changed compares one resource in two texts made by criconfig.Resizable.
func changed(before, after string, name v1.ResourceName) bool {
	var a, b v1.ResourceRequirements
	if json.Unmarshal([]byte(before), &a) != nil || json.Unmarshal([]byte(after), &b) != nil {
		return true
	}
	limitA, limitB, requestA, requestB := a.Limits[name], b.Limits[name], a.Requests[name], b.Requests[name]
	return limitA.Cmp(limitB) != 0 || requestA.Cmp(requestB) != 0
}
