// SPDX-License-Identifier: Apache-2.0

package state

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Cluster is all nodes with the pods on them. It is not safe for use by several goroutines: its owner holds a lock for
// the length of a scheduling cycle, which is shorter than a copy would take.
type Cluster struct {
	nodes      map[string]*Node
	ordered    []*Node // by name, nodes with an object alone
	assumed    map[types.UID]struct{}
	where      map[types.UID]string
	namespaces func(name string) labels.Set
	nominated  map[string]map[types.UID]*Pod
}

// NewCluster returns a cluster without nodes. namespaces returns the labels of a namespace, for affinity terms.
func NewCluster(namespaces func(name string) labels.Set) *Cluster {
	return &Cluster{
		nodes:      map[string]*Node{},
		assumed:    map[types.UID]struct{}{},
		where:      map[types.UID]string{},
		namespaces: namespaces,
		nominated:  map[string]map[types.UID]*Pod{},
	}
}

// Nodes are all nodes, by name.
func (c *Cluster) Nodes() []*Node { return c.ordered }

// Node returns the node, or nil.
func (c *Cluster) Node(name string) *Node {
	if n := c.nodes[name]; n != nil && n.Node != nil {
		return n
	}
	return nil
}

// NamespaceLabels returns the labels of a namespace.
func (c *Cluster) NamespaceLabels(name string) labels.Set { return c.namespaces(name) }

// SetNode takes over a node or a new version of it and reports what has changed.
func (c *Cluster) SetNode(node *v1.Node) Change {
	n := c.nodes[node.Name]
	if n == nil {
		n = NewNode(node)
		c.nodes[node.Name] = n
		c.insert(n)
		return NodeAdd
	}
	if n.Node == nil { // pods came before their node
		n.set(node)
		c.insert(n)
		return NodeAdd
	}
	return n.set(node)
}

// DeleteNode forgets a node. Pods that are still on it are kept for the case that it comes back.
func (c *Cluster) DeleteNode(name string) {
	n := c.nodes[name]
	if n == nil {
		return
	}
	c.ordered = slices.DeleteFunc(c.ordered, func(o *Node) bool { return o == n })
	if n.Node = nil; len(n.Pods) == 0 {
		delete(c.nodes, name)
	}
}

// SetPod records that the API server has pod on its node. It confirms an assumption, or corrects it.
func (c *Cluster) SetPod(pod *Pod) {
	delete(c.assumed, pod.UID)
	c.put(pod)
}

// Assume records that pod will be on node before the API server knows, so that the next cycle counts it.
// The pod must already carry the node's name.
func (c *Cluster) Assume(pod *Pod) {
	c.assumed[pod.UID] = struct{}{}
	c.put(pod)
}

// Assumed reports whether a pod is counted on a node that the API server has not confirmed yet.
func (c *Cluster) Assumed(uid types.UID) bool {
	_, ok := c.assumed[uid]
	return ok
}

// Forget takes back an assumption; a pod that the API server has confirmed stays.
func (c *Cluster) Forget(uid types.UID) {
	if c.Assumed(uid) {
		c.DeletePod(uid)
	}
}

// Pod returns the pod as it is counted, or nil where it is on no node.
func (c *Cluster) Pod(uid types.UID) *Pod {
	if n := c.nodes[c.where[uid]]; n != nil {
		return n.Pods[uid]
	}
	return nil
}

// DeletePod takes a pod off its node.
func (c *Cluster) DeletePod(uid types.UID) {
	delete(c.assumed, uid)
	name, ok := c.where[uid]
	if !ok {
		return
	}
	delete(c.where, uid)
	n := c.nodes[name]
	n.Remove(uid)
	if n.Node == nil && len(n.Pods) == 0 {
		delete(c.nodes, name)
	}
}

// Nominate records that room has been made on a node for pod; an empty name takes the nomination back.
func (c *Cluster) Nominate(pod *Pod, node string) {
	c.Denominate(pod.UID)
	if node == "" {
		return
	}
	if c.nominated[node] == nil {
		c.nominated[node] = map[types.UID]*Pod{}
	}
	c.nominated[node][pod.UID] = pod
}

// Denominate takes back the nomination of a pod.
func (c *Cluster) Denominate(uid types.UID) {
	for node, pods := range c.nominated {
		if delete(pods, uid); len(pods) == 0 {
			delete(c.nominated, node)
		}
	}
}

// Nominated are the pods that a node is promised to.
func (c *Cluster) Nominated(node string) map[types.UID]*Pod { return c.nominated[node] }

// With returns a view of the cluster in which node stands in for the one of the same name. c is not changed, and the view
// is for reading.
func (c *Cluster) With(node *Node) *Cluster {
	view := *c
	view.ordered = slices.Clone(c.ordered)
	if i, found := c.find(node.Name); found {
		view.ordered[i] = node
	}
	return &view
}

func (c *Cluster) put(pod *Pod) {
	if was, ok := c.where[pod.UID]; ok && was != pod.Spec.NodeName {
		c.nodes[was].Remove(pod.UID)
	}
	n := c.nodes[pod.Spec.NodeName]
	if n == nil {
		n = &Node{Pods: map[types.UID]*Pod{}, ports: map[hostPort]int{}, withAffinity: map[types.UID]*Pod{}}
		c.nodes[pod.Spec.NodeName] = n
	}
	n.Add(pod)
	c.where[pod.UID] = pod.Spec.NodeName
}

func (c *Cluster) insert(n *Node) {
	i, _ := c.find(n.Name)
	c.ordered = slices.Insert(c.ordered, i, n)
}

func (c *Cluster) find(name string) (int, bool) {
	return slices.BinarySearchFunc(c.ordered, name, func(n *Node, name string) int { return strings.Compare(n.Name, name) })
}
