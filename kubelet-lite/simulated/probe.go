// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/podworker"
	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
)

// Prober answers probes as the annotations of pods say: nothing is dialled and nothing run. By default every probe succeeds.
type Prober struct{ runtime *Runtime }

// Prober returns what answers probes of this runtime's containers.
func (r *Runtime) Prober() Prober { return Prober{r} }

// Probe implements prober.Asker.
func (p Prober) Probe(_ context.Context, spec *v1.Probe, container *v1.Container, id, _ string) (probe.Outcome, string, error) {
	key := annotationOf(spec, container)
	p.runtime.mu.Lock()
	c, ok := p.runtime.containers[id]
	var text string
	var age time.Duration
	if ok {
		text, _ = c.settings().get(key)
		age = time.Since(time.Unix(0, c.startedAt))
	}
	p.runtime.mu.Unlock()
	if !ok {
		return probe.Failure, "", fmt.Errorf("container %s is not there", container.Name)
	}
	if text == "" {
		return probe.Success, "", nil
	}
	// A value that cannot be read was refused when the pod started, or has been written since.
	if o, err := parseOutcome(text); err != nil {
		return probe.Failure, fmt.Sprintf("annotation %s/%s: %v", AnnotationPrefix, key, err), nil
	} else if o.failsAt(age) {
		return probe.Failure, fmt.Sprintf("simulated: annotation %s/%s says %q", AnnotationPrefix, key, text), nil
	}
	return probe.Success, "", nil
}

func annotationOf(spec *v1.Probe, container *v1.Container) string {
	switch spec {
	case container.LivenessProbe:
		return LivenessProbe
	case container.StartupProbe:
		return StartupProbe
	}
	return ReadinessProbe
}

// Hooks runs containers' hooks: sleeps take their time, commands run in the shell, and all else succeeds at once.
type Hooks struct{ runtime *Runtime }

// Hooks returns what runs hooks of this runtime's containers.
func (r *Runtime) Hooks() Hooks { return Hooks{r} }

// Run implements podworker.Hooks.
func (h Hooks) Run(ctx context.Context, pod *v1.Pod, container *v1.Container, id, _ string, handler *v1.LifecycleHandler) error {
	switch {
	case handler.Sleep != nil:
		if pause(ctx, time.Duration(handler.Sleep.Seconds)*time.Second) != nil {
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: container terminated before sleep hook finished",
				handler.Sleep.Seconds, container.Name, criconfig.PodName(pod))
		}
	case handler.Exec != nil:
		_, _, err := h.runtime.ExecSync(ctx, id, handler.Exec.Command, 0)
		var exit utilexec.ExitError
		// A program that the shell does not have is taken to succeed.
		if err != nil && !(errors.As(err, &exit) && exit.ExitStatus() == notFound) {
			return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %v", handler.Exec.Command, container.Name, criconfig.PodName(pod), err)
		}
	}
	return nil
}

var (
	_ prober.Asker    = Prober{}
	_ podworker.Hooks = Hooks{}
)
