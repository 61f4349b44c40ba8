// SPDX-License-Identifier: Apache-2.0

// Package simulated is a container runtime that runs nothing: it implements the CRI's Go interfaces in memory, so that the node
// agent brings pods to Running without processes, root or images. It serves operators, charts, scale tests and the
// agent's own tests. A container costs one map entry; lists cost what they return; nothing runs between calls except
// one timer for each container that is to end by itself.
package simulated

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Options of a simulated runtime; the zero value is usable.
type Options struct {
	// PodCIDR is where pod addresses come from, until UpdateRuntimeConfig names another. Default 10.88.0.0/16.
	PodCIDR string
	// Latency that starting a sandbox and starting a container take each.
	Latency time.Duration
	// Exec answers probes and hooks; nil means that every command succeeds.
	Exec func(containerID string, command []string) (stdout string, exitCode int)
	// Missing says whether an image cannot be pulled; nil means that every image can.
	Missing func(image string) error
}

// Runtime is the simulation; it is safe for concurrent use.
type Runtime struct {
	options Options

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]*runtimeapi.Image
	listeners  map[chan<- *runtimeapi.ContainerEventResponse]context.Context
	nextID     int
	prefix     netip.Prefix
	used       map[netip.Addr]bool
	lastIP     netip.Addr
	calls      map[string]int
	stopped    []string
}

type sandbox struct {
	status *runtimeapi.PodSandboxStatus
	config *runtimeapi.PodSandboxConfig
	ip     netip.Addr
}

type container struct {
	status    *runtimeapi.ContainerStatus
	config    *runtimeapi.ContainerConfig
	sandboxID string
	timer     *time.Timer
	exited    chan struct{}
}

// New returns an empty runtime.
func New(options Options) *Runtime {
	if options.PodCIDR == "" {
		options.PodCIDR = "10.88.0.0/16"
	}
	r := &Runtime{
		options:    options,
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		images:     map[string]*runtimeapi.Image{},
		listeners:  map[chan<- *runtimeapi.ContainerEventResponse]context.Context{},
		used:       map[netip.Addr]bool{},
		calls:      map[string]int{},
	}
	if prefix, err := netip.ParsePrefix(options.PodCIDR); err == nil {
		r.prefix = prefix.Masked()
	}
	return r
}

// Version names the simulation as the node's container runtime.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "simulated", RuntimeVersion: "1.0.0", RuntimeApiVersion: "v1"}, nil
}

// Status is always ready.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true},
	}}}, nil
}

// RuntimeConfig says nothing: there is no cgroup driver.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{}, nil
}

// UpdateRuntimeConfig takes the node's pod CIDR.
func (r *Runtime) UpdateRuntimeConfig(_ context.Context, config *runtimeapi.RuntimeConfig) error {
	cidr := config.GetNetworkConfig().GetPodCidr()
	if cidr == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "pod CIDR %q: %v", cidr, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prefix = prefix.Masked()
	return nil
}

// Close ends nothing: the runtime has no connection.
func (r *Runtime) Close(context.Context) error { return nil }

// RunPodSandbox records a sandbox and gives it an address.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if err := r.delay(ctx); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["RunPodSandbox"]++
	s := &sandbox{config: config, status: &runtimeapi.PodSandboxStatus{
		Id: r.newID(), Metadata: config.Metadata, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: time.Now().UnixNano(),
		Labels: config.Labels, Annotations: config.Annotations, RuntimeHandler: handler,
		Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != runtimeapi.NamespaceMode_NODE {
		ip, err := r.allocate()
		if err != nil {
			return "", err
		}
		s.ip = ip
		s.status.Network.Ip = ip.String()
	}
	r.sandboxes[s.status.Id] = s
	r.emit(s.status.Id, s.status.Id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	r.emit(s.status.Id, s.status.Id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return s.status.Id, nil
}

// StopPodSandbox ends a sandbox and its containers; it may be repeated.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["StopPodSandbox"]++
	s, ok := r.sandboxes[id]
	if !ok {
		return nil
	}
	for cid, c := range r.containers {
		if c.sandboxID == id {
			r.exit(cid, 137)
		}
	}
	if s.status.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		return nil
	}
	s.status = proto.CloneOf(s.status)
	s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	s.status.Network = &runtimeapi.PodSandboxNetworkStatus{}
	delete(r.used, s.ip)
	r.emit(id, id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	return nil
}

// RemovePodSandbox forgets a sandbox and its containers; it may be repeated.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[id]; !ok {
		return nil
	}
	for cid, c := range r.containers {
		if c.sandboxID == id {
			r.emit(id, cid, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
			delete(r.containers, cid)
		}
	}
	r.emit(id, id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	delete(r.sandboxes, id)
	return nil
}

// PodSandboxStatus returns one sandbox.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", id)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.status}, nil
}

// ListPodSandbox returns the sandboxes that match.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for id, s := range r.sandboxes {
		if (filter.GetId() != "" && filter.GetId() != id) || !matches(filter.GetLabelSelector(), s.status.Labels) ||
			(filter.GetState() != nil && filter.State.State != s.status.State) {
			continue
		}
		list = append(list, &runtimeapi.PodSandbox{Id: id, Metadata: s.status.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt,
			Labels: s.status.Labels, Annotations: s.status.Annotations, RuntimeHandler: s.status.RuntimeHandler})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.PodSandbox) int { return cmp.Compare(a.Id, b.Id) })
	return list, nil
}

