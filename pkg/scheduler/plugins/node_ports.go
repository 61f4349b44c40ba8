// SPDX-License-Identifier: Apache-2.0

package plugins

import "github.com/hivemind-project/hivemind/pkg/scheduler/state"

// NodePorts keeps pods apart that want the same port of the node.
type NodePorts struct{}

// Name implements Plugin.
func (NodePorts) Name() string { return "NodePorts" }

// Wakes implements Plugin.
func (NodePorts) Wakes() state.Change { return state.NodeAdd | state.PodRemoved }

// Start implements Plugin.
func (NodePorts) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	if len(pod.Ports) == 0 {
		return nil, nil
	}
	return &Judge{Filter: func(node *state.Node) *Verdict {
		for _, port := range pod.Ports {
			if node.PortTaken(port) {
				return refuse("node(s) didn't have free ports for the requested pod ports")
			}
		}
		return nil
	}}, nil
}
