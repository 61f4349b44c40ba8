// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// NodeUnschedulable keeps pods off nodes that are cordoned, unless they tolerate the taint that says the same.
type NodeUnschedulable struct{}

// Name implements Plugin.
func (NodeUnschedulable) Name() string { return "NodeUnschedulable" }

// Wakes implements Plugin.
func (NodeUnschedulable) Wakes() state.Change {
	return state.NodeAdd | state.NodeTaints | state.PodItself
}

// Start implements Plugin.
func (NodeUnschedulable) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	if tolerates(pod.Spec.Tolerations, &v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}) {
		return nil, nil
	}
	return &Judge{Filter: func(node *state.Node) *Verdict {
		if !node.Spec.Unschedulable {
			return nil
		}
		return refuseForGood("node(s) were unschedulable")
	}}, nil
}
