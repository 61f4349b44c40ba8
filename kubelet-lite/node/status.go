// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	maxImages     = 50 // in the status, the largest first
	maxImageNames = 5
)

// Health is what the conditions of a node follow from.
type Health struct {
	NotReady                                  string // why the node cannot run pods; empty where it can
	MemoryPressure, DiskPressure, PIDPressure bool
}

// capacity adds what is configured to what the machine has.
func (o *Options) capacity() v1.ResourceList {
	list := o.Machine.Capacity.DeepCopy()
	if list == nil {
		list = v1.ResourceList{}
	}
	list[v1.ResourcePods] = *resource.NewQuantity(int64(o.MaxPods), resource.DecimalSI)
	return list
}

// allocatable is capacity without what is kept for the system.
func (o *Options) allocatable() v1.ResourceList {
	list := o.capacity()
	for name, kept := range o.Reserved {
		if have, ok := list[name]; ok {
			have.Sub(kept)
			if have.Sign() < 0 {
				have = *resource.NewQuantity(0, have.Format)
			}
			list[name] = have
		}
	}
	return list
}

// fill writes everything that the agent knows into a node's status.
func (o *Options) fill(s *v1.NodeStatus, health Health, images []*runtimeapi.Image, now metav1.Time) {
	told := s.Capacity
	s.Capacity, s.Allocatable = o.capacity(), o.allocatable()
	keepExtended(told, s)
	s.NodeInfo = v1.NodeSystemInfo{
		MachineID: o.Machine.MachineID, SystemUUID: o.Machine.SystemUUID, BootID: o.Machine.BootID, KernelVersion: o.Machine.Kernel,
		OSImage: o.Machine.OSImage, ContainerRuntimeVersion: o.RuntimeVersion, KubeletVersion: o.KubeletVersion,
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
	s.DaemonEndpoints.KubeletEndpoint.Port = int32(o.KubeletPort)
	s.Addresses = nil
	for _, ip := range o.IPs {
		s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: o.Name})
	policy := true
	s.Features = &v1.NodeFeatures{SupplementalGroupsPolicy: &policy}
	s.Images = imageList(images)
	conditions := pressures(health)
	ready := v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if health.NotReady != "" {
		ready = v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionFalse, Reason: "KubeletNotReady", Message: health.NotReady}
	}
	for _, c := range append(conditions, ready) { // Ready comes last: old readers look for it there
		setCondition(s, c, now)
	}
}

// keepExtended leaves in s what others say that the node has: extended resources, by names of a domain, which administrators write into its
// capacity. All of it is for pods.
func keepExtended(told v1.ResourceList, s *v1.NodeStatus) {
	for name, quantity := range told {
		if _, own := s.Capacity[name]; !own && strings.Contains(string(name), "/") {
			s.Capacity[name], s.Allocatable[name] = quantity, quantity.DeepCopy()
		}
	}
}

func pressures(h Health) []v1.NodeCondition {
	one := func(t v1.NodeConditionType, on bool, yes, yesMessage, no, noMessage string) v1.NodeCondition {
		if on {
			return v1.NodeCondition{Type: t, Status: v1.ConditionTrue, Reason: yes, Message: yesMessage}
		}
		return v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: no, Message: noMessage}
	}
	return []v1.NodeCondition{
		one(v1.NodeMemoryPressure, h.MemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		one(v1.NodeDiskPressure, h.DiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure",
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		one(v1.NodePIDPressure, h.PIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
			"KubeletHasSufficientPID", "kubelet has sufficient PID available"),
	}
}

func setCondition(s *v1.NodeStatus, c v1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i := range s.Conditions {
		if have := &s.Conditions[i]; have.Type == c.Type {
			if have.Status == c.Status {
				c.LastTransitionTime = have.LastTransitionTime
			}
			*have = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

func imageList(images []*runtimeapi.Image) []v1.ContainerImage {
	list := make([]v1.ContainerImage, 0, len(images))
	for _, image := range images {
		names := slices.Concat(image.RepoDigests, image.RepoTags)
		if len(names) == 0 {
			continue
		}
		list = append(list, v1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(image.Size)})
	}
	slices.SortFunc(list, func(a, b v1.ContainerImage) int {
		if d := cmp.Compare(b.SizeBytes, a.SizeBytes); d != 0 {
			return d
		}
		return cmp.Compare(a.Names[0], b.Names[0])
	})
	return list[:min(len(list), maxImages)]
}

// withoutHeartbeats copies a status without the times that change at every look.
func withoutHeartbeats(s *v1.NodeStatus) *v1.NodeStatus {
	c := s.DeepCopy()
	for i := range c.Conditions {
		c.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return c
}
