// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pods() *table[corev1.Pod] {
	spec, status := corev1.PodSpec{}.SwaggerDoc(), corev1.PodStatus{}.SwaggerDoc()
	t := of(
		name[corev1.Pod](),
		text("Ready", "The aggregate readiness state of this pod for accepting traffic.", func(p *corev1.Pod) any {
			s := summarize(p)
			return fmt.Sprintf("%d/%d", s.ready, s.total)
		}),
		text("Status", "The aggregate status of the containers in this pod.", func(p *corev1.Pod) any { return summarize(p).reason }),
		text("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
			func(p *corev1.Pod) any {
				s := summarize(p)
				if s.restarts != 0 && !s.lastRestart.IsZero() {
					return fmt.Sprintf("%d (%s ago)", s.restarts, since(s.lastRestart))
				}
				return strconv.Itoa(s.restarts)
			}),
		age[corev1.Pod](),
		text("IP", status["podIP"], func(p *corev1.Pod) any {
			if len(p.Status.PodIPs) == 0 {
				return "<none>"
			}
			return or(p.Status.PodIPs[0].IP, "<none>")
		}).wide(),
		text("Node", spec["nodeName"], func(p *corev1.Pod) any { return or(p.Spec.NodeName, "<none>") }).wide(),
		text("Nominated Node", status["nominatedNodeName"], func(p *corev1.Pod) any { return or(p.Status.NominatedNodeName, "<none>") }).wide(),
		text("Readiness Gates", spec["readinessGates"], readinessGates).wide(),
	)
	t.conditions = func(p *corev1.Pod) []metav1.TableRowCondition {
		switch p.Status.Phase {
		case corev1.PodSucceeded:
			return completed(corev1.PodSucceeded, "The pod has completed successfully.")
		case corev1.PodFailed:
			return completed(corev1.PodFailed, "The pod failed.")
		}
		return nil
	}
	return t
}

func completed(phase corev1.PodPhase, message string) []metav1.TableRowCondition {
	return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(phase), Message: message}}
}

// summary is what a pod's containers come down to.
type summary struct {
	ready, total, restarts int
	lastRestart            metav1.Time
	reason                 string
}

// add counts the restarts of a container.
func (s *summary) add(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// summarize follows the pod's life: while init containers run it tells of them, then of the others. Sidecars, init
// containers that keep running, count in both.
func summarize(p *corev1.Pod) summary {
	s := summary{total: len(p.Spec.Containers), reason: or(p.Status.Reason, string(p.Status.Phase))}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.reason = corev1.PodReasonSchedulingGated
	}
	var sidecars map[string]bool
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			if sidecars == nil {
				sidecars = map[string]bool{}
			}
			sidecars[c.Name] = true
			s.total++
		}
	}

	ofSidecars := summary{}
	initializing := false
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.add(c)
		if sidecars[c.Name] {
			ofSidecars.add(c)
		}
		if t := c.State.Terminated; t != nil && t.ExitCode == 0 {
			continue
		}
		if sidecars[c.Name] && c.Started != nil && *c.Started {
			if c.Ready {
				s.ready++
			}
			continue
		}
		switch {
		case c.State.Terminated != nil:
			s.reason = "Init:" + terminationReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		initializing = true
		break
	}
	if !initializing || conditionTrue(p, corev1.PodInitialized) {
		s.restarts, s.lastRestart = ofSidecars.restarts, ofSidecars.lastRestart
		s.followContainers(p)
	}

	if p.DeletionTimestamp != nil {
		if p.Status.Reason == "NodeLost" {
			s.reason = "Unknown"
		} else if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			s.reason = "Terminating"
		}
	}
	return s
}

// followContainers looks at the main containers from the last to the first: the first that has a reason gives it.
func (s *summary) followContainers(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.add(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminationReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	// One container has completed: what the others do matters more.
	if s.reason != "Completed" {
		return
	}
	switch {
	case running && conditionTrue(p, corev1.PodReady):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func terminationReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func readinessGates(p *corev1.Pod) any {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	passed := 0
	for _, gate := range p.Spec.ReadinessGates {
		if conditionTrue(p, gate.ConditionType) {
			passed++
		}
	}
	return fmt.Sprintf("%d/%d", passed, len(p.Spec.ReadinessGates))
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func conditionTrue(p *corev1.Pod, kind corev1.PodConditionType) bool {
	c := podCondition(p, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}
