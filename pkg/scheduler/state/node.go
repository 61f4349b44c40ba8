// SPDX-License-Identifier: Apache-2.0

// Package state is what the scheduler knows: nodes, the pods on them, and sums kept up to date with each change, so that
// asking whether a pod fits a node costs the same whether the node holds one pod or hundreds.
//
// Memory grows by a few hundred bytes a pod beyond the pod itself, which is shared with the informer. A change of a pod
// costs a map entry and an addition; nothing is ever recounted.
package state

import (
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is a node and what is on it.
type Node struct {
	*v1.Node
	Pods        map[types.UID]*Pod
	Allocatable Resources
	Requested   Resources
	Scored      Resources        // Requested, with defaults for containers that request nothing
	Images      map[string]int64 // size in bytes by every name of an image that is on the node

	ports        map[hostPort]int
	withAffinity map[types.UID]*Pod
}

type hostPort struct {
	protocol v1.Protocol
	ip       string
	port     int32
}

// NewNode returns node with no pods on it.
func NewNode(node *v1.Node) *Node {
	n := &Node{Pods: map[types.UID]*Pod{}, ports: map[hostPort]int{}, withAffinity: map[types.UID]*Pod{}}
	n.set(node)
	return n
}

// Clone returns a copy that pods can be added to and removed from without touching n.
func (n *Node) Clone() *Node {
	c := *n
	c.Pods = maps.Clone(n.Pods)
	c.ports = maps.Clone(n.ports)
	c.withAffinity = maps.Clone(n.withAffinity)
	c.Requested.Scalar = maps.Clone(n.Requested.Scalar)
	c.Scored.Scalar = maps.Clone(n.Scored.Scalar)
	return &c
}

// Add puts pod on the node; a pod with the same UID is replaced.
func (n *Node) Add(pod *Pod) {
	n.Remove(pod.UID)
	n.Pods[pod.UID] = pod
	n.Requested.add(pod.Requests, 1)
	n.Scored.add(pod.Scored, 1)
	for _, port := range pod.Ports {
		n.ports[portOf(port)]++
	}
	if pod.HasAffinity() {
		n.withAffinity[pod.UID] = pod
	}
}

// Remove takes the pod off the node and returns it, or nil where it is not there.
func (n *Node) Remove(uid types.UID) *Pod {
	pod := n.Pods[uid]
	if pod == nil {
		return nil
	}
	delete(n.Pods, uid)
	delete(n.withAffinity, uid)
	n.Requested.add(pod.Requests, -1)
	n.Scored.add(pod.Scored, -1)
	for _, port := range pod.Ports {
		key := portOf(port)
		if n.ports[key]--; n.ports[key] == 0 {
			delete(n.ports, key)
		}
	}
	return pod
}

// PortTaken reports whether a pod on the node has the host port, on the same address or where one of the two takes all.
func (n *Node) PortTaken(port v1.ContainerPort) bool {
	if len(n.ports) == 0 {
		return false
	}
	want := portOf(port)
	if n.ports[want] > 0 {
		return true
	}
	if want.ip != allAddresses {
		want.ip = allAddresses
		return n.ports[want] > 0
	}
	for taken := range n.ports {
		if taken.port == want.port && taken.protocol == want.protocol {
			return true
		}
	}
	return false
}

// PodsWithAffinity are the pods that have affinity or anti-affinity terms.
func (n *Node) PodsWithAffinity() map[types.UID]*Pod { return n.withAffinity }

// set takes over a new version of the object and reports what about it has changed.
func (n *Node) set(node *v1.Node) Change {
	old, was := n.Node, n.Allocatable
	n.Node = node
	n.Allocatable = NewResources(node.Status.Allocatable)
	if old == nil {
		n.setImages(node)
		return NodeAdd
	}
	var change Change
	if !n.Allocatable.equal(was) {
		change |= NodeAllocatable
	}
	if !maps.Equal(old.Labels, node.Labels) {
		change |= NodeLabels
	}
	if old.Spec.Unschedulable != node.Spec.Unschedulable || !slices.EqualFunc(old.Spec.Taints, node.Spec.Taints, equalTaint) {
		change |= NodeTaints
	}
	if !slices.EqualFunc(old.Status.Images, node.Status.Images, func(a, b v1.ContainerImage) bool {
		return a.SizeBytes == b.SizeBytes && slices.Equal(a.Names, b.Names)
	}) {
		n.setImages(node)
	}
	return change
}

func (n *Node) setImages(node *v1.Node) {
	n.Images = make(map[string]int64, len(node.Status.Images))
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			n.Images[name] = image.SizeBytes
		}
	}
}

func equalTaint(a, b v1.Taint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
}

const allAddresses = "0.0.0.0"

func portOf(port v1.ContainerPort) hostPort {
	key := hostPort{protocol: port.Protocol, ip: port.HostIP, port: port.HostPort}
	if key.protocol == "" {
		key.protocol = v1.ProtocolTCP
	}
	if key.ip == "" || key.ip == "::" {
		key.ip = allAddresses
	}
	return key
}
