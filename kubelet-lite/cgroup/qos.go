// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"math"

	v1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// Numbers of the kernel and of the kubelet: see Documentation/scheduler/sched-bwc and cgroup-v1/cpu.
const (
	minShares  = 2
	maxShares  = 262144
	cpuPeriod  = 100000 // microseconds
	minQuota   = 1000   // microseconds, the least the kernel takes
	sharesACPU = 1024
)

// limits are what a pod's own group is given. Zero quota or memory: unlimited.
type limits struct {
	shares   uint64
	quota    int64 // microseconds of cpuPeriod
	memory   int64 // bytes
	milliCPU int64 // requested, counted into the weight of the class
}

// QOSClass is the pod's quality of service class: the one in its status, or the one its resources make it.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
func QOSClass(pod *v1.Pod) v1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	anything, guaranteed := false, true
	look := func(r v1.ResourceRequirements) {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			req, lim := r.Requests[name], r.Limits[name]
			if !req.IsZero() || !lim.IsZero() {
				anything = true
			}
			if lim.IsZero() || (!req.IsZero() && req.Cmp(lim) != 0) {
				guaranteed = false
			}
		}
	}
	if pod.Spec.Resources != nil && (len(pod.Spec.Resources.Requests) > 0 || len(pod.Spec.Resources.Limits) > 0) {
		look(*pod.Spec.Resources)
	} else {
		for i := range pod.Spec.InitContainers {
			look(pod.Spec.InitContainers[i].Resources)
		}
		for i := range pod.Spec.Containers {
			look(pod.Spec.Containers[i].Resources)
		}
	}
	switch {
	case !anything:
		return v1.PodQOSBestEffort
	case guaranteed:
		return v1.PodQOSGuaranteed
	}
	return v1.PodQOSBurstable
}

// podLimits works out the pod's group. A limit holds for the whole pod only if every container declares one, or the pod
// itself does: else a container without a limit would be held by its neighbours'.
func podLimits(pod *v1.Pod) limits {
	requests := helper.PodRequests(pod, helper.PodResourcesOptions{})
	sum := helper.PodLimits(pod, helper.PodResourcesOptions{})
	cpuLimited, memoryLimited := true, true
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			cpuLimited = cpuLimited && !list[i].Resources.Limits.Cpu().IsZero()
			memoryLimited = memoryLimited && !list[i].Resources.Limits.Memory().IsZero()
		}
	}
	if r := pod.Spec.Resources; r != nil {
		cpuLimited = cpuLimited || !r.Limits.Cpu().IsZero()
		memoryLimited = memoryLimited || !r.Limits.Memory().IsZero()
	}
	class := QOSClass(pod)
	if class == v1.PodQOSBestEffort {
		return limits{shares: minShares}
	}
	l := limits{milliCPU: requests.Cpu().MilliValue()}
	l.shares = Shares(l.milliCPU)
	if cpuLimited || class == v1.PodQOSGuaranteed {
		l.quota = Quota(sum.Cpu().MilliValue())
	}
	if memoryLimited || class == v1.PodQOSGuaranteed {
		l.memory = sum.Memory().Value()
	}
	return l
}

// Shares turns a cpu request in thousandths into cpu.shares, as the kubelet does for containers too.
func Shares(milliCPU int64) uint64 {
	return uint64(min(max(milliCPU*sharesACPU/1000, minShares), maxShares))
}

// Quota turns a cpu limit in thousandths into microseconds of a 100 ms period; 0 means none.
func Quota(milliCPU int64) int64 {
	if milliCPU <= 0 {
		return 0
	}
	return max(milliCPU*cpuPeriod/1000, minQuota)
}

// weight turns cpu.shares (2…262144, default 1024) into v2's cpu.weight (1…10000, default 100) by the curve through
// least, default and greatest value that runc uses, so that pods and their containers agree.
func weight(shares uint64) uint64 {
	if shares <= minShares {
		return 1
	}
	if shares >= maxShares {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
