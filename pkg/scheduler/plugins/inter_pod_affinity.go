// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"math"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// InterPodAffinity puts pods near to pods or apart from them, by the pod's own terms and by those of pods that are placed
// already. A pod with terms costs a look at every pod; one without costs a look at those that have terms.
type InterPodAffinity struct{}

// hardPodAffinityWeight is what a required affinity term of a placed pod is worth to a pod that it matches.
const hardPodAffinityWeight = 1

// Name implements Plugin.
func (InterPodAffinity) Name() string { return "InterPodAffinity" }

// Wakes implements Plugin.
func (InterPodAffinity) Wakes() state.Change {
	return state.NodeAdd | state.NodeLabels | state.PodAssigned | state.PodLabels | state.PodRemoved | state.PodItself | state.NamespaceLabels
}

// domain is one value of one topology label.
type domain struct{ key, value string }

// Start implements Plugin.
func (InterPodAffinity) Start(pod *state.Pod, cluster *state.Cluster) (*Judge, *Verdict) {
	c := &company{pod: pod, cluster: cluster, refused: map[domain]int{}, wanted: map[domain]int{}, unwanted: map[domain]int{}}
	c.lookAround()
	judge := &Judge{Weight: 2}
	if len(pod.Affinity)+len(pod.AntiAffinity)+len(c.refused) > 0 {
		judge.Filter = c.filter
	}
	judge.Score = c.score
	return judge, nil
}

// company is whom a pod would meet where.
type company struct {
	pod     *state.Pod
	cluster *state.Cluster

	refused  map[domain]int // domains that placed pods will not share with the pod
	wanted   map[domain]int // pods that match all of the pod's affinity terms
	unwanted map[domain]int // pods that match one of its anti-affinity terms
}

func (c *company) lookAround() {
	own := c.cluster.NamespaceLabels(c.pod.Namespace)
	everyPod := len(c.pod.Affinity)+len(c.pod.AntiAffinity) > 0
	for _, node := range c.cluster.Nodes() {
		for _, other := range node.PodsWithAffinity() {
			for i := range other.AntiAffinity {
				term := &other.AntiAffinity[i]
				if value, ok := node.Labels[term.TopologyKey]; ok && term.Matches(c.pod.Pod, own) {
					c.refused[domain{term.TopologyKey, value}]++
				}
			}
		}
		if !everyPod {
			continue
		}
		for _, other := range node.Pods {
			theirs := c.cluster.NamespaceLabels(other.Namespace)
			if len(c.pod.Affinity) > 0 && matchesAll(c.pod.Affinity, other, theirs) {
				for i := range c.pod.Affinity {
					key := c.pod.Affinity[i].TopologyKey
					if value, ok := node.Labels[key]; ok {
						c.wanted[domain{key, value}]++
					}
				}
			}
			for i := range c.pod.AntiAffinity {
				term := &c.pod.AntiAffinity[i]
				if value, ok := node.Labels[term.TopologyKey]; ok && term.Matches(other.Pod, theirs) {
					c.unwanted[domain{term.TopologyKey, value}]++
				}
			}
		}
	}
}

func (c *company) filter(node *state.Node) *Verdict {
	if !c.near(node) {
		return refuseForGood("node(s) didn't match pod affinity rules")
	}
	for i := range c.pod.AntiAffinity {
		key := c.pod.AntiAffinity[i].TopologyKey
		if value, ok := node.Labels[key]; ok && c.unwanted[domain{key, value}] > 0 {
			return refuse("node(s) didn't match pod anti-affinity rules")
		}
	}
	for d := range c.refused {
		if value, ok := node.Labels[d.key]; ok && value == d.value {
			return refuse("node(s) didn't satisfy existing pods anti-affinity rules")
		}
	}
	return nil
}

// near reports whether the pod's affinity is satisfied on a node. The first pod of a group that wants its own kind for
// company finds none anywhere, and may go to any node that has the labels.
func (c *company) near(node *state.Node) bool {
	satisfied := true
	for i := range c.pod.Affinity {
		key := c.pod.Affinity[i].TopologyKey
		value, ok := node.Labels[key]
		if !ok {
			return false
		}
		if c.wanted[domain{key, value}] == 0 {
			satisfied = false
		}
	}
	if satisfied {
		return true
	}
	return len(c.wanted) == 0 && matchesAll(c.pod.Affinity, c.pod, c.cluster.NamespaceLabels(c.pod.Namespace))
}

func (c *company) score(nodes []*state.Node) []int64 {
	scores := make([]int64, len(nodes))
	if len(nodes) < 2 {
		return scores
	}
	weights := map[domain]int64{}
	own := c.cluster.NamespaceLabels(c.pod.Namespace)
	everyPod := len(c.pod.PreferredAffinity)+len(c.pod.PreferredAntiAffinity) > 0
	for _, node := range c.cluster.Nodes() {
		others := node.PodsWithAffinity()
		if everyPod {
			others = node.Pods
		}
		add := func(terms []state.Term, matched *state.Pod, namespace labels.Set, sign int64, fixed int64) {
			for i := range terms {
				value, ok := node.Labels[terms[i].TopologyKey]
				if !ok || !terms[i].Matches(matched.Pod, namespace) {
					continue
				}
				weight := terms[i].Weight
				if fixed > 0 {
					weight = fixed
				}
				weights[domain{terms[i].TopologyKey, value}] += sign * weight
			}
		}
		for _, other := range others {
			if everyPod {
				theirs := c.cluster.NamespaceLabels(other.Namespace)
				add(c.pod.PreferredAffinity, other, theirs, 1, 0)
				add(c.pod.PreferredAntiAffinity, other, theirs, -1, 0)
			}
			add(other.Affinity, c.pod, own, 1, hardPodAffinityWeight)
			add(other.PreferredAffinity, c.pod, own, 1, 0)
			add(other.PreferredAntiAffinity, c.pod, own, -1, 0)
		}
	}
	if len(weights) == 0 {
		return scores
	}
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for i, node := range nodes {
		for d, weight := range weights {
			if value, ok := node.Labels[d.key]; ok && value == d.value {
				scores[i] += weight
			}
		}
		lowest, highest = min(lowest, scores[i]), max(highest, scores[i])
	}
	for i, s := range scores {
		if scores[i] = 0; highest > lowest {
			scores[i] = MaxScore * (s - lowest) / (highest - lowest)
		}
	}
	return scores
}

func matchesAll(terms []state.Term, pod *state.Pod, namespace labels.Set) bool {
	for i := range terms {
		if !terms[i].Matches(pod.Pod, namespace) {
			return false
		}
	}
	return true
}
