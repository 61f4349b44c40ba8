// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"fmt"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
	"github.com/hivemind-project/hivemind/kubelet-lite/status"
)

// world is what a plan follows from beside the pod and the runtime.
type world struct {
	failed   func(containerID string) (prober.Kind, bool)
	started  func(containerID string) bool
	stopping func(containerID string) bool
	force    map[string]bool // containers to start again whatever their restart policy, by name
	sized    bool            // running containers are known to have what the spec says
}

// start is a container to be started.
type start struct {
	container *v1.Container
	kind      criconfig.Kind
	target    string // of an ephemeral container: the container whose processes it is to see
}

// kill is a container to be stopped while its pod goes on.
type kill struct {
	container pleg.Container
	spec      *v1.Container
	message   string
	grace     *int64 // seconds, where a probe has its own
	restart   bool
}

// actions is what brings a pod closer to its spec.
type actions struct {
	finished      bool // every container has ended for good
	createSandbox bool // and stop what is left of the one before
	attempt       uint32
	sandboxID     string // the one to start containers in
	start         []start
	kill          []kill
	resize        []kill // containers whose resources have changed
}

// plan decides what to do next; the cost is linear in the pod's containers.
func plan(pod *v1.Pod, runtime *pleg.Pod, w world) actions {
	a := actions{}
	ok := false
	a.sandboxID, a.attempt, ok = usableSandbox(pod, runtime)
	if !ok {
		return planSandbox(pod, runtime, a)
	}
	a.planEphemeral(pod, runtime)
	initialized, failed := a.planInit(pod, runtime, w)
	if failed {
		a.finished = true
		return a
	}
	if initialized {
		a.planRegular(pod, runtime, w)
	}
	return a
}

// usableSandbox returns the sandbox that containers can be started in, or the attempt number for a new one.
func usableSandbox(pod *v1.Pod, runtime *pleg.Pod) (id string, attempt uint32, ok bool) {
	if len(runtime.Sandboxes) == 0 {
		return "", 0, false
	}
	ready := 0
	for _, s := range runtime.Sandboxes {
		if s.Ready {
			ready++
		}
	}
	newest := runtime.Sandboxes[0]
	if !newest.Ready || ready > 1 || newest.HostNet != pod.Spec.HostNetwork || (!newest.HostNet && len(newest.IPs) == 0) {
		return newest.ID, newest.Attempt + 1, false
	}
	return newest.ID, newest.Attempt, true
}

// planSandbox decides whether a pod without a usable sandbox is to get one: not if its containers are all done.
func planSandbox(pod *v1.Pod, runtime *pleg.Pod, a actions) actions {
	ran, again := false, false
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		latest, ok := runtime.Latest(c.Name)
		if ok {
			ran = true
		}
		if !ok || latest.State != pleg.Exited || status.Restarts(pod, c, false, latest.ExitCode) {
			again = true
		}
	}
	if pod.Spec.RestartPolicy == v1.RestartPolicyNever && a.attempt > 0 && len(runtime.Containers) > 0 {
		again = false
		for i := range pod.Spec.Containers {
			again = again || pod.Spec.Containers[i].RestartPolicy != nil // which may be another than its pod's
		}
		ran = true
	}
	if ran && !again {
		a.finished = true
		return a
	}
	a.createSandbox = true
	return a
}

func (a *actions) planEphemeral(pod *v1.Pod, runtime *pleg.Pod) {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		// They are never started again.
		if _, ok := runtime.Latest(e.Name); !ok {
			c := v1.Container(e.EphemeralContainerCommon)
			a.start = append(a.start, start{container: &c, kind: criconfig.Ephemeral, target: e.TargetContainerName})
		}
	}
}

