// SPDX-License-Identifier: Apache-2.0

// Package admit decides whether a pod that was given to this node can run on it, as the scheduler would have: pods may be bound
// by others, and the node may have changed meanwhile. Pure; linear in the node's pods.
package admit

import (
	"fmt"
	"runtime"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Refusal is why a pod is not admitted: the reason of its status, and the message of its event.
type Refusal struct{ Reason, Message string }

// Pod checks a pod against the node and the pods that are on it. nil means that it may run.
func Pod(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *Refusal {
	if os := pod.Labels[v1.LabelOSStable]; os != "" && os != runtime.GOOS {
		return &Refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != runtime.GOOS {
		return &Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if r := resources(pod, node, others); r != nil {
		return r
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return predicate("NodeName", "node(s) didn't match the requested node name")
	}
	if portsTaken(pod, others) {
		return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
	}
	execute := func(t *v1.Taint) bool { return t.Effect == v1.TaintEffectNoExecute }
	if _, untolerated := corev1.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations, execute, false); untolerated {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

// resources checks what the pod requests, in the order in which the first lack is reported.
func resources(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *Refusal {
	allocatable := node.Status.Allocatable
	if limit, ok := allocatable[v1.ResourcePods]; ok && int64(len(others))+1 > limit.Value() {
		return lack(v1.ResourcePods, 1, int64(len(others)), limit.Value())
	}
	options := resourcehelper.PodResourcesOptions{}
	want := resourcehelper.PodRequests(pod, options)
	used := v1.ResourceList{}
	for _, p := range others {
		for name, q := range resourcehelper.PodRequests(p, options) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	names := []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage}
	var rest []v1.ResourceName
	for name := range want {
		if !slices.Contains(names, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range append(names, rest...) {
		w := want[name]
		have, known := allocatable[name]
		// A resource that the node does not know is the cluster's to account for.
		if w.IsZero() || !known {
			continue
		}
		u := used[name]
		if name == v1.ResourceCPU {
			if w.MilliValue() > have.MilliValue()-u.MilliValue() {
				return lack(name, w.MilliValue(), u.MilliValue(), have.MilliValue())
			}
		} else if w.Value() > have.Value()-u.Value() {
			return lack(name, w.Value(), u.Value(), have.Value())
		}
	}
	return nil
}

func lack(name v1.ResourceName, requested, used, capacity int64) *Refusal {
	return &Refusal{"OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)}
}

func predicate(name, why string) *Refusal {
	return &Refusal{name, fmt.Sprintf("Predicate %s failed: %s", name, why)}
}

type port struct {
	ip       string
	protocol v1.Protocol
	number   int32
}

func portsTaken(pod *v1.Pod, others []*v1.Pod) bool {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return false
	}
	for _, other := range others {
		for _, have := range hostPorts(other) {
			for _, w := range wanted {
				if w.number == have.number && w.protocol == have.protocol && (w.ip == have.ip || w.ip == "0.0.0.0" || have.ip == "0.0.0.0") {
					return true
				}
			}
		}
	}
	return false
}

func hostPorts(pod *v1.Pod) []port {
	var list []port
	add := func(c *v1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			taken := port{p.HostIP, p.Protocol, p.HostPort}
			if taken.ip == "" {
				taken.ip = "0.0.0.0"
			}
			if taken.protocol == "" {
				taken.protocol = v1.ProtocolTCP
			}
			list = append(list, taken)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return list
}
