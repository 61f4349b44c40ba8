// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// NodeResourcesFit keeps pods off nodes that have not enough left of what they request, and prefers the nodes of
// which least is requested.
type NodeResourcesFit struct{}

// Name implements Plugin.
func (NodeResourcesFit) Name() string { return "NodeResourcesFit" }

// Wakes implements Plugin.
func (NodeResourcesFit) Wakes() state.Change {
	return state.NodeAdd | state.NodeAllocatable | state.PodRemoved | state.PodShrunk | state.PodItself
}

// Start implements Plugin.
func (NodeResourcesFit) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	return &Judge{
		Filter: func(node *state.Node) *Verdict { return fits(&pod.Requests, node) },
		Weight: 1,
		Score: func(nodes []*state.Node) []int64 {
			scores := make([]int64, len(nodes))
			for i, node := range nodes {
				scores[i] = leastAllocated(&pod.Scored, node)
			}
			return scores
		},
	}, nil
}

// fits compares what is asked with what is left, and names everything that is short.
func fits(ask *state.Resources, node *state.Node) *Verdict {
	var verdict Verdict
	if int64(len(node.Pods))+1 > node.Allocatable.Pods {
		verdict.Reasons = append(verdict.Reasons, "Too many pods")
	}
	check := func(name v1.ResourceName, ask, allocatable, requested int64) {
		if ask > 0 && ask > allocatable-requested {
			verdict.Reasons = append(verdict.Reasons, "Insufficient "+string(name))
			verdict.Final = verdict.Final || ask > allocatable
		}
	}
	check(v1.ResourceCPU, ask.MilliCPU, node.Allocatable.MilliCPU, node.Requested.MilliCPU)
	check(v1.ResourceMemory, ask.Memory, node.Allocatable.Memory, node.Requested.Memory)
	check(v1.ResourceEphemeralStorage, ask.EphemeralStorage, node.Allocatable.EphemeralStorage, node.Requested.EphemeralStorage)
	for name, amount := range ask.Scalar {
		check(name, amount, node.Allocatable.Scalar[name], node.Requested.Scalar[name])
	}
	if verdict.Reasons == nil {
		return nil
	}
	slices.Sort(verdict.Reasons)
	return &verdict
}

// leastAllocated is the mean over CPU and memory of the percentage that would be left with the pod on the node.
func leastAllocated(ask *state.Resources, node *state.Node) int64 {
	var sum, parts int64
	for _, r := range cpuAndMemory(ask, &node.Scored, &node.Allocatable) {
		if r.allocatable == 0 {
			continue
		}
		parts++
		if r.used <= r.allocatable {
			sum += (r.allocatable - r.used) * MaxScore / r.allocatable
		}
	}
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// NodeResourcesBalancedAllocation prefers nodes on which CPU and memory would be used up at the same rate.
type NodeResourcesBalancedAllocation struct{}

// Name implements Plugin.
func (NodeResourcesBalancedAllocation) Name() string { return "NodeResourcesBalancedAllocation" }

// Wakes implements Plugin.
func (NodeResourcesBalancedAllocation) Wakes() state.Change { return 0 }

// Start implements Plugin.
func (NodeResourcesBalancedAllocation) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	if pod.Requests.MilliCPU == 0 && pod.Requests.Memory == 0 {
		return nil, nil
	}
	return &Judge{Weight: 1, Score: func(nodes []*state.Node) []int64 {
		scores := make([]int64, len(nodes))
		for i, node := range nodes {
			scores[i] = balance(&pod.Requests, node)
		}
		return scores
	}}, nil
}

// balance falls with the distance between the fractions of CPU and memory in use: their standard deviation.
func balance(ask *state.Resources, node *state.Node) int64 {
	var fractions []float64
	for _, r := range cpuAndMemory(ask, &node.Requested, &node.Allocatable) {
		if r.allocatable > 0 {
			fractions = append(fractions, math.Min(1, float64(r.used)/float64(r.allocatable)))
		}
	}
	var deviation float64
	if len(fractions) == 2 {
		deviation = math.Abs(fractions[0]-fractions[1]) / 2
	}
	return int64((1 - deviation) * float64(MaxScore))
}

type usage struct{ used, allocatable int64 }

func cpuAndMemory(ask, used, allocatable *state.Resources) [2]usage {
	return [2]usage{
		{used.MilliCPU + ask.MilliCPU, allocatable.MilliCPU},
		{used.Memory + ask.Memory, allocatable.Memory},
	}
}
