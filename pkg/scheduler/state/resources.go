// SPDX-License-Identifier: Apache-2.0

package state

import (
	v1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"
)

// What a container that requests nothing is taken to use when nodes are scored, so that pods without requests
// spread as well: a tenth of a core and 200 MiB, as in kube-scheduler.
const (
	defaultMilliCPU int64 = 100
	defaultMemory   int64 = 200 << 20
)

// Resources is an amount of every resource: CPU in thousandths of a core, the rest in bytes or pieces.
type Resources struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	Pods             int64
	Scalar           map[v1.ResourceName]int64 // extended resources and huge pages; nil where there are none
}

// NewResources reads a resource list.
func NewResources(list v1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		switch name {
		case v1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case v1.ResourceMemory:
			r.Memory = quantity.Value()
		case v1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case v1.ResourcePods:
			r.Pods = quantity.Value()
		default:
			if r.Scalar == nil {
				r.Scalar = map[v1.ResourceName]int64{}
			}
			r.Scalar[name] = quantity.Value()
		}
	}
	return r
}

// add adds sign times o; Pods is left alone, since a node counts its pods.
func (r *Resources) add(o Resources, sign int64) {
	r.MilliCPU += sign * o.MilliCPU
	r.Memory += sign * o.Memory
	r.EphemeralStorage += sign * o.EphemeralStorage
	for name, amount := range o.Scalar {
		if r.Scalar == nil {
			r.Scalar = map[v1.ResourceName]int64{}
		}
		if r.Scalar[name] += sign * amount; r.Scalar[name] == 0 {
			delete(r.Scalar, name)
		}
	}
}

// equal reports whether both amounts are the same.
func (r Resources) equal(o Resources) bool {
	if r.MilliCPU != o.MilliCPU || r.Memory != o.Memory || r.EphemeralStorage != o.EphemeralStorage ||
		r.Pods != o.Pods || len(r.Scalar) != len(o.Scalar) {
		return false
	}
	for name, amount := range r.Scalar {
		if o.Scalar[name] != amount {
			return false
		}
	}
	return true
}

// podRequests returns what a pod asks for, resized containers counted by the larger of wish and allocation, and the same
// with the defaults for containers that ask for nothing, for scoring.
func podRequests(pod *v1.Pod) (requests, scored Resources) {
	options := resource.PodResourcesOptions{UseStatusResources: true}
	requests = NewResources(resource.PodRequests(pod, options))
	options.NonMissingContainerRequests = v1.ResourceList{
		v1.ResourceCPU:    *apiresource.NewMilliQuantity(defaultMilliCPU, apiresource.DecimalSI),
		v1.ResourceMemory: *apiresource.NewQuantity(defaultMemory, apiresource.BinarySI),
	}
	scored = NewResources(resource.PodRequests(pod, options))
	return requests, scored
}
