// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What an administrator says that a node has stays; what the machine has is as the machine says.
func TestFillKeepsExtendedResources(t *testing.T) {
	q := resource.MustParse
	o := &Options{Machine: Machine{Capacity: v1.ResourceList{v1.ResourceCPU: q("4")}}, MaxPods: 110, Reserved: v1.ResourceList{v1.ResourceCPU: q("1")}}
	for name, c := range map[string]struct{ told, capacity, allocatable v1.ResourceList }{
		"new node": {nil, v1.ResourceList{"cpu": q("4"), "pods": q("110")}, v1.ResourceList{"cpu": q("3"), "pods": q("110")}},
		"extended resource": {
			v1.ResourceList{"cpu": q("4"), "pods": q("110"), "example.com/dongle": q("5")},
			v1.ResourceList{"cpu": q("4"), "pods": q("110"), "example.com/dongle": q("5")},
			v1.ResourceList{"cpu": q("3"), "pods": q("110"), "example.com/dongle": q("5")},
		},
		"machine that has changed": {
			v1.ResourceList{"cpu": q("8"), "pods": q("10"), "hugepages-2Mi": q("1Gi")},
			v1.ResourceList{"cpu": q("4"), "pods": q("110")}, v1.ResourceList{"cpu": q("3"), "pods": q("110")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := v1.NodeStatus{Capacity: c.told, Allocatable: c.told}
			o.fill(&s, Health{}, nil, metav1.Now())
			if diff := cmp.Diff(v1.NodeStatus{Capacity: c.capacity, Allocatable: c.allocatable}, v1.NodeStatus{Capacity: s.Capacity, Allocatable: s.Allocatable}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
