// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Exit codes of containers that were ended from outside: by the signals KILL and TERM.
const (
	killed     = 137
	terminated = 143
)

// RunPodSandbox records a sandbox and gives it an address.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	select {
	case <-r.prefixed:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	m := config.GetMetadata()
	s := &sandbox{
		id: newID(), name: m.GetName(), namespace: m.GetNamespace(), uid: types.UID(m.GetUid()), attempt: m.GetAttempt(), createdAt: time.Now().UnixNano(),
		handler: handler, ready: true, job: config.Labels[batchv1.JobNameLabel] != "", annotations: ours(config.Annotations),
		hostNetwork: config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	r.mu.Lock()
	r.calls["RunPodSandbox"]++
	if err := r.invalid[s.uid]; err != nil {
		r.mu.Unlock()
		return "", status.Error(codes.InvalidArgument, err.Error())
	}
	if !s.hostNetwork {
		var err error
		if s.ip, err = r.allocate(); err != nil {
			r.mu.Unlock()
			return "", err
		}
	}
	r.sandboxes[s.id] = s
	event := sandboxEvent(s, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	r.mu.Unlock()
	r.emit(event)
	return s.id, nil
}

// StopPodSandbox ends a sandbox and its containers; it may be repeated.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	var events []*runtimeapi.ContainerEventResponse
	defer func() { r.emit(events...) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["StopPodSandbox"]++
	s, ok := r.sandboxes[id]
	if !ok {
		return nil
	}
	for _, c := range s.containers {
		events = append(events, r.exit(c, end{code: killed})...)
	}
	if s.ready {
		s.ready = false
		delete(r.used, s.ip)
		events = append(events, sandboxEvent(s, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT))
	}
	return nil
}

// RemovePodSandbox forgets a sandbox and its containers; it may be repeated.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	var events []*runtimeapi.ContainerEventResponse
	defer func() { r.emit(events...) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil
	}
	for _, c := range s.containers {
		events = append(events, containerEvent(c, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT))
		delete(r.containers, c.id)
	}
	delete(r.sandboxes, id)
	events = append(events, sandboxEvent(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT))
	return nil
}

// CreateContainer records a container in a sandbox that is ready.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	var event *runtimeapi.ContainerEventResponse
	defer func() { r.emit(event) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["CreateContainer"]++
	s, ok := r.sandboxes[sandboxID]
	if !ok || !s.ready {
		return "", status.Errorf(codes.NotFound, "failed to find sandbox id %q: not found", sandboxID)
	}
	m := config.GetMetadata()
	for _, have := range s.containers {
		if have.name == m.GetName() && have.attempt == m.GetAttempt() {
			return "", status.Errorf(codes.AlreadyExists, "container %s attempt %d of sandbox %s exists", m.Name, m.Attempt, sandboxID)
		}
	}
	image := config.GetImage()
	c := &container{
		id: newID(), name: m.GetName(), kind: config.Annotations[pleg.AnnotationKind], box: s, attempt: m.GetAttempt(),
		image: cmp.Or(image.GetUserSpecifiedImage(), image.GetImage()), imageRef: image.GetImage(), annotations: config.Annotations,
		stopSignal: config.StopSignal, state: runtimeapi.ContainerState_CONTAINER_CREATED, createdAt: time.Now().UnixNano(),
	}
	c.setCommand(slices.Concat(config.Command, config.Args), config.Stdin)
	s.containers = append(s.containers, c)
	r.containers[c.id] = c
	event = containerEvent(c, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return c.id, nil
}

// StartContainer runs a container, as far as anyone can tell.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	if !ok {
		r.mu.Unlock()
		return status.Errorf(codes.NotFound, "container %q not found", id)
	}
	s := c.settings()
	r.mu.Unlock()
	if err := pause(ctx, s.duration(StartDelay, r.options.StartDelay)); err != nil {
		return err
	}
	if why, ok := s.get(StartError); ok {
		return status.Error(codes.Unknown, why)
	}
	var event *runtimeapi.ContainerEventResponse
	defer func() { r.emit(event) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["StartContainer"]++
	if r.containers[id] != c || c.state != runtimeapi.ContainerState_CONTAINER_CREATED {
		return status.Errorf(codes.FailedPrecondition, "container %q is in %s state", id, c.state)
	}
	c.state, c.startedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	r.arm(c, false)
	event = containerEvent(c, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return nil
}

// arm sets the timer of a running container's end as its pod's annotations are now. An adopted one may have ended in the past. The lock is
// held.
func (r *Runtime) arm(c *container, adopted bool) {
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	e, ends := c.lifetime()
	if !ends {
		return
	}
	due := time.Unix(0, c.startedAt).Add(e.after)
	if adopted {
		e.at = due.UnixNano()
	}
	c.timer = time.AfterFunc(time.Until(due), func() { r.finish(c.id, e) })
}

// StopContainer ends a container at once, or when it has had the delay that its pod asks for, at most its grace in seconds.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace int64) error {
	r.mu.Lock()
	r.calls["StopContainer"]++
	c, ok := r.containers[id]
	if !ok || c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		r.mu.Unlock()
		if ok {
			r.finish(id, end{code: killed})
		}
		return nil
	}
	if r.stopped = append(r.stopped, c.name); len(r.stopped) > maxStopped {
		r.stopped = slices.Delete(r.stopped, 0, 1)
	}
	e := end{code: terminated}
	delay := c.settings().duration(StopDelay, 0)
	if most := time.Duration(grace) * time.Second; delay > most {
		delay, e.code = most, killed
	}
	exited := c.ended()
	r.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-exited:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.finish(id, e)
	return nil
}

