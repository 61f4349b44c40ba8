// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/hivemind-project/hivemind/pkg/scheduler/plugins"
	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// cycle is the search of a node for one pod. It reads the cluster and changes nothing.
type cycle struct {
	pod     *state.Pod
	cluster *state.Cluster
	plugins []plugins.Plugin
	judges  []judge
}

// judge is what one plugin says, with the plugin's standing.
type judge struct {
	plugins.Plugin
	*plugins.Judge
}

// misfit is why no node will do.
type misfit struct {
	everywhere string                      // the refusal of all nodes at once, where there was one
	final      bool                        // of everywhere: no room made will help
	nodes      map[string]*plugins.Verdict // those that were asked
	absent     string                      // what is said of nodes that were not asked
	total      int
	waitsFor   state.Change
}

// newCycle asks every plugin to look at the pod. A misfit says that one of them refuses it everywhere.
func newCycle(pod *state.Pod, cluster *state.Cluster, list []plugins.Plugin) (*cycle, *misfit) {
	c := &cycle{pod: pod, cluster: cluster, plugins: list}
	for _, plugin := range list {
		j, verdict := plugin.Start(pod, cluster)
		if verdict != nil {
			return nil, &misfit{
				everywhere: strings.Join(verdict.Reasons, ", "), final: verdict.Final,
				total: len(cluster.Nodes()), waitsFor: plugin.Wakes(),
			}
		}
		if j != nil {
			c.judges = append(c.judges, judge{plugin, j})
		}
	}
	return c, nil
}

// feasible returns nodes that the pod fits, enough of them to choose well from, beginning the search at index from; it also returns
// how many it has asked. The misfit holds the refusals.
func (c *cycle) feasible(from int) (fit []*state.Node, asked int, _ *misfit) {
	all := c.cluster.Nodes()
	m := &misfit{nodes: map[string]*plugins.Verdict{}, total: len(all)}
	only, by := c.only()
	if only != nil {
		m.absent = fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", by)
		for _, j := range c.judges {
			if j.Only != nil {
				m.waitsFor |= j.Wakes()
			}
		}
	}
	if name := c.pod.Status.NominatedNodeName; name != "" {
		if node := c.cluster.Node(name); node != nil && (only == nil || only.Has(name)) {
			if verdict, _ := c.judge(node); verdict == nil {
				return []*state.Node{node}, 1, m
			}
		}
	}
	enough := enoughNodes(len(all))
	for i := range all {
		node := all[(from+i)%len(all)]
		asked++
		if only != nil && !only.Has(node.Name) {
			continue
		}
		verdict, wakes := c.judge(node)
		if verdict != nil {
			m.nodes[node.Name] = verdict
			m.waitsFor |= wakes
			continue
		}
		if fit = append(fit, node); len(fit) >= enough {
			break
		}
	}
	return fit, asked, m
}

// only intersects what the judges limit the search to, and names those that do; nil means all nodes.
func (c *cycle) only() (names sets.Set[string], by []string) {
	for _, j := range c.judges {
		if j.Only == nil {
			continue
		}
		by = append(by, j.Name())
		if names == nil {
			names = j.Only
		} else {
			names = names.Intersection(j.Only)
		}
	}
	slices.Sort(by)
	return names, by
}

// judge asks whether the pod fits a node: as it is, and also if pods of no lower priority that it is promised to were there.
func (c *cycle) judge(node *state.Node) (*plugins.Verdict, state.Change) {
	var promised *state.Node
	for _, other := range c.cluster.Nominated(node.Name) {
		if other.UID == c.pod.UID || other.Priority() < c.pod.Priority() {
			continue
		}
		if promised == nil {
			promised = node.Clone()
		}
		promised.Add(other)
	}
	if promised != nil {
		if verdict, wakes := c.judgeAs(promised); verdict != nil {
			return verdict, wakes
		}
	}
	return c.filter(node)
}

// judgeAs asks whether the pod would fit if node were as given.
func (c *cycle) judgeAs(node *state.Node) (*plugins.Verdict, state.Change) {
	supposed, m := newCycle(c.pod, c.cluster.With(node), c.plugins)
	if m != nil {
		return &plugins.Verdict{Reasons: []string{m.everywhere}, Final: m.final}, m.waitsFor
	}
	return supposed.filter(node)
}

func (c *cycle) filter(node *state.Node) (*plugins.Verdict, state.Change) {
	for _, j := range c.judges {
		if j.Filter == nil {
			continue
		}
		if verdict := j.Filter(node); verdict != nil {
			return verdict, j.Wakes()
		}
	}
	return nil, 0
}

// best returns the node with the highest sum of weighted scores; pick chooses among so many that are equally good.
func (c *cycle) best(nodes []*state.Node, pick func(n int) int) *state.Node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	sums := make([]int64, len(nodes))
	for _, j := range c.judges {
		if j.Score == nil {
			continue
		}
		for i, score := range j.Score(nodes) {
			sums[i] += score * j.Weight
		}
	}
	highest := slices.Max(sums)
	var top []*state.Node
	for i, sum := range sums {
		if sum == highest {
			top = append(top, nodes[i])
		}
	}
	return top[pick(len(top))]
}

// enoughNodes is how many fitting nodes are looked for among total: all of a hundred, a falling share of more.
func enoughNodes(total int) int {
	const atLeast = 100
	if total <= atLeast {
		return total
	}
	return max(atLeast, total*max(5, 50-total/125)/100)
}

// message tells the refusals in kube-scheduler's words, each reason with the number of nodes it holds for.
func (m *misfit) message() string {
	var b strings.Builder
	fmt.Fprintf(&b, "0/%d nodes are available:", m.total)
	if m.everywhere != "" {
		fmt.Fprintf(&b, " %s.", m.everywhere)
		return b.String()
	}
	counts := map[string]int{}
	for _, verdict := range m.nodes {
		for _, reason := range verdict.Reasons {
			counts[reason]++
		}
	}
	if rest := m.total - len(m.nodes); rest > 0 && m.absent != "" {
		counts[m.absent] += rest
	}
	lines := make([]string, 0, len(counts))
	for reason, n := range counts {
		lines = append(lines, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(lines)
	if len(lines) > 0 {
		fmt.Fprintf(&b, " %s.", strings.Join(lines, ", "))
	}
	return b.String()
}