// CreateContainer records a container in a sandbox that is ready.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["CreateContainer"]++
	s, ok := r.sandboxes[sandboxID]
	if !ok || s.status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		return "", status.Errorf(codes.NotFound, "failed to find sandbox id %q: not found", sandboxID)
	}
	for _, have := range r.containers {
		m := have.status.Metadata
		if have.sandboxID == sandboxID && m.Name == config.Metadata.Name && m.Attempt == config.Metadata.Attempt {
			return "", status.Errorf(codes.AlreadyExists, "container %s attempt %d of sandbox %s exists", m.Name, m.Attempt, sandboxID)
		}
	}
	c := &container{config: config, sandboxID: sandboxID, exited: make(chan struct{}), status: &runtimeapi.ContainerStatus{
		Id: r.newID(), Metadata: config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
		Image:    &runtimeapi.ImageSpec{Image: cmp.Or(config.GetImage().GetUserSpecifiedImage(), config.GetImage().GetImage())},
		ImageRef: config.GetImage().GetImage(), ImageId: config.GetImage().GetImage(), Labels: config.Labels, Annotations: config.Annotations,
		Mounts: config.Mounts, LogPath: filepath.Join(sandboxConfig.GetLogDirectory(), config.LogPath), StopSignal: config.StopSignal,
		Resources: &runtimeapi.ContainerResources{Linux: config.GetLinux().GetResources()},
	}}
	r.containers[c.status.Id] = c
	r.emit(sandboxID, c.status.Id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return c.status.Id, nil
}

// StartContainer runs a container, as far as anyone can tell.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	if err := r.delay(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["StartContainer"]++
	c, ok := r.containers[id]
	if !ok {
		return status.Errorf(codes.NotFound, "container %q not found", id)
	}
	if c.status.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		return status.Errorf(codes.FailedPrecondition, "container %q is in %s state", id, c.status.State)
	}
	c.status = proto.CloneOf(c.status)
	c.status.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	c.status.StartedAt = time.Now().UnixNano()
	r.emit(c.sandboxID, id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	writeLog(c.status.LogPath, fmt.Sprintf("simulated container %s started", c.status.Metadata.Name))
	if after, code, ends := lifetime(r.sandboxes[c.sandboxID].config, c.config); ends {
		c.timer = time.AfterFunc(after, func() { r.Exit(id, code) })
	}
	return nil
}

// StopContainer ends a container at once, whatever its grace.
func (r *Runtime) StopContainer(_ context.Context, id string, _ int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["StopContainer"]++
	c, ok := r.containers[id]
	if !ok {
		return nil
	}
	if c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		r.stopped = append(r.stopped, c.status.Metadata.Name)
	}
	r.exit(id, 143)
	return nil
}

// Exit ends a running container with that code, as if its process had; for tests and simulations of failure.
func (r *Runtime) Exit(id string, code int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exit(id, code)
}

// RemoveContainer forgets a container; it may be repeated.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil
	}
	r.exit(id, 137)
	r.emit(c.sandboxID, id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	delete(r.containers, id)
	return nil
}

// ListContainers returns the containers that match.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.Container
	for id, c := range r.containers {
		s := c.status
		if (filter.GetId() != "" && filter.GetId() != id) || (filter.GetPodSandboxId() != "" && filter.GetPodSandboxId() != c.sandboxID) ||
			!matches(filter.GetLabelSelector(), s.Labels) || (filter.GetState() != nil && filter.State.State != s.State) {
			continue
		}
		list = append(list, &runtimeapi.Container{Id: id, PodSandboxId: c.sandboxID, Metadata: s.Metadata, Image: s.Image, ImageRef: s.ImageRef,
			State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations, ImageId: s.ImageId})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.Container) int { return cmp.Compare(a.Id, b.Id) })
	return list, nil
}

// ContainerStatus returns one container.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	return &runtimeapi.ContainerStatusResponse{Status: c.status}, nil
}

// UpdateContainerResources records what a container may use.
func (r *Runtime) UpdateContainerResources(_ context.Context, id string, resources *runtimeapi.ContainerResources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return status.Errorf(codes.NotFound, "container %q not found", id)
	}
	c.status = proto.CloneOf(c.status)
	c.status.Resources = resources
	return nil
}

// Calls returns how often a call that changes something has been made; for tests.
func (r *Runtime) Calls(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[name]
}

// Stopped returns the names of the containers that were stopped while they ran, in order; for tests.
func (r *Runtime) Stopped() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stopped)
}

// exit marks a running container as ended; the lock is held.
func (r *Runtime) exit(id string, code int32) {
	c, ok := r.containers[id]
	if !ok || c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.status = proto.CloneOf(c.status)
	c.status.State = runtimeapi.ContainerState_CONTAINER_EXITED
	c.status.FinishedAt = time.Now().UnixNano()
	c.status.ExitCode = code
	c.status.Reason = "Completed"
	if code != 0 {
		c.status.Reason = "Error"
	}
	close(c.exited)
	r.emit(c.sandboxID, id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
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
		if !r.used[ip] {
			r.used[ip] = true
			r.lastIP = ip
			return ip, nil
		}
	}
}

func (r *Runtime) newID() string {
	r.nextID++
	return fmt.Sprintf("%064x", r.nextID)
}

func (r *Runtime) delay(ctx context.Context) error {
	if r.options.Latency <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.options.Latency):
		return nil
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// writeLog gives `kubectl logs` a line to show, in the CRI's log format; a log that cannot be written is no one's loss.
func writeLog(path, line string) {
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s stdout F %s\n", time.Now().Format(time.RFC3339Nano), line)
}

var (
	_ internalapi.RuntimeService      = (*Runtime)(nil)
	_ internalapi.ImageManagerService = (*Images)(nil)
)
