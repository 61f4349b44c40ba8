// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// PodTopologySpread keeps the pods that a constraint selects spread over zones, nodes or any other domain of labels.
// Pods of a controller without constraints are spread softly over nodes and zones. A pod costs one look at
// every pod of its namespace, and only where it has constraints or there is more than one node to choose from.
type PodTopologySpread struct{}

// Name implements Plugin.
func (PodTopologySpread) Name() string { return "PodTopologySpread" }

// Wakes implements Plugin.
func (PodTopologySpread) Wakes() state.Change {
	return state.NodeAdd | state.NodeLabels | state.NodeTaints | state.PodAssigned | state.PodLabels | state.PodRemoved | state.PodItself
}

// constraint is one topologySpreadConstraint made ready for counting.
type constraint struct {
	key        string
	maxSkew    int64
	minDomains int64
	counts     func(*state.Pod) bool // whether a pod is one of those to spread
	honours    func(*v1.Node) bool   // whether a node's domain counts
}

// Start implements Plugin.
func (PodTopologySpread) Start(pod *state.Pod, cluster *state.Cluster) (*Judge, *Verdict) {
	hard, err := constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return nil, refuseForGood(err.Error())
	}
	soft, err := constraintsOf(pod, v1.ScheduleAnyway)
	if err != nil {
		return nil, refuseForGood(err.Error())
	}
	defaulted := len(pod.Spec.TopologySpreadConstraints) == 0
	if defaulted {
		soft = defaultConstraints(pod)
	}
	judge := &Judge{Weight: 2}
	if len(hard) > 0 {
		judge.Filter = spreadFilter(pod, cluster, hard)
	}
	if len(soft) > 0 {
		judge.Score = func(nodes []*state.Node) []int64 { return spreadScore(cluster, nodes, soft, !defaulted) }
	}
	return judge, nil
}

func constraintsOf(pod *state.Pod, action v1.UnsatisfiableConstraintAction) ([]constraint, error) {
	var out []constraint
	required := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		selector, err := state.SelectorWithLabelKeys(c.LabelSelector, pod.Labels, c.MatchLabelKeys, nil)
		if err != nil {
			return nil, err
		}
		ready := constraint{key: c.TopologyKey, maxSkew: int64(c.MaxSkew), minDomains: 1}
		if c.MinDomains != nil {
			ready.minDomains = int64(*c.MinDomains)
		}
		ready.counts = func(p *state.Pod) bool {
			return p.Namespace == pod.Namespace && p.DeletionTimestamp == nil && selector.Matches(labels.Set(p.Labels))
		}
		ready.honours = func(node *v1.Node) bool {
			if c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == v1.NodeInclusionPolicyHonor {
				if match, err := required.Match(node); err != nil || !match {
					return false
				}
			}
			if c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == v1.NodeInclusionPolicyHonor {
				for i := range node.Spec.Taints {
					taint := &node.Spec.Taints[i]
					if taint.Effect != v1.TaintEffectPreferNoSchedule && !tolerates(pod.Spec.Tolerations, taint) {
						return false
					}
				}
			}
			return true
		}
		out = append(out, ready)
	}
	return out, nil
}

// defaultConstraints spreads pods of one controller by node and by zone, as kube-scheduler's system defaults do. Where those
// find siblings by the selectors of services and controllers, these ask who owns them.
func defaultConstraints(pod *state.Pod) []constraint {
	if pod.Owner == "" {
		return nil
	}
	siblings := func(p *state.Pod) bool { return p.Owner == pod.Owner && p.DeletionTimestamp == nil }
	everywhere := func(*v1.Node) bool { return true }
	return []constraint{
		{key: v1.LabelHostname, maxSkew: 3, counts: siblings, honours: everywhere},
		{key: v1.LabelTopologyZone, maxSkew: 5, counts: siblings, honours: everywhere},
	}
}

