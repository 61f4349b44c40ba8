// SPDX-License-Identifier: Apache-2.0

package status

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

const unknownReason = "ContainerStatusUnknown"

// containers returns a status for every container of the list, in its order.
func (in *Input) containers(specs []v1.Container, old []v1.ContainerStatus, init bool) []v1.ContainerStatus {
	if len(specs) == 0 {
		return nil
	}
	result := make([]v1.ContainerStatus, 0, len(specs))
	for i := range specs {
		c := &specs[i]
		kind := criconfig.Regular
		if init {
			kind = criconfig.Init
			if criconfig.IsSidecar(c) {
				kind = criconfig.Sidecar
			}
		}
		result = append(result, in.container(c, find(old, c.Name), kind))
	}
	return result
}

func (in *Input) ephemeral(old []v1.ContainerStatus) []v1.ContainerStatus {
	var result []v1.ContainerStatus
	for i := range in.Pod.Spec.EphemeralContainers {
		c := v1.Container(in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		result = append(result, in.container(&c, find(old, c.Name), criconfig.Ephemeral))
	}
	return result
}

// container computes one status: from the newest two containers of that name, and from the last status where the runtime
// no longer has them.
func (in *Input) container(spec *v1.Container, old *v1.ContainerStatus, kind criconfig.Kind) v1.ContainerStatus {
	s := v1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: new(bool), VolumeMounts: volumeMounts(spec)}
	var found []pleg.Container
	for _, c := range in.Runtime.Containers {
		if c.Name == spec.Name && len(found) < 2 {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		in.absent(&s, spec, old, kind)
		return s
	}
	now := found[0]
	s.RestartCount = int32(now.RestartCount)
	s.ContainerID = in.RuntimeName + "://" + now.ID
	s.ImageID = now.ImageRef
	if now.Image != "" {
		s.Image = now.Image
	}
	s.State = in.state(now)
	switch {
	case len(found) == 2:
		s.LastTerminationState = in.state(found[1])
		if s.LastTerminationState.Terminated == nil {
			s.LastTerminationState = v1.ContainerState{}
		}
	case old != nil && old.ContainerID == s.ContainerID:
		s.LastTerminationState = old.LastTerminationState
	case old != nil && old.State.Terminated != nil:
		s.LastTerminationState.Terminated = old.State.Terminated
	case old != nil:
		s.LastTerminationState = old.LastTerminationState
	}
	in.detail(&s, spec, now)
	in.probes(&s, spec, now, kind)
	in.waiting(&s, spec, now, kind)
	return s
}

// absent is the status of a container that the runtime does not have: not yet, or no more.
func (in *Input) absent(s *v1.ContainerStatus, spec *v1.Container, old *v1.ContainerStatus, kind criconfig.Kind) {
	reason := "ContainerCreating"
	if len(in.Pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	s.State.Waiting = &v1.ContainerStateWaiting{Reason: reason}
	if kind == criconfig.Ephemeral {
		s.State.Waiting.Reason = "ContainerCreating"
	}
	if old != nil {
		if old.State.Terminated != nil {
			*s = *old.DeepCopy()
			return
		}
		s.RestartCount = old.RestartCount
		s.LastTerminationState = old.LastTerminationState
		if old.State.Running != nil {
			// It ran when we last looked, and nothing tells how it ended.
			lost := &v1.ContainerStateTerminated{Reason: unknownReason, ExitCode: 137,
				Message: "The container could not be located when the pod was deleted.  The container used to be Running"}
			if in.Terminated {
				lost.Message = "The container could not be located when the pod was terminated"
				s.State = v1.ContainerState{Terminated: lost}
				return
			}
			s.LastTerminationState = v1.ContainerState{Terminated: lost}
			s.RestartCount++
		}
	}
	if kind == criconfig.Init && initialized(in.Pod, in.Runtime) {
		s.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Reason: "Completed",
			Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"}}
		s.Ready = true
		return
	}
	if w, ok := in.Waiting[spec.Name]; ok && !in.Terminated {
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}
	}
}

func (in *Input) state(c pleg.Container) v1.ContainerState {
	switch c.State {
	case pleg.Running:
		return v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: seconds(c)}}
	case pleg.Exited:
		return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			ExitCode: c.ExitCode, Reason: c.Reason, Message: in.Message(c), ContainerID: in.RuntimeName + "://" + c.ID,
			StartedAt: seconds(c), FinishedAt: metav1.NewTime(c.FinishedAt).Rfc3339Copy(),
		}}
	default:
		return v1.ContainerState{Waiting: &v1.ContainerStateWaiting{}}
	}
}

// detail fills in what the container was given.
func (in *Input) detail(s *v1.ContainerStatus, spec *v1.Container, c pleg.Container) {
	if len(spec.Resources.Requests) > 0 {
		s.AllocatedResources = spec.Resources.Requests.DeepCopy()
	}
	s.Resources = spec.Resources.DeepCopy()
	var applied v1.ResourceRequirements
	if c.State == pleg.Running && c.Resources != "" && json.Unmarshal([]byte(c.Resources), &applied) == nil {
		for name, q := range applied.Limits {
			if _, ok := s.Resources.Limits[name]; ok {
				s.Resources.Limits[name] = q
			}
		}
		for name, q := range applied.Requests {
			if _, ok := s.Resources.Requests[name]; ok {
				s.Resources.Requests[name] = q
			}
		}
	}
	if c.User != nil {
		s.User = &v1.ContainerUser{Linux: &v1.LinuxContainerUser{UID: c.User.Uid, GID: c.User.Gid, SupplementalGroups: c.User.SupplementalGroups}}
	}
	if c.StopSignal != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		signal := v1.Signal(c.StopSignal.String())
		s.StopSignal = &signal
	}
}

func (in *Input) probes(s *v1.ContainerStatus, spec *v1.Container, c pleg.Container, kind criconfig.Kind) {
	switch {
	case kind == criconfig.Ephemeral:
		s.Started = nil
	case kind == criconfig.Init:
		*s.Started = c.State == pleg.Running
		s.Ready = c.State == pleg.Exited && c.ExitCode == 0
	case c.State == pleg.Running:
		*s.Started = in.Started(c.ID)
		s.Ready = in.Ready(c.ID)
	}
}

// waiting shows a container that is to be started again, and why it has not been, as Waiting.
func (in *Input) waiting(s *v1.ContainerStatus, spec *v1.Container, c pleg.Container, kind criconfig.Kind) {
	w, ok := in.Waiting[spec.Name]
	if !ok || in.Terminated || c.State == pleg.Running || kind == criconfig.Ephemeral || (kind == criconfig.Init && c.State == pleg.Exited && c.ExitCode == 0) {
		return
	}
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	s.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}}
}

func volumeMounts(spec *v1.Container) []v1.VolumeMountStatus {
	var list []v1.VolumeMountStatus
	for _, m := range spec.VolumeMounts {
		mount := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled {
				mode = v1.RecursiveReadOnlyEnabled
			}
			mount.RecursiveReadOnly = &mode
		}
		list = append(list, mount)
	}
	return list
}

func seconds(c pleg.Container) metav1.Time {
	if c.StartedAt.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(c.StartedAt).Rfc3339Copy()
}

func find(list []v1.ContainerStatus, name string) *v1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}
