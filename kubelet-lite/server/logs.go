// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
)

// containerLogs writes a container's log, as it grows if asked to.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	opts, err := logOptions(r.URL.Query())
	if err != nil {
		http.Error(w, fmt.Sprintf(`{"message": %q}`, err.Error()), http.StatusUnprocessableEntity)
		return
	}
	name, container := r.PathValue("pod"), r.PathValue("container")
	pod, ok := s.Pods.GetPodByName(r.PathValue("namespace"), name)
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return
	}
	if _, ok := hasContainer(pod, container); !ok {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, name), http.StatusNotFound)
		return
	}
	c, err := s.loggedContainer(r.Context(), pod, container, opts.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &flusher{w: w}
	stdout, stderr := io.Writer(out), io.Writer(out)
	if opts.Stream != nil {
		switch *opts.Stream {
		case v1.LogStreamStdout:
			stderr = nil
		case v1.LogStreamStderr:
			stdout = nil
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	if opts.Follow {
		// The client should know at once that it follows, also where nothing has been logged yet.
		w.WriteHeader(http.StatusOK)
		out.flush()
	}
	err = s.readLogs(r.Context(), c.Id, readOptions(opts, time.Now()), stdout, stderr)
	if err != nil && !errors.Is(err, context.Canceled) && !out.written && !opts.Follow {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// readLogs has the log read where it is: in files, or in the runtime.
func (s *Server) readLogs(ctx context.Context, id string, opts *logs.LogOptions, stdout, stderr io.Writer) error {
	if r, ok := s.Runtime.(InProcess); ok {
		return r.ReadLogs(ctx, id, *opts, stdout, stderr)
	}
	status, err := s.Runtime.ContainerStatus(ctx, id, false)
	if err != nil {
		return err
	}
	return logs.ReadLogs(ctx, status.GetStatus().GetLogPath(), id, opts, s.Runtime, stdout, stderr)
}

// logOptions reads PodLogOptions as query parameters; tail is what old clients call tailLines.
func logOptions(q url.Values) (*v1.PodLogOptions, error) {
	if tail := q.Get("tail"); tail != "" && tail != "all" {
		q.Set("tailLines", tail)
	}
	o := &v1.PodLogOptions{}
	var err error
	number := func(name string, least int64) *int64 {
		text := q.Get(name)
		if text == "" || err != nil {
			return nil
		}
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil || n < least {
			err = fmt.Errorf("Invalid request: %s must be a number of at least %d", name, least)
		}
		return &n
	}
	flag := func(name string) bool { v, e := strconv.ParseBool(q.Get(name)); return e == nil && v }
	o.Follow, o.Previous, o.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	o.TailLines, o.LimitBytes, o.SinceSeconds = number("tailLines", 0), number("limitBytes", 1), number("sinceSeconds", 1)
	if text := q.Get("sinceTime"); text != "" && err == nil {
		t, e := time.Parse(time.RFC3339, text)
		if e != nil {
			err = fmt.Errorf("Invalid request: sinceTime is no RFC 3339 time")
		}
		since := metav1.NewTime(t)
		o.SinceTime = &since
	}
	if o.SinceTime != nil && o.SinceSeconds != nil && err == nil {
		err = errors.New("Invalid request: at most one of `sinceTime` or `sinceSeconds` may be specified")
	}
	if text := q.Get("stream"); text != "" && err == nil {
		if text != v1.LogStreamAll && text != v1.LogStreamStdout && text != v1.LogStreamStderr {
			err = fmt.Errorf("invalid stream type %q", text)
		}
		o.Stream = &text
	}
	return o, err
}

func readOptions(o *v1.PodLogOptions, now time.Time) *logs.LogOptions {
	out := &logs.LogOptions{TailLines: o.TailLines, LimitBytes: o.LimitBytes, Follow: o.Follow, Timestamp: o.Timestamps}
	switch {
	case o.SinceSeconds != nil:
		out.Since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		out.Since = o.SinceTime.Time
	}
	return out
}

// loggedContainer is the container's newest instance that has a log, or the one before it.
func (s *Server) loggedContainer(ctx context.Context, pod *v1.Pod, name string, previous bool) (*runtimeapi.Container, error) {
	all, err := s.instances(ctx, pod, name)
	if err != nil {
		return nil, err
	}
	// One that was only created has not logged; the one before it has.
	for len(all) > 0 && all[0].State == runtimeapi.ContainerState_CONTAINER_CREATED {
		all = all[1:]
	}
	waiting := waitingReason(pod, name)
	if previous {
		if len(all) > 0 && all[0].State == runtimeapi.ContainerState_CONTAINER_RUNNING || waiting == "" && len(all) > 0 {
			all = all[1:]
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
		}
		return all[0], nil
	}
	if len(all) > 0 {
		return all[0], nil
	}
	switch waiting {
	case "ErrImagePull":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", name, pod.Name)
	case "ImagePullBackOff":
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, pod.Name)
	case "":
		return nil, fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	}
	return nil, fmt.Errorf("container %q in pod %q is waiting to start: %v", name, pod.Name, waiting)
}

func waitingReason(pod *v1.Pod, name string) string {
	for _, list := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name && list[i].State.Waiting != nil {
				return list[i].State.Waiting.Reason
			}
		}
	}
	return ""
}

// flusher sends every piece at once: somebody waits for it.
type flusher struct {
	w       http.ResponseWriter
	written bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.written = true
	n, err := f.w.Write(p)
	f.flush()
	return n, err
}

func (f *flusher) flush() {
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
}
