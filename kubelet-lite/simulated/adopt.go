// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/images"
)

// Adopt has a pod's containers be as its status says that they were when this runtime's predecessor ended: they have run on meanwhile, as
// containers of processes of their own would have. One that was to end in between has ended when it was to. It is called before
// the node agent runs, once for each of the node's pods.
func (r *Runtime) Adopt(pod *v1.Pod) {
	s := &sandbox{id: newID(), name: pod.Name, namespace: pod.Namespace, uid: pod.UID, createdAt: pod.CreationTimestamp.UnixNano(),
		hostNetwork: pod.Spec.HostNetwork, job: pod.Labels[batchv1.JobNameLabel] != "", annotations: ours(pod.Annotations),
		ready: pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed}
	if ip, err := netip.ParseAddr(pod.Status.PodIP); err == nil && !s.hostNetwork {
		s.ip = ip
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := criconfig.Init
		if criconfig.IsSidecar(c) {
			kind = criconfig.Sidecar
		}
		s.adopt(pod, c, kind, pod.Status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		s.adopt(pod, &pod.Spec.Containers[i], criconfig.Regular, pod.Status.ContainerStatuses)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s.adopt(pod, &c, criconfig.Ephemeral, pod.Status.EphemeralContainerStatuses)
	}
	if len(s.containers) == 0 {
		return // it had not begun
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[s.id] = s
	if s.ready && s.ip.IsValid() {
		r.used[s.ip] = struct{}{}
	}
	for _, c := range s.containers {
		r.containers[c.id] = c
		if name, _, err := images.Normalize(c.image); err == nil {
			r.images[name] = c.imageRef
		}
		r.arm(c, true)
	}
}

// adopt makes the container that a status tells of, and the one before it.
func (s *sandbox) adopt(pod *v1.Pod, spec *v1.Container, kind criconfig.Kind, statuses []v1.ContainerStatus) {
	for i := range statuses {
		if statuses[i].Name != spec.Name {
			continue
		}
		status := &statuses[i]
		before := status.LastTerminationState.Terminated
		attempt := status.RestartCount
		switch {
		case status.State.Running != nil:
			s.add(pod, spec, kind, status, status.ContainerID, attempt, func(c *container) {
				c.state, c.startedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, status.State.Running.StartedAt.UnixNano()
			})
			attempt--
		case status.State.Terminated != nil:
			s.addEnded(pod, spec, kind, status, status.State.Terminated, attempt)
			attempt--
		}
		if before != nil && attempt >= 0 {
			s.addEnded(pod, spec, kind, status, before, attempt)
		}
	}
}

func (s *sandbox) addEnded(pod *v1.Pod, spec *v1.Container, kind criconfig.Kind, status *v1.ContainerStatus, t *v1.ContainerStateTerminated, attempt int32) {
	s.add(pod, spec, kind, status, t.ContainerID, attempt, func(c *container) {
		c.state, c.startedAt, c.finishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, t.StartedAt.UnixNano(), t.FinishedAt.UnixNano()
		c.exitCode, c.reason, c.message = t.ExitCode, t.Reason, t.Message
	})
}

func (s *sandbox) add(pod *v1.Pod, spec *v1.Container, kind criconfig.Kind, status *v1.ContainerStatus, id string, attempt int32, set func(*container)) {
	id, ours := strings.CutPrefix(id, Name+"://")
	if !ours || id == "" {
		return
	}
	ran := spec.DeepCopy()
	ran.Image = status.Image // which may have been another
	c := &container{id: id, name: spec.Name, kind: string(kind), box: s, attempt: uint32(attempt), image: status.Image, imageRef: status.ImageID,
		annotations: criconfig.Annotations(criconfig.Input{Pod: pod, Container: ran, Kind: kind, RestartCount: int(attempt)})}
	set(c)
	// Of two containers of a name the newer one must have been created later, though their times are in whole seconds.
	c.createdAt = c.startedAt + int64(time.Duration(attempt)*time.Microsecond)
	c.setCommand(slices.Concat(spec.Command, spec.Args), spec.Stdin)
	s.containers = append(s.containers, c)
}
