// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"math"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/hivemind-project/hivemind/pkg/scheduler/plugins"
	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// candidate is a node with the pods that would have to leave it, the most important first.
type candidate struct {
	node       string
	victims    []*state.Pod
	violations int // victims that a disruption budget does not give up
}

// preemption looks for a node where the pod would fit if less important pods left. It returns the best, or none and why, in the
// words that follow the reasons of a FailedScheduling event. A dry run of a node costs a filter for each pod of
// lower priority on it.
func preemption(c *cycle, m *misfit, pod *state.Pod, cluster *state.Cluster, list []plugins.Plugin, budgets []*policyv1.PodDisruptionBudget) (*candidate, string) {
	const prefix = "no new claims to deallocate, preemption: "
	if why := mayNotPreempt(pod, m, cluster); why != "" {
		return nil, prefix + why
	}
	failed := &misfit{nodes: map[string]*plugins.Verdict{}, total: m.total, absent: "Preemption is not helpful for scheduling"}
	var found []*candidate
	for _, node := range cluster.Nodes() {
		if !helps(m, node.Name) {
			continue
		}
		if c == nil { // refused everywhere, but for a reason that pods leaving may end
			c = &cycle{pod: pod, cluster: cluster, plugins: list}
		}
		victims, verdict := c.dryRun(node, budgets)
		if verdict != nil {
			failed.nodes[node.Name] = verdict
			continue
		}
		found = append(found, victims)
	}
	if len(found) == 0 {
		return nil, prefix + failed.message()
	}
	return slices.MinFunc(found, compareCandidates), ""
}

// mayNotPreempt says why the pod must not push others out, "" where it may.
func mayNotPreempt(pod *state.Pod, m *misfit, cluster *state.Cluster) string {
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == v1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	node := cluster.Node(pod.Status.NominatedNodeName)
	if node == nil || !helps(m, node.Name) {
		return ""
	}
	for _, other := range node.Pods {
		if other.Priority() < pod.Priority() && leavesByPreemption(other.Pod) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// helps reports whether the pod may fit a node once others have left it.
func helps(m *misfit, node string) bool {
	if m.everywhere != "" {
		return !m.final
	}
	verdict := m.nodes[node]
	return verdict != nil && !verdict.Final
}

func leavesByPreemption(pod *v1.Pod) bool {
	if pod.DeletionTimestamp == nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.DisruptionTarget {
			return c.Status == v1.ConditionTrue && c.Reason == v1.PodReasonPreemptionByScheduler
		}
	}
	return false
}

// dryRun takes all pods of lower priority off a copy of the node and puts back as many as can stay, those first that
// a budget protects, and the most important first.
func (c *cycle) dryRun(node *state.Node, budgets []*policyv1.PodDisruptionBudget) (*candidate, *plugins.Verdict) {
	clone := node.Clone()
	var lower []*state.Pod
	for _, other := range node.Pods {
		if other.Priority() < c.pod.Priority() {
			lower = append(lower, other)
			clone.Remove(other.UID)
		}
	}
	if len(lower) == 0 {
		return nil, &plugins.Verdict{Reasons: []string{"No preemption victims found for incoming pod"}, Final: true}
	}
	if verdict, _ := c.judgeAs(clone); verdict != nil {
		return nil, verdict
	}
	slices.SortFunc(lower, compareImportance)
	protected, free := splitByBudget(lower, budgets)
	result := &candidate{node: node.Name}
	reprieve := func(pods []*state.Pod) (leave int) {
		for _, other := range pods {
			clone.Add(other)
			if verdict, _ := c.judgeAs(clone); verdict != nil {
				clone.Remove(other.UID)
				result.victims = append(result.victims, other)
				leave++
			}
		}
		return leave
	}
	result.violations = reprieve(protected)
	reprieve(free)
	slices.SortFunc(result.victims, compareImportance)
	return result, nil
}

// splitByBudget parts the pods whose eviction a disruption budget does not allow from the others.
func splitByBudget(pods []*state.Pod, budgets []*policyv1.PodDisruptionBudget) (protected, free []*state.Pod) {
	allowed := make([]int32, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
	}
	for _, pod := range pods {
		violates := false
		for i, b := range budgets {
			if b.Namespace != pod.Namespace || len(pod.Labels) == 0 {
				continue
			}
			selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
			if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
				continue
			}
			if _, counted := b.Status.DisruptedPods[pod.Name]; counted {
				continue
			}
			if allowed[i]--; allowed[i] < 0 {
				violates = true
			}
		}
		if violates {
			protected = append(protected, pod)
		} else {
			free = append(free, pod)
		}
	}
	return protected, free
}

// compareImportance puts the pod first that has the higher priority, or has run longer.
func compareImportance(a, b *state.Pod) int {
	if c := cmp.Compare(b.Priority(), a.Priority()); c != 0 {
		return c
	}
	return started(a).Compare(started(b))
}

func started(pod *state.Pod) time.Time {
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return pod.CreationTimestamp.Time
}

// compareCandidates puts the node first whose victims are missed least: fewest violated budgets, lowest highest priority,
// lowest sum of priorities, fewest victims, youngest of the most important victims.
func compareCandidates(a, b *candidate) int {
	if c := cmp.Compare(a.violations, b.violations); c != 0 {
		return c
	}
	if c := cmp.Compare(a.highest(), b.highest()); c != 0 {
		return c
	}
	if c := cmp.Compare(a.sum(), b.sum()); c != 0 {
		return c
	}
	if c := cmp.Compare(len(a.victims), len(b.victims)); c != 0 {
		return c
	}
	return b.oldest().Compare(a.oldest())
}

func (c *candidate) highest() int32 {
	if len(c.victims) == 0 {
		return math.MinInt32
	}
	return c.victims[0].Priority()
}

func (c *candidate) sum() (sum int64) {
	for _, v := range c.victims {
		sum += int64(v.Priority()) + math.MaxInt32 + 1 // so that fewer pods of negative priority are fewer
	}
	return sum
}

func (c *candidate) oldest() (oldest time.Time) {
	for _, v := range c.victims {
		if v.Priority() != c.highest() {
			break
		}
		if t := started(v); oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	return oldest
}
