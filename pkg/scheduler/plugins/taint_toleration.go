// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// TaintToleration keeps pods off nodes with NoSchedule and NoExecute taints that they do not tolerate, and prefers nodes
// with fewer untolerated PreferNoSchedule taints.
type TaintToleration struct{}

// Name implements Plugin.
func (TaintToleration) Name() string { return "TaintToleration" }

// Wakes implements Plugin.
func (TaintToleration) Wakes() state.Change {
	return state.NodeAdd | state.NodeTaints | state.PodItself
}

// Start implements Plugin.
func (TaintToleration) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	return &Judge{
		Filter: func(node *state.Node) *Verdict {
			for i := range node.Spec.Taints {
				taint := &node.Spec.Taints[i]
				if taint.Effect != v1.TaintEffectPreferNoSchedule && !tolerates(pod.Spec.Tolerations, taint) {
					return refuseForGood("node(s) had untolerated taint(s)")
				}
			}
			return nil
		},
		Weight: 3,
		Score: func(nodes []*state.Node) []int64 {
			scores := make([]int64, len(nodes))
			for n, node := range nodes {
				for i := range node.Spec.Taints {
					taint := &node.Spec.Taints[i]
					if taint.Effect == v1.TaintEffectPreferNoSchedule && !tolerates(pod.Spec.Tolerations, taint) {
						scores[n]++
					}
				}
			}
			return spread(scores, true)
		},
	}, nil
}

func tolerates(tolerations []v1.Toleration, taint *v1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Logger{}, taint, false) {
			return true
		}
	}
	return false
}
