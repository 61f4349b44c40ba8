// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
)

// Restarts says whether a container that ended with that code is started again: by its own rules, its own policy or its pod's.
func Restarts(pod *v1.Pod, c *v1.Container, init bool, exitCode int32) bool {
	if init && !criconfig.IsSidecar(c) && exitCode == 0 {
		return false
	}
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil || rule.Action != v1.ContainerRestartRuleActionRestart {
			continue
		}
		in := slices.Contains(rule.ExitCodes.Values, exitCode)
		if in == (rule.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = v1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return exitCode != 0
	default:
		return true
	}
}

// tally counts containers by what they do.
type tally struct {
	unknown, running, waiting, stopped, final, succeeded int
}

// phase sums up a pod. wasInitialized says that its regular containers have been created, which restarting sidecars do not undo.
func phase(pod *v1.Pod, all []v1.ContainerStatus, terminated, wasInitialized bool) v1.PodPhase {
	pendingInit, pendingSidecars, failedInit := 0, 0, false
	var t tally
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := find(all, c.Name)
		switch {
		case s == nil && criconfig.IsSidecar(c):
			t.unknown++
		case s == nil:
			pendingInit++
		case criconfig.IsSidecar(c):
			switch {
			case s.State.Running != nil:
				t.running++
				if s.Started == nil || !*s.Started {
					pendingSidecars++
				}
			case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
				pendingSidecars++
				t.waiting++
			}
		default:
			end := s.State.Terminated
			if end == nil && s.State.Waiting != nil {
				end = s.LastTerminationState.Terminated
			}
			switch {
			case end == nil:
				pendingInit++
			case end.ExitCode != 0 && !Restarts(pod, c, true, end.ExitCode):
				failedInit = true
			case end.ExitCode != 0 && s.State.Terminated != nil && terminated:
				failedInit = true
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := find(all, c.Name)
		if s == nil {
			t.unknown++
			continue
		}
		end := s.State.Terminated
		switch {
		case s.State.Running != nil:
			t.running++
		case s.State.Waiting != nil && s.LastTerminationState.Terminated != nil:
			end = s.LastTerminationState.Terminated
		case s.State.Waiting != nil:
			t.waiting++
		case end == nil:
			t.unknown++
		}
		if s.State.Running == nil && end != nil {
			t.stopped++
			if s.State.Terminated != nil && end.ExitCode == 0 {
				t.succeeded++
			}
			if !Restarts(pod, c, false, end.ExitCode) {
				t.final++
			}
		}
	}
	switch {
	case failedInit:
		return v1.PodFailed
	case pendingInit > 0 || (pendingSidecars > 0 && !wasInitialized) || t.waiting > 0:
		return v1.PodPending
	case t.running > 0 && t.unknown == 0:
		return v1.PodRunning
	case t.running == 0 && t.stopped > 0 && t.unknown == 0:
		switch {
		case terminated && t.stopped == t.succeeded:
			return v1.PodSucceeded
		case terminated:
			return v1.PodFailed
		case t.stopped != t.final:
			return v1.PodRunning // some are about to be started again
		case t.stopped == t.succeeded:
			return v1.PodSucceeded
		default:
			return v1.PodFailed
		}
	}
	return v1.PodPending
}