// planInit walks the init containers in order. initialized means that the regular containers may run; failed that they never will.
func (a *actions) planInit(pod *v1.Pod, runtime *pleg.Pod, w world) (initialized, failed bool) {
	done := false // a regular container has been created here: its predecessors have done their work, and may have been removed
	for i := range pod.Spec.Containers {
		if _, ok := runtime.LatestIn(a.sandboxID, pod.Spec.Containers[i].Name); ok {
			done = true
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		sidecar := criconfig.IsSidecar(c)
		kind := criconfig.Init
		if sidecar {
			kind = criconfig.Sidecar
		}
		if done && !sidecar {
			continue
		}
		latest, ok := runtime.LatestIn(a.sandboxID, c.Name)
		switch {
		case !ok, latest.State == pleg.Created:
			a.start = append(a.start, start{container: c, kind: kind})
			if !done {
				return false, false
			}
		case latest.State == pleg.Running || latest.State == pleg.Unknown:
			if sidecar {
				a.checkRunning(pod, c, latest, w, true)
				a.planResize(pod, c, latest, w)
			}
			if !done && (!sidecar || !w.started(latest.ID)) {
				return false, false
			}
		case !sidecar && latest.ExitCode == 0:
		case !sidecar && !status.Restarts(pod, c, true, latest.ExitCode):
			return false, true
		default:
			a.start = append(a.start, start{container: c, kind: kind})
			if !done {
				return false, false
			}
		}
	}
	return true, false
}

func (a *actions) planRegular(pod *v1.Pod, runtime *pleg.Pod, w world) {
	active := false
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		latest, here := runtime.LatestIn(a.sandboxID, c.Name)
		known := here
		if !here {
			latest, known = runtime.Latest(c.Name)
		}
		switch {
		case here && (latest.State == pleg.Running || latest.State == pleg.Unknown):
			if a.checkRunning(pod, c, latest, w, false) {
				active = true
				a.planResize(pod, c, latest, w)
			}
		case !known || latest.State == pleg.Created || latest.State != pleg.Exited ||
			w.force[c.Name] || status.Restarts(pod, c, false, latest.ExitCode):
			active = true
			a.start = append(a.start, start{container: c})
		}
	}
	if !active {
		a.finished = true
		a.start = nil // sidecars do not keep a pod alive
	}
}

// checkRunning decides whether a running container is to be stopped. It returns whether it, or its successor, keeps the pod active.
func (a *actions) checkRunning(pod *v1.Pod, c *v1.Container, latest pleg.Container, w world, sidecar bool) bool {
	subject := "Container"
	if sidecar {
		subject = "Init container"
	}
	k := kill{container: latest, spec: c, restart: status.Restarts(pod, c, sidecar, 137)}
	kind, unwell := w.failed(latest.ID)
	switch {
	case latest.State == pleg.Unknown:
		k.message = fmt.Sprintf("%s is in %q state, try killing it before restart", subject, "unknown")
	case latest.Hash != "" && latest.Hash != criconfig.Hash(c):
		k.message = fmt.Sprintf("%s %s definition changed", subject, c.Name)
		k.restart = true
	case unwell && kind == prober.Startup:
		k.message = fmt.Sprintf("%s %s failed startup probe", subject, c.Name)
		k.grace = c.StartupProbe.TerminationGracePeriodSeconds
	case unwell:
		k.message = fmt.Sprintf("%s %s failed liveness probe", subject, c.Name)
		k.grace = c.LivenessProbe.TerminationGracePeriodSeconds
	default:
		return true
	}
	if k.restart {
		k.message += ", will be restarted"
	}
	if !w.stopping(latest.ID) {
		a.kill = append(a.kill, k)
	}
	return true
}

// planResize compares what a running container was given with what its spec says now (KEP-1287).
func (a *actions) planResize(pod *v1.Pod, c *v1.Container, latest pleg.Container, w world) {
	if w.sized {
		return
	}
	want := criconfig.Resizable(pod, c)
	if latest.State != pleg.Running || latest.Resources == "" || latest.Resources == want {
		return
	}
	k := kill{container: latest, spec: c}
	for _, policy := range c.ResizePolicy {
		if policy.RestartPolicy == v1.RestartContainer && changed(latest.Resources, want, policy.ResourceName) {
			k.restart = true
			k.message = fmt.Sprintf("Container %s resize requires restart", c.Name)
		}
	}
	a.resize = append(a.resize, k)
}
