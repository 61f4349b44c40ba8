// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

func newPod(t *testing.T, name, node, cpu string) *Pod {
	t.Helper()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	pod.Spec.NodeName = node
	pod.Spec.Containers = []v1.Container{{
		Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), "example.com/gpu": resource.MustParse("1")}},
		Ports:     []v1.ContainerPort{{HostPort: 80}},
	}}
	p, err := NewPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCluster plays what informers and cycles do to a cluster, and asks after each step what node a has.
func TestCluster(t *testing.T) {
	node := func(name string) *v1.Node { return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	for _, test := range []struct {
		name  string
		steps func(c *Cluster)
		pods  int
		cpu   int64
	}{
		{"a pod before its node", func(c *Cluster) {
			c.SetPod(newPod(t, "p", "a", "100m"))
			c.SetNode(node("a"))
		}, 1, 100},
		{"a new version replaces the old", func(c *Cluster) {
			c.SetNode(node("a"))
			c.SetPod(newPod(t, "p", "a", "100m"))
			c.SetPod(newPod(t, "p", "a", "300m"))
		}, 1, 300},
		{"assumed and forgotten", func(c *Cluster) {
			c.SetNode(node("a"))
			c.Assume(newPod(t, "p", "a", "100m"))
			c.Forget("p")
		}, 0, 0},
		{"confirmed, then forgotten by a binding that thought it had failed", func(c *Cluster) {
			c.SetNode(node("a"))
			c.Assume(newPod(t, "p", "a", "100m"))
			c.SetPod(newPod(t, "p", "a", "100m"))
			c.Forget("p")
		}, 1, 100},
		{"assumed here, bound elsewhere", func(c *Cluster) {
			c.SetNode(node("a"))
			c.SetNode(node("b"))
			c.Assume(newPod(t, "p", "a", "100m"))
			c.SetPod(newPod(t, "p", "b", "100m"))
		}, 0, 0},
		{"the node comes back", func(c *Cluster) {
			c.SetNode(node("a"))
			c.SetPod(newPod(t, "p", "a", "100m"))
			c.DeleteNode("a")
			c.SetNode(node("a"))
		}, 1, 100},
		{"deleted twice", func(c *Cluster) {
			c.SetNode(node("a"))
			c.SetPod(newPod(t, "p", "a", "100m"))
			c.DeletePod("p")
			c.DeletePod("p")
		}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewCluster(func(string) labels.Set { return nil })
			test.steps(c)
			a := c.Node("a")
			if a == nil || len(c.Nodes()) == 0 || c.Nodes()[0] != a {
				t.Fatalf("node a is not listed: %v", c.Nodes())
			}
			if len(a.Pods) != test.pods || a.Requested.MilliCPU != test.cpu {
				t.Errorf("%d pods, %dm CPU, want %d, %dm", len(a.Pods), a.Requested.MilliCPU, test.pods, test.cpu)
			}
			if taken := a.PortTaken(v1.ContainerPort{HostPort: 80}); taken != (test.pods > 0) {
				t.Errorf("port taken: %v", taken)
			}
			if _, left := a.Requested.Scalar["example.com/gpu"]; left != (test.pods > 0) {
				t.Errorf("scalar resources %v", a.Requested.Scalar)
			}
		})
	}
}

// TestViewLeavesClusterAlone changes a copy of a node that a view shows.
func TestViewLeavesClusterAlone(t *testing.T) {
	c := NewCluster(func(string) labels.Set { return nil })
	c.SetNode(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	c.SetPod(newPod(t, "p", "a", "100m"))
	clone := c.Node("a").Clone()
	view := c.With(clone)
	clone.Remove("p")
	clone.Add(newPod(t, "q", "a", "700m"))
	if got := view.Nodes()[0].Requested.MilliCPU; got != 700 {
		t.Errorf("view has %dm", got)
	}
	a := c.Node("a")
	if a.Requested.MilliCPU != 100 || a.Pods["p"] == nil || a.Requested.Scalar["example.com/gpu"] != 1 || !a.PortTaken(v1.ContainerPort{HostPort: 80}) {
		t.Errorf("the cluster has changed: %+v", a.Requested)
	}
}

func TestNominations(t *testing.T) {
	c := NewCluster(func(string) labels.Set { return nil })
	p := newPod(t, "p", "", "1")
	c.Nominate(p, "a")
	c.Nominate(p, "b")
	if len(c.Nominated("a")) != 0 || len(c.Nominated("b")) != 1 {
		t.Errorf("a %v, b %v", c.Nominated("a"), c.Nominated("b"))
	}
	c.Nominate(p, "")
	if len(c.Nominated("b")) != 0 {
		t.Errorf("b %v", c.Nominated("b"))
	}
}
