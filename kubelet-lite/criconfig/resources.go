// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
)

const (
	minShares   = 2
	quotaPeriod = 100000 // microseconds

	guaranteedOOMScore = -997
	bestEffortOOMScore = 1000
)

// Resources returns what a container may use, for the runtime. Pod-level limits stand in where the container has none.
func (b *Builder) Resources(pod *v1.Pod, container *v1.Container) *runtimeapi.LinuxContainerResources {
	limits := v1.ResourceList{}
	for name, q := range container.Resources.Limits {
		limits[name] = q
	}
	if pod.Spec.Resources != nil {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			if q, ok := pod.Spec.Resources.Limits[name]; ok && limits.Name(name, resource.DecimalSI).IsZero() {
				limits[name] = q
			}
		}
	}
	r := listResources(container.Resources.Requests, limits)
	if r == nil {
		r = &runtimeapi.LinuxContainerResources{CpuShares: minShares, CpuPeriod: quotaPeriod}
	}
	r.OomScoreAdj = oomScore(pod, container, b.MemoryCapacity)
	for name, q := range container.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix); ok {
			r.HugepageLimits = append(r.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: pageSize(size), Limit: uint64(q.Value())})
		}
	}
	return r
}

func podResources(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	requests := resourcehelper.PodRequests(pod, options)
	limits := resourcehelper.PodLimits(pod, options)
	// A limit that only some containers have does not bound the pod.
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		for _, c := range pod.Spec.Containers {
			if q, ok := c.Resources.Limits[name]; !ok || q.IsZero() {
				delete(limits, name)
			}
		}
	}
	if r := listResources(requests, limits); r != nil {
		return r
	}
	return &runtimeapi.LinuxContainerResources{CpuShares: minShares, CpuPeriod: quotaPeriod}
}

// listResources translates CPU and memory; nil where both lists are empty.
func listResources(requests, limits v1.ResourceList) *runtimeapi.LinuxContainerResources {
	if len(requests) == 0 && len(limits) == 0 {
		return nil
	}
	r := &runtimeapi.LinuxContainerResources{CpuPeriod: quotaPeriod}
	cpu, ok := requests[v1.ResourceCPU]
	if !ok {
		cpu = limits[v1.ResourceCPU]
	}
	r.CpuShares = int64(cgroup.Shares(cpu.MilliValue()))
	if limit := limits.Cpu().MilliValue(); limit > 0 {
		r.CpuQuota = cgroup.Quota(limit)
	}
	r.MemoryLimitInBytes = limits.Memory().Value()
	return r
}

// oomScore makes the kernel kill best effort pods first and guaranteed ones last; between them, those that use more than they asked for.
func oomScore(pod *v1.Pod, container *v1.Container, capacity int64) int64 {
	if pod.Spec.PriorityClassName == "system-node-critical" {
		return guaranteedOOMScore
	}
	switch cgroup.QOSClass(pod) {
	case v1.PodQOSGuaranteed:
		return guaranteedOOMScore
	case v1.PodQOSBestEffort:
		return bestEffortOOMScore
	}
	if capacity <= 0 {
		return bestEffortOOMScore - 1
	}
	request := container.Resources.Requests.Memory().Value()
	if IsSidecar(container) {
		// A sidecar is not to die before the containers that it serves.
		least := int64(-1)
		for _, c := range pod.Spec.Containers {
			if m := c.Resources.Requests.Memory().Value(); least < 0 || m < least {
				least = m
			}
		}
		request = max(request, least)
	}
	score := 1000 - 1000*request/capacity
	return min(max(score, 1000+guaranteedOOMScore), bestEffortOOMScore-1)
}

// pageSize writes a huge page size as the kernel's cgroup files do: 2Mi is 2MB.
func pageSize(size string) string {
	q, err := resource.ParseQuantity(size)
	if err != nil {
		return size
	}
	n, units := q.Value(), []string{"B", "KB", "MB", "GB", "TB"}
	i := 0
	for ; n >= 1024 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return resource.NewQuantity(n, resource.DecimalSI).String() + units[i]
}
