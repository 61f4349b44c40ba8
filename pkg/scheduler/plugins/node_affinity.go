// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// NodeAffinity holds a pod to nodes that its nodeSelector and required node affinity match, and prefers those that
// its preferred terms match. Terms that name nodes (as DaemonSet pods have) make the search cost one node.
type NodeAffinity struct{}

// Name implements Plugin.
func (NodeAffinity) Name() string { return "NodeAffinity" }

// Wakes implements Plugin.
func (NodeAffinity) Wakes() state.Change {
	return state.NodeAdd | state.NodeLabels | state.PodItself
}

// Start implements Plugin.
func (NodeAffinity) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	var affinity *v1.NodeAffinity
	if pod.Spec.Affinity != nil {
		affinity = pod.Spec.Affinity.NodeAffinity
	}
	if affinity == nil && len(pod.Spec.NodeSelector) == 0 {
		return nil, nil
	}
	judge := &Judge{Weight: 2}
	required := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
	judge.Filter = func(node *state.Node) *Verdict {
		if match, err := required.Match(node.Node); err == nil && match {
			return nil
		}
		return refuseForGood("node(s) didn't match Pod's node affinity/selector")
	}
	if affinity == nil {
		return judge, nil
	}
	if affinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		judge.Only = namedNodes(affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms)
		if judge.Only != nil && judge.Only.Len() == 0 {
			return nil, refuseForGood("pod affinity terms conflict")
		}
	}
	if len(affinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		preferred, err := nodeaffinity.NewPreferredSchedulingTerms(affinity.PreferredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			return nil, refuseForGood(err.Error())
		}
		judge.Score = func(nodes []*state.Node) []int64 {
			scores := make([]int64, len(nodes))
			for i, node := range nodes {
				scores[i] = preferred.Score(node.Node)
			}
			return spread(scores, false)
		}
	}
	return judge, nil
}

// namedNodes returns the nodes that the terms allow where every term names its nodes; nil where one does not.
func namedNodes(terms []v1.NodeSelectorTerm) sets.Set[string] {
	if len(terms) == 0 {
		return nil
	}
	all := sets.New[string]()
	for _, term := range terms {
		var names sets.Set[string]
		for _, field := range term.MatchFields {
			if field.Key != metav1.ObjectNameField || field.Operator != v1.NodeSelectorOpIn {
				continue
			}
			if values := sets.New(field.Values...); names == nil {
				names = values
			} else {
				names = names.Intersection(values)
			}
		}
		if names == nil {
			return nil
		}
		all = all.Union(names)
	}
	return all
}
