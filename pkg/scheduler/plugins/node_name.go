// SPDX-License-Identifier: Apache-2.0

package plugins

import "github.com/hivemind-project/hivemind/pkg/scheduler/state"

// NodeName holds a pod to the node that its spec names.
type NodeName struct{}

// Name implements Plugin.
func (NodeName) Name() string { return "NodeName" }

// Wakes implements Plugin.
func (NodeName) Wakes() state.Change { return state.NodeAdd }

// Start implements Plugin.
func (NodeName) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	return &Judge{Filter: func(node *state.Node) *Verdict {
		if pod.Spec.NodeName == node.Name {
			return nil
		}
		return refuseForGood("node(s) didn't match the requested node name")
	}}, nil
}
