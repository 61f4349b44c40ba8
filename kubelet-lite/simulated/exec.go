// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"
)

// ExecSync answers as Options.Exec says, or runs the command in the shell.
func (r *Runtime) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	if _, err := r.where(id); err != nil {
		return nil, nil, err
	}
	if r.options.Exec != nil {
		out, code := r.options.Exec(id, command)
		return []byte(out), nil, exitError(code)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out, errs bytes.Buffer
	err = r.ExecInContainer(ctx, id, command, nil, &out, &errs, false)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = status.Errorf(codes.DeadlineExceeded, "command %q timed out", command)
	}
	return out.Bytes(), errs.Bytes(), err
}

// ExecInContainer runs a command in a running container: in the shell, if there is one. An error that is a utilexec.ExitError has the
// command's exit code. The streams may be nil.
func (r *Runtime) ExecInContainer(ctx context.Context, id string, command []string, stdin io.Reader, stdout, stderr io.Writer, tty bool) error {
	at, err := r.where(id)
	if err != nil || r.options.Shell == nil {
		return err
	}
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = stdout
	}
	// A command ends with its container. One that still waits for input ends when its streams are closed, which its caller does next.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- r.options.Shell.run(ctx, at, command, stdin, stdout, stderr, tty) }()
	select {
	case code := <-done:
		return exitError(code)
	case <-at.exited:
		return exitError(killed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// place is where a command runs.
type place struct {
	pod, namespace, container string
	ip                        string
	exited                    <-chan struct{}
}

// where finds a running container.
func (r *Runtime) where(id string) (place, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok || c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return place{}, status.Errorf(codes.NotFound, "container %q is not running", id)
	}
	at := place{pod: c.box.name, namespace: c.box.namespace, container: c.name, exited: c.ended()}
	if c.box.ip.IsValid() {
		at.ip = c.box.ip.String()
	}
	return at, nil
}

func exitError(code int) error {
	if code == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("command exited with %d", code), Code: code}
}

// AttachToContainer shows what a container logs, until it ends or ctx does. One that has an input, and a shell or nothing as its command,
// is a shell that reads what is typed; it ends with that.
func (r *Runtime) AttachToContainer(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer, tty bool) error {
	if stdout == nil {
		stdout = io.Discard
	}
	r.mu.Lock()
	c, ok := r.containers[id]
	interactive := ok && c.shell && stdin != nil && r.options.Shell != nil
	r.mu.Unlock()
	if !interactive {
		if stdin != nil {
			go func() {
				// What is typed goes nowhere; the end of it is the client's.
				_, _ = io.Copy(io.Discard, stdin)
			}()
		}
		return r.ReadLogs(ctx, id, LogOptions{Follow: true}, stdout, io.Discard)
	}
	err := r.ExecInContainer(ctx, id, []string{"sh"}, stdin, stdout, stderr, tty)
	var exit utilexec.ExitError
	switch {
	case err == nil:
		r.finish(id, end{})
	case errors.As(err, &exit):
		r.finish(id, end{code: int32(exit.ExitStatus())})
	default:
		return err
	}
	return nil
}

// ReopenContainerLog does nothing: a log is made up when it is read.
func (r *Runtime) ReopenContainerLog(context.Context, string) error { return nil }

// Exec is for runtimes in another process: see ExecInContainer.
func (r *Runtime) Exec(context.Context, *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, unsupported("exec")
}

// Attach is for runtimes in another process: see AttachToContainer.
func (r *Runtime) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, unsupported("attach")
}

// PortForward has nowhere to go: nothing listens.
func (r *Runtime) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, errors.New("nothing listens in a simulated pod: the simulated runtime runs no processes")
}

// UpdateContainerResources accepts any resources of a container that is there.
func (r *Runtime) UpdateContainerResources(_ context.Context, id string, _ *runtimeapi.ContainerResources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.containers[id]; !ok {
		return status.Errorf(codes.NotFound, "container %q not found", id)
	}
	return nil
}

// UpdatePodSandboxResources does nothing.
func (r *Runtime) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// CheckpointContainer needs a process.
func (r *Runtime) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return unsupported("checkpoint")
}

// CheckpointPod needs a process.
func (r *Runtime) CheckpointPod(context.Context, *runtimeapi.CheckpointPodRequest) error {
	return unsupported("checkpoint")
}

// RestorePod needs a process.
func (r *Runtime) RestorePod(context.Context, *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, unsupported("restore")
}
