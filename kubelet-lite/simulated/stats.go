// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// usage is what a container is said to use: what the annotations cpu and memory say, nothing by default.
type usage struct {
	nanoCores, coreNanoSeconds, bytes uint64
}

// usage is called with the lock held.
func (c *container) usage(now time.Time) usage {
	s := c.settings()
	cpu, memory := s.quantity(CPU), s.quantity(Memory)
	ran := uint64(max(now.UnixNano()-c.startedAt, 0))
	cores := cpu.AsApproximateFloat64()
	return usage{nanoCores: uint64(cores * 1e9), coreNanoSeconds: uint64(cores * float64(ran)), bytes: uint64(memory.Value())}
}

func (u *usage) add(more usage) {
	u.nanoCores += more.nanoCores
	u.coreNanoSeconds += more.coreNanoSeconds
	u.bytes += more.bytes
}

func (u usage) cpu(now time.Time) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: now.UnixNano(), UsageCoreNanoSeconds: value(u.coreNanoSeconds), UsageNanoCores: value(u.nanoCores)}
}

func (u usage) memory(now time.Time) *runtimeapi.MemoryUsage {
	return &runtimeapi.MemoryUsage{Timestamp: now.UnixNano(), WorkingSetBytes: value(u.bytes), UsageBytes: value(u.bytes), RssBytes: value(u.bytes)}
}

func value(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

func (c *container) stats(now time.Time) *runtimeapi.ContainerStats {
	u := c.usage(now)
	return &runtimeapi.ContainerStats{
		Attributes:    &runtimeapi.ContainerAttributes{Id: c.id, Metadata: c.metadata(), Labels: c.labels(), Annotations: c.annotations},
		Cpu:           u.cpu(now),
		Memory:        u.memory(now),
		WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: now.UnixNano(), UsedBytes: value(0), InodesUsed: value(0)},
	}
}

func (s *sandbox) stats(now time.Time) *runtimeapi.PodSandboxStats {
	var sum usage
	linux := &runtimeapi.LinuxPodSandboxStats{}
	for _, c := range s.containers {
		if c.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			sum.add(c.usage(now))
			linux.Containers = append(linux.Containers, c.stats(now))
		}
	}
	linux.Cpu, linux.Memory = sum.cpu(now), sum.memory(now)
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: s.id, Metadata: s.metadata(), Labels: s.labels(), Annotations: s.annotations}, Linux: linux,
	}
}

// ContainerStats reports what a container is said to use.
func (r *Runtime) ContainerStats(_ context.Context, id string) (*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	return c.stats(time.Now()), nil
}

// ListContainerStats reports what the running containers are said to use that match.
func (r *Runtime) ListContainerStats(_ context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var list []*runtimeapi.ContainerStats
	for _, c := range r.matching(filter.GetId(), filter.GetPodSandboxId(), filter.GetLabelSelector()) {
		if c.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			list = append(list, c.stats(now))
		}
	}
	return list, nil
}

// PodSandboxStats reports what a pod is said to use.
func (r *Runtime) PodSandboxStats(_ context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", id)
	}
	return s.stats(time.Now()), nil
}

// ListPodSandboxStats reports what the pods are said to use that match.
func (r *Runtime) ListPodSandboxStats(_ context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var list []*runtimeapi.PodSandboxStats
	for id, s := range r.sandboxes {
		if (filter.GetId() == "" || filter.GetId() == id) && s.matches(filter.GetLabelSelector(), nil) {
			list = append(list, s.stats(now))
		}
	}
	return list, nil
}

// ListMetricDescriptors reports none.
func (r *Runtime) ListMetricDescriptors(context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics reports none.
func (r *Runtime) ListPodSandboxMetrics(context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}

// Summary returns a source of summaries for the kubelet's API: what the node is said to use is the sum of its pods.
func (r *Runtime) Summary(node string, capacity v1.ResourceList) Summary {
	return Summary{runtime: r, node: node, memory: uint64(capacity.Memory().Value())}
}

// Summary makes summaries of one node's usage.
type Summary struct {
	runtime *Runtime
	node    string
	memory  uint64 // bytes that the node has
}

// Summary gathers everything now.
func (s Summary) Summary(context.Context) (*stats.Summary, error) {
	s.runtime.mu.Lock()
	defer s.runtime.mu.Unlock()
	now := time.Now()
	at := metav1.NewTime(now)
	out := &stats.Summary{Node: stats.NodeStats{NodeName: s.node}, Pods: []stats.PodStats{}}
	var all usage
	for _, box := range s.runtime.sandboxes {
		if !box.ready {
			continue
		}
		pod := stats.PodStats{PodRef: stats.PodReference{Name: box.name, Namespace: box.namespace, UID: string(box.uid)},
			StartTime: metav1.NewTime(time.Unix(0, box.createdAt)), Containers: []stats.ContainerStats{}}
		var sum usage
		for _, c := range box.containers {
			if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
				continue
			}
			u := c.usage(now)
			sum.add(u)
			pod.Containers = append(pod.Containers, stats.ContainerStats{Name: c.name, StartTime: metav1.NewTime(time.Unix(0, c.startedAt)),
				CPU: u.cpuStats(at), Memory: u.memoryStats(at, 0)})
		}
		all.add(sum)
		pod.CPU, pod.Memory = sum.cpuStats(at), sum.memoryStats(at, 0)
		out.Pods = append(out.Pods, pod)
	}
	slices.SortFunc(out.Pods, func(a, b stats.PodStats) int {
		return cmp.Or(strings.Compare(a.PodRef.Namespace, b.PodRef.Namespace), strings.Compare(a.PodRef.Name, b.PodRef.Name))
	})
	out.Node.CPU, out.Node.Memory = all.cpuStats(at), all.memoryStats(at, s.memory)
	return out, nil
}

func (u usage) cpuStats(at metav1.Time) *stats.CPUStats {
	return &stats.CPUStats{Time: at, UsageNanoCores: &u.nanoCores, UsageCoreNanoSeconds: &u.coreNanoSeconds}
}

// memoryStats says as well what is left of the capacity, if there is one.
func (u usage) memoryStats(at metav1.Time, capacity uint64) *stats.MemoryStats {
	m := &stats.MemoryStats{Time: at, UsageBytes: &u.bytes, WorkingSetBytes: &u.bytes, RSSBytes: &u.bytes}
	if capacity > u.bytes {
		left := capacity - u.bytes
		m.AvailableBytes = &left
	}
	return m
}