// maxStopped bounds how many stops are remembered.
const maxStopped = 64

// Exit ends a running container with that code, as if its process had; for tests and simulations of failure.
func (r *Runtime) Exit(id string, code int32) { r.finish(id, end{code: code}) }

func (r *Runtime) finish(id string, e end) {
	r.mu.Lock()
	var events []*runtimeapi.ContainerEventResponse
	if c, ok := r.containers[id]; ok {
		events = r.exit(c, e)
	}
	r.mu.Unlock()
	r.emit(events...)
}

// exit marks a running container as ended, and returns what to tell; the lock is held.
func (r *Runtime) exit(c *container, e end) []*runtimeapi.ContainerEventResponse {
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.state, c.finishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, cmp.Or(e.at, time.Now().UnixNano())
	c.exitCode, c.message = e.code, e.message
	switch {
	case e.reason != "":
		c.reason = e.reason
	case e.code != 0:
		c.reason = "Error"
	default:
		c.reason = "Completed"
	}
	if c.exited != nil {
		close(c.exited)
	}
	return []*runtimeapi.ContainerEventResponse{containerEvent(c, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)}
}

// ended returns what is closed at a running container's end; the lock is held.
func (c *container) ended() <-chan struct{} {
	if c.exited == nil {
		c.exited = make(chan struct{})
		if c.state == runtimeapi.ContainerState_CONTAINER_EXITED {
			close(c.exited)
		}
	}
	return c.exited
}

// RemoveContainer forgets a container; it may be repeated.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	var events []*runtimeapi.ContainerEventResponse
	defer func() { r.emit(events...) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil
	}
	events = append(r.exit(c, end{code: killed}), containerEvent(c, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT))
	c.box.containers = slices.DeleteFunc(c.box.containers, func(have *container) bool { return have == c })
	delete(r.containers, id)
	return nil
}

// setPrefix is called with the lock held, or before anyone else has the runtime.
func (r *Runtime) setPrefix(prefix netip.Prefix) {
	r.prefix = prefix.Masked()
	select {
	case <-r.prefixed:
	default:
		close(r.prefixed)
	}
}

// allocate finds a free address; the lock is held.
func (r *Runtime) allocate() (netip.Addr, error) {
	if !r.prefix.Contains(r.lastIP) {
		r.lastIP = r.prefix.Addr().Next() // the first address is the gateway's
	}
	for ip, wrapped := r.lastIP.Next(), false; ; ip = ip.Next() {
		if !r.prefix.Contains(ip) {
			if wrapped {
				return netip.Addr{}, status.Errorf(codes.ResourceExhausted, "no free address in %s", r.prefix)
			}
			wrapped = true
			ip = r.prefix.Addr().Next().Next()
		}
		if _, used := r.used[ip]; !used {
			r.used[ip] = struct{}{}
			r.lastIP = ip
			return ip, nil
		}
	}
}

// newID is a name that no other sandbox or container has, in this life of the process or another.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
