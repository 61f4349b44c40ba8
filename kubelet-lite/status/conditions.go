// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// owned are the conditions that the node agent writes; all others are left as they are found.
func owned(t v1.PodConditionType) bool {
	switch t {
	case v1.PodScheduled, v1.PodReady, v1.PodInitialized, v1.ContainersReady, v1.PodReadyToStartContainers, v1.PodResizeInProgress, v1.PodResizePending:
		return true
	}
	return false
}

// conditions computes the agent's conditions, and keeps those of others.
func (in *Input) conditions(s *v1.PodStatus) []v1.PodCondition {
	var list []v1.PodCondition
	for _, c := range in.Pod.Status.Conditions {
		if !owned(c.Type) {
			list = append(list, c)
		}
	}
	// The agent's own word on a disruption may not have reached the API yet.
	for _, c := range in.Old.Conditions {
		if c.Type == v1.DisruptionTarget && get(list, c.Type) == nil {
			list = append(list, c)
		}
	}
	if f := in.Failure; f != nil && f.Disrupted && get(list, v1.DisruptionTarget) == nil {
		list = append(list, v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonTerminationByKubelet, Message: f.Message,
			ObservedGeneration: in.Pod.Generation, LastTransitionTime: in.Now.Rfc3339Copy()})
	}
	all := append(append([]v1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
	containersReady := in.containersReady(all, s.Phase)
	ready := in.ready(containersReady, list)
	for _, c := range []v1.PodCondition{in.sandboxReady(), in.initialized(all, s.Phase), ready, containersReady,
		{Type: v1.PodScheduled, Status: v1.ConditionTrue}} {
		c.ObservedGeneration = in.Pod.Generation
		c.LastTransitionTime = in.Now.Rfc3339Copy()
		old := get(in.Old.Conditions, c.Type)
		if old == nil {
			old = get(in.Pod.Status.Conditions, c.Type)
		}
		if old != nil && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
			c.LastTransitionTime = old.LastTransitionTime
		}
		list = append(list, c)
	}
	if in.ResizeDeferred != "" {
		list = append(list, in.resize(v1.PodResizePending, v1.PodReasonDeferred, in.ResizeDeferred))
	}
	if !in.Sized && in.resizing() {
		reason := ""
		if in.ResizeError != "" {
			reason = v1.PodReasonError
		}
		list = append(list, in.resize(v1.PodResizeInProgress, reason, in.ResizeError))
	}
	return list
}

// resizing says that a running container does not yet have what its spec allows it now (KEP-1287). Who waits for a resize waits
// until this is no condition any more. Containers that do not run get what the spec says when they start.
func (in *Input) resizing() bool {
	pending := func(c *v1.Container) bool {
		have, ok := in.Runtime.Latest(c.Name)
		return ok && have.State == pleg.Running && have.Resources != "" && have.Resources != criconfig.Resizable(in.Pod, c)
	}
	spec := &in.Pod.Spec
	inProgress := false
	for i := range spec.InitContainers {
		inProgress = inProgress || criconfig.IsSidecar(&spec.InitContainers[i]) && pending(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		inProgress = inProgress || pending(&spec.Containers[i])
	}
	return inProgress
}

// resize is a condition about a resize, since when its reason is this.
func (in *Input) resize(t v1.PodConditionType, reason, message string) v1.PodCondition {
	now := in.Now.Rfc3339Copy()
	c := v1.PodCondition{Type: t, Status: v1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: in.Pod.Generation, LastProbeTime: now, LastTransitionTime: now}
	if old := get(in.Old.Conditions, c.Type); old != nil && old.Reason == c.Reason && !old.LastTransitionTime.IsZero() {
		c.LastProbeTime, c.LastTransitionTime = old.LastProbeTime, old.LastTransitionTime
	}
	return c
}

func (in *Input) sandboxReady() v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionFalse}
	if boxes := in.Runtime.Sandboxes; len(boxes) > 0 && boxes[0].Ready && (in.Pod.Spec.HostNetwork || len(boxes[0].IPs) > 0) {
		c.Status = v1.ConditionTrue
	}
	return c
}

func (in *Input) initialized(all []v1.ContainerStatus, phase v1.PodPhase) v1.PodCondition {
	var unknown, incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		s := find(all, c.Name)
		switch {
		case s == nil:
			unknown = append(unknown, c.Name)
		case criconfig.IsSidecar(c) && (s.Started == nil || !*s.Started), !criconfig.IsSidecar(c) && !s.Ready:
			incomplete = append(incomplete, c.Name)
		}
	}
	c := v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue}
	if phase == v1.PodSucceeded && len(unknown) == 0 {
		c.Reason = "PodCompleted"
		return c
	}
	for i := range in.Pod.Spec.Containers {
		// Whatever its sidecars do now, a pod with a started container has been initialized.
		if s := find(all, in.Pod.Spec.Containers[i].Name); s != nil && (s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil) {
			return c
		}
	}
	if message := list("unknown", unknown, "incomplete", incomplete); message != "" {
		c.Status, c.Reason, c.Message = v1.ConditionFalse, "ContainersNotInitialized", message
	}
	return c
}

func (in *Input) containersReady(all []v1.ContainerStatus, phase v1.PodPhase) v1.PodCondition {
	var unknown, unready []string
	check := func(name string) {
		if s := find(all, name); s == nil {
			unknown = append(unknown, name)
		} else if !s.Ready {
			unready = append(unready, name)
		}
	}
	for i := range in.Pod.Spec.InitContainers {
		if c := &in.Pod.Spec.InitContainers[i]; criconfig.IsSidecar(c) {
			check(c.Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		check(in.Pod.Spec.Containers[i].Name)
	}
	c := v1.PodCondition{Type: v1.ContainersReady, Status: v1.ConditionFalse}
	switch message := list("unknown", unknown, "unready", unready); {
	case phase == v1.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case phase == v1.PodFailed:
		c.Reason = "PodFailed"
	case message != "":
		c.Reason, c.Message = "ContainersNotReady", message
	default:
		c.Status = v1.ConditionTrue
	}
	return c
}

// ready follows ContainersReady, and then the pod's readiness gates.
func (in *Input) ready(containers v1.PodCondition, others []v1.PodCondition) v1.PodCondition {
	c := containers
	c.Type = v1.PodReady
	if containers.Status != v1.ConditionTrue {
		return c
	}
	var messages []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		switch have := get(others, gate.ConditionType); {
		case have == nil:
			messages = append(messages, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(gate.ConditionType)))
		case have.Status != v1.ConditionTrue:
			messages = append(messages, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(gate.ConditionType), have.Status))
		}
	}
	if len(messages) > 0 {
		c.Status, c.Reason, c.Message = v1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(messages, ", ")
	}
	return c
}

func list(firstIs string, first []string, secondIs string, second []string) string {
	var messages []string
	if len(first) > 0 {
		messages = append(messages, fmt.Sprintf("containers with %s status: %s", firstIs, first))
	}
	if len(second) > 0 {
		messages = append(messages, fmt.Sprintf("containers with %s status: %s", secondIs, second))
	}
	return strings.Join(messages, ", ")
}

func get(list []v1.PodCondition, t v1.PodConditionType) *v1.PodCondition {
	if i := slices.IndexFunc(list, func(c v1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &list[i]
	}
	return nil
}
