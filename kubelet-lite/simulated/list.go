// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubetypes "k8s.io/kubelet/pkg/types"
)

// The CRI's messages are made when they are asked for: kept, they would be most of what a pod costs here.

// PodSandboxStatus returns one sandbox.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", id)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.status()}, nil
}

// ListPodSandbox returns the sandboxes that match.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for id, s := range r.sandboxes {
		if (filter.GetId() != "" && filter.GetId() != id) || (filter.GetState() != nil && filter.State.State != s.state()) || !s.matches(filter.GetLabelSelector(), nil) {
			continue
		}
		list = append(list, &runtimeapi.PodSandbox{Id: id, Metadata: s.metadata(), State: s.state(), CreatedAt: s.createdAt,
			Labels: s.labels(), Annotations: s.annotations, RuntimeHandler: s.handler})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.PodSandbox) int { return cmp.Compare(a.Id, b.Id) })
	return list, nil
}

// ListContainers returns the containers that match.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.Container
	for _, c := range r.matching(filter.GetId(), filter.GetPodSandboxId(), filter.GetLabelSelector()) {
		if filter.GetState() != nil && filter.State.State != c.state {
			continue
		}
		list = append(list, &runtimeapi.Container{Id: c.id, PodSandboxId: c.box.id, Metadata: c.metadata(), Image: &runtimeapi.ImageSpec{Image: c.image},
			ImageRef: c.imageRef, ImageId: c.imageRef, State: c.state, CreatedAt: c.createdAt, Labels: c.labels(), Annotations: c.annotations})
	}
	slices.SortFunc(list, func(a, b *runtimeapi.Container) int { return cmp.Compare(a.Id, b.Id) })
	return list, nil
}

// matching returns the containers with an id, of a sandbox and with labels, as far as they are asked for; the lock is held.
func (r *Runtime) matching(id, sandboxID string, labels map[string]string) []*container {
	var list []*container
	for _, s := range r.sandboxes {
		if sandboxID != "" && sandboxID != s.id {
			continue
		}
		for _, c := range s.containers {
			if (id == "" || id == c.id) && s.matches(labels, c) {
				list = append(list, c)
			}
		}
	}
	return list
}

// ContainerStatus returns one container.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	return &runtimeapi.ContainerStatusResponse{Status: c.status()}, nil
}

func (s *sandbox) metadata() *runtimeapi.PodSandboxMetadata {
	return &runtimeapi.PodSandboxMetadata{Name: s.name, Namespace: s.namespace, Uid: string(s.uid), Attempt: s.attempt}
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (s *sandbox) labels() map[string]string {
	return map[string]string{
		kubetypes.KubernetesPodNameLabel: s.name, kubetypes.KubernetesPodNamespaceLabel: s.namespace, kubetypes.KubernetesPodUIDLabel: string(s.uid),
	}
}

func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	network := &runtimeapi.PodSandboxNetworkStatus{}
	if s.ready && s.ip.IsValid() {
		network.Ip = s.ip.String()
	}
	mode := runtimeapi.NamespaceMode_POD
	if s.hostNetwork {
		mode = runtimeapi.NamespaceMode_NODE
	}
	return &runtimeapi.PodSandboxStatus{
		Id: s.id, Metadata: s.metadata(), State: s.state(), CreatedAt: s.createdAt, Network: network, Labels: s.labels(), Annotations: s.annotations, RuntimeHandler: s.handler,
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: &runtimeapi.NamespaceOption{Network: mode}}},
	}
}

// matches compares the labels that the node agent gives sandboxes and, where c is not nil, containers.
func (s *sandbox) matches(selector map[string]string, c *container) bool {
	for name, want := range selector {
		have := ""
		switch name {
		case kubetypes.KubernetesPodNameLabel:
			have = s.name
		case kubetypes.KubernetesPodNamespaceLabel:
			have = s.namespace
		case kubetypes.KubernetesPodUIDLabel:
			have = string(s.uid)
		case kubetypes.KubernetesContainerNameLabel:
			if c != nil {
				have = c.name
			}
		}
		if have != want {
			return false
		}
	}
	return true
}

func (c *container) metadata() *runtimeapi.ContainerMetadata {
	return &runtimeapi.ContainerMetadata{Name: c.name, Attempt: c.attempt}
}

func (c *container) labels() map[string]string {
	labels := c.box.labels()
	labels[kubetypes.KubernetesContainerNameLabel] = c.name
	return labels
}

func (c *container) status() *runtimeapi.ContainerStatus {
	return &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.metadata(), State: c.state, CreatedAt: c.createdAt, StartedAt: c.startedAt, FinishedAt: c.finishedAt,
		ExitCode: c.exitCode, Reason: c.reason, Message: c.message, Image: &runtimeapi.ImageSpec{Image: c.image}, ImageRef: c.imageRef, ImageId: c.imageRef,
		Labels: c.labels(), Annotations: c.annotations, StopSignal: c.stopSignal,
	}
}