// spreadFilter lets a pod into a domain where that leaves it at most maxSkew above the emptiest one.
func spreadFilter(pod *state.Pod, cluster *state.Cluster, constraints []constraint) func(*state.Node) *Verdict {
	domains := make([]map[string]int64, len(constraints))
	for i := range domains {
		domains[i] = map[string]int64{}
	}
	for _, node := range cluster.Nodes() {
		if !hasKeys(node.Node, constraints) {
			continue
		}
		for i, c := range constraints {
			if c.honours(node.Node) {
				domains[i][node.Labels[c.key]] += c.count(node)
			}
		}
	}
	fewest := make([]int64, len(constraints))
	for i, c := range constraints {
		if int64(len(domains[i])) < c.minDomains || len(domains[i]) == 0 {
			continue
		}
		fewest[i] = math.MaxInt64
		for _, n := range domains[i] {
			fewest[i] = min(fewest[i], n)
		}
	}
	const notMatch = "node(s) didn't match pod topology spread constraints"
	return func(node *state.Node) *Verdict {
		for i, c := range constraints {
			value, ok := node.Labels[c.key]
			if !ok {
				return refuseForGood(notMatch + " (missing required label)")
			}
			after := domains[i][value]
			if c.counts(pod) {
				after++
			}
			if after-fewest[i] > c.maxSkew {
				return refuse(notMatch)
			}
		}
		return nil
	}
}

// spreadScore prefers nodes whose domains have fewer of the pods. A domain weighs more the more of them there are.
func spreadScore(cluster *state.Cluster, nodes []*state.Node, constraints []constraint, needKeys bool) []int64 {
	domains := make([]map[string]int64, len(constraints))
	candidates := 0
	for i := range domains {
		domains[i] = map[string]int64{}
	}
	ignored := sets.New[string]()
	for _, node := range nodes {
		if needKeys && !hasKeys(node.Node, constraints) {
			ignored.Insert(node.Name)
			continue
		}
		candidates++
		for i, c := range constraints {
			if c.key != v1.LabelHostname {
				domains[i][node.Labels[c.key]] = 0
			}
		}
	}
	for _, node := range cluster.Nodes() {
		if needKeys && !hasKeys(node.Node, constraints) {
			continue
		}
		for i, c := range constraints {
			// A node that is in no domain is not asked how many it has: on a large cluster without zones that would be most of the work.
			value, labelled := node.Labels[c.key]
			if _, wanted := domains[i][value]; labelled && wanted && c.key != v1.LabelHostname && c.honours(node.Node) {
				domains[i][value] += c.count(node)
			}
		}
	}
	scores := make([]int64, len(nodes))
	lowest, highest := int64(math.MaxInt64), int64(0)
	for n, node := range nodes {
		if ignored.Has(node.Name) {
			continue
		}
		var sum float64
		for i, c := range constraints {
			value, ok := node.Labels[c.key]
			if !ok {
				continue
			}
			count, size := domains[i][value], len(domains[i])
			if c.key == v1.LabelHostname {
				count, size = c.count(node), candidates
			}
			sum += float64(count)*math.Log(float64(size+2)) + float64(c.maxSkew-1)
		}
		scores[n] = int64(math.Round(sum))
		lowest, highest = min(lowest, scores[n]), max(highest, scores[n])
	}
	for n, node := range nodes {
		switch {
		case ignored.Has(node.Name):
			scores[n] = 0
		case highest == 0:
			scores[n] = MaxScore
		default:
			scores[n] = MaxScore * (highest + lowest - scores[n]) / highest
		}
	}
	return scores
}

func (c *constraint) count(node *state.Node) int64 {
	var n int64
	for _, pod := range node.Pods {
		if c.counts(pod) {
			n++
		}
	}
	return n
}

func hasKeys(node *v1.Node, constraints []constraint) bool {
	for _, c := range constraints {
		if _, ok := node.Labels[c.key]; !ok {
			return false
		}
	}
	return true
}
