// SPDX-License-Identifier: Apache-2.0

// Package status computes what a pod's status says from what the runtime runs, and sends it to the API server. Computing is pure
// and linear in the pod's containers; sending is one patch for each status that differs, with at most one under way for a
// pod, so that quick changes are sent together.
package status

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Waiting is why a container has not been started.
type Waiting struct{ Reason, Message string }

// Failure makes a pod Failed whatever its containers say. Disrupted says that the pod is not to blame (KEP-3329).
type Failure struct {
	Reason, Message string
	Disrupted       bool
}

// Input is all that a pod's status follows from.
type Input struct {
	Pod         *v1.Pod
	Runtime     *pleg.Pod
	Old         v1.PodStatus // as it was last computed
	Waiting     map[string]Waiting
	Started     func(containerID string) bool
	Ready       func(containerID string) bool
	Message     func(pleg.Container) string // what a container left as its termination message
	RuntimeName string                      // the scheme of container ids, such as containerd
	HostIPs     []string
	Terminated  bool // its containers will not run again, whatever their restart policy
	Failure     *Failure
	ResizeError string // why the last try to resize a container failed; "" where it did not
	// ResizeDeferred is why there is no room for what the pod asks for; Pod then has what it was given before. "" where there is.
	ResizeDeferred string
	// Sized says that the containers are known to have what Pod says, so that they need not be compared.
	Sized bool
	Now   metav1.Time
}

// Generate computes a pod's status.
func Generate(in Input) v1.PodStatus {
	pod, old := in.Pod, in.Old
	s := v1.PodStatus{
		QOSClass:                    cgroup.QOSClass(pod),
		ObservedGeneration:          pod.Generation,
		StartTime:                   old.StartTime,
		NominatedNodeName:           old.NominatedNodeName,
		Resize:                      old.Resize,
		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		now := in.Now.Rfc3339Copy()
		s.StartTime = &now
	}
	s.InitContainerStatuses = in.containers(pod.Spec.InitContainers, old.InitContainerStatuses, true)
	s.ContainerStatuses = in.containers(pod.Spec.Containers, old.ContainerStatuses, false)
	s.EphemeralContainerStatuses = in.ephemeral(old.EphemeralContainerStatuses)

	s.Phase = phase(pod, append(append([]v1.ContainerStatus{}, s.ContainerStatuses...), s.InitContainerStatuses...), in.Terminated, initialized(pod, in.Runtime))
	if in.Failure != nil {
		s.Phase = v1.PodFailed
	}
	// A phase that is final says that nothing runs any more: it waits for the last container.
	if isFinal(s.Phase) && len(in.Runtime.Live()) > 0 {
		s.Phase = old.Phase
		if s.Phase == "" {
			s.Phase = v1.PodPending
		}
	}
	// And it is never left.
	for _, before := range []v1.PodPhase{old.Phase, pod.Status.Phase} {
		if isFinal(before) {
			s.Phase = before
		}
	}
	if s.Phase == old.Phase {
		s.Reason, s.Message = old.Reason, old.Message
	} else if in.Failure != nil && s.Phase == v1.PodFailed {
		s.Reason, s.Message = in.Failure.Reason, in.Failure.Message
	}
	in.addresses(&s)
	s.Conditions = in.conditions(&s)
	return s
}

func isFinal(p v1.PodPhase) bool { return p == v1.PodFailed || p == v1.PodSucceeded }

// Reject is the status of a pod that this node does not admit.
func Reject(pod *v1.Pod, reason, message string, now metav1.Time) v1.PodStatus {
	s := *pod.Status.DeepCopy()
	s.QOSClass = cgroup.QOSClass(pod)
	s.ObservedGeneration = pod.Generation
	s.Phase, s.Reason, s.Message = v1.PodFailed, reason, "Pod was rejected: "+message
	if s.StartTime == nil {
		start := now.Rfc3339Copy()
		s.StartTime = &start
	}
	return s
}

// addresses are those of the newest sandbox; a pod keeps its last ones when it has ended.
func (in *Input) addresses(s *v1.PodStatus) {
	for i, ip := range in.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
	}
	ips := in.Runtime.IPs()
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	if len(ips) == 0 {
		s.PodIP, s.PodIPs = in.Old.PodIP, in.Old.PodIPs
		return
	}
	s.PodIP = ips[0]
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
}

// initialized says whether a regular container has been created in the current sandbox, which init containers precede.
func initialized(pod *v1.Pod, runtime *pleg.Pod) bool {
	if len(runtime.Sandboxes) == 0 {
		return false
	}
	for _, c := range pod.Spec.Containers {
		if _, ok := runtime.LatestIn(runtime.Sandboxes[0].ID, c.Name); ok {
			return true
		}
	}
	return false
}
