// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// How long streams may be idle, and how long a client may take to open them; containerd's.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// protocols of exec and attach over SPDY, the newest first.
var protocols = []string{remotecommand.StreamProtocolV4Name, remotecommand.StreamProtocolV3Name, remotecommand.StreamProtocolV2Name, remotecommand.StreamProtocolV1Name}

// execInProcess is exec for a runtime in this process.
func (s *Server) execInProcess(w http.ResponseWriter, r *http.Request, runtime InProcess) {
	pod, id, o, ok := s.streamed(w, r)
	if !ok {
		return
	}
	remotecommand.ServeExec(w, r, executor{runtime, id}, pod.Name, string(pod.UID), r.PathValue("container"), r.URL.Query()["command"],
		o.remote(), streamIdle, streamCreation, protocols)
}

// attachInProcess is attach for a runtime in this process.
func (s *Server) attachInProcess(w http.ResponseWriter, r *http.Request, runtime InProcess) {
	pod, id, o, ok := s.streamed(w, r)
	if !ok {
		return
	}
	name := r.PathValue("container")
	o.tty, _ = hasContainer(pod, name)
	o.stderr = o.stderr && !o.tty
	remotecommand.ServeAttach(w, r, executor{runtime, id}, pod.Name, string(pod.UID), name, o.remote(), streamIdle, streamCreation, protocols)
}

func (o streamOptions) remote() *remotecommand.Options {
	return &remotecommand.Options{Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr, TTY: o.tty}
}

// executor hands the streams of one request to the runtime.
type executor struct {
	runtime InProcess
	id      string
}

func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	defer drain(resize)()
	return e.runtime.ExecInContainer(ctx, e.id, command, in, out, errs, tty)
}

func (e executor) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	defer drain(resize)()
	return e.runtime.AttachToContainer(ctx, e.id, in, out, errs, tty)
}

// drain takes sizes of a terminal that nobody draws on, until the returned function is called.
func drain(sizes <-chan remotecommand.TerminalSize) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case _, more := <-sizes:
				if !more {
					return
				}
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

var (
	_ remotecommand.Executor = executor{}
	_ remotecommand.Attacher = executor{}
)
