// SPDX-License-Identifier: Apache-2.0

// Package lifecycle runs the hooks of containers: postStart and preStop. A hook costs one command, request or timer, and ends
// with its context.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	internalapi "k8s.io/cri-api/pkg/apis"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
)

// Runner runs hooks.
type Runner struct {
	runtime  internalapi.RuntimeService
	prober   *probe.Prober
	recorder record.EventRecorder
}

// NewRunner returns a runner.
func NewRunner(runtime internalapi.RuntimeService, prober *probe.Prober, recorder record.EventRecorder) *Runner {
	return &Runner{runtime: runtime, prober: prober, recorder: recorder}
}

// Run runs one hook to its end. The error is what the container's status may show.
func (r *Runner) Run(ctx context.Context, pod *v1.Pod, container *v1.Container, containerID, podIP string, handler *v1.LifecycleHandler) error {
	name := criconfig.PodName(pod)
	switch {
	case handler.Exec != nil:
		stdout, stderr, err := r.execute(ctx, containerID, handler.Exec.Command)
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %v, message: %q",
				handler.Exec.Command, container.Name, name, err, string(append(stdout, stderr...)))
		}
	case handler.HTTPGet != nil:
		if err := r.get(ctx, pod, container, podIP, handler.HTTPGet); err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %v", handler.HTTPGet.Path, container.Name, name, err)
		}
	case handler.TCPSocket != nil:
		if err := dial(ctx, container, podIP, handler.TCPSocket); err != nil {
			return fmt.Errorf("TCP lifecycle hook for Container %q in Pod %q failed - error: %v", container.Name, name, err)
		}
	case handler.Sleep != nil:
		timer := time.NewTimer(time.Duration(handler.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: container terminated before sleep hook finished",
				handler.Sleep.Seconds, container.Name, name)
		}
	default:
		return fmt.Errorf("Cannot run handler: invalid handler: %v", handler)
	}
	return nil
}

// execute runs a command without a time limit of its own; the runtime has none, so the context's end is awaited beside it.
func (r *Runner) execute(ctx context.Context, containerID string, command []string) (stdout, stderr []byte, err error) {
	timeout := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(deadline), time.Second)
	}
	return r.runtime.ExecSync(ctx, containerID, command, timeout)
}

func (r *Runner) get(ctx context.Context, pod *v1.Pod, container *v1.Container, podIP string, action *v1.HTTPGetAction) error {
	if action.Host == "" && podIP == "" {
		return errors.New("failed to find networking container")
	}
	request, err := r.prober.Request(ctx, action, container, podIP, "lifecycle")
	if err != nil {
		return err
	}
	fellBack, err := r.prober.Do(request)
	if fellBack {
		r.recorder.Eventf(pod, v1.EventTypeWarning, "LifecycleHTTPFallback",
			"request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", request.URL.Host)
	}
	return err
}

func dial(ctx context.Context, container *v1.Container, podIP string, action *v1.TCPSocketAction) error {
	port, err := probe.Port(action.Port, container)
	if err != nil {
		return err
	}
	address := action.Host
	if address == "" {
		address = podIP
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}
