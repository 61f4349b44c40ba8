// SPDX-License-Identifier: Apache-2.0

package nodelifecycle

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/node/topology"
)

// owned are the NoSchedule taints that repeat conditions.
func owned() []string {
	return []string{v1.TaintNodeNotReady, v1.TaintNodeUnreachable, v1.TaintNodeMemoryPressure, v1.TaintNodeDiskPressure,
		v1.TaintNodePIDPressure, v1.TaintNodeNetworkUnavailable, v1.TaintNodeUnschedulable}
}

// wanted are the keys of the taints that the node's state calls for.
func wanted(node *v1.Node) []string {
	var keys []string
	for _, c := range node.Status.Conditions {
		switch {
		case c.Type == v1.NodeReady && c.Status == v1.ConditionFalse:
			keys = append(keys, v1.TaintNodeNotReady)
		case c.Type == v1.NodeReady && c.Status == v1.ConditionUnknown:
			keys = append(keys, v1.TaintNodeUnreachable)
		case c.Status != v1.ConditionTrue:
		case c.Type == v1.NodeMemoryPressure:
			keys = append(keys, v1.TaintNodeMemoryPressure)
		case c.Type == v1.NodeDiskPressure:
			keys = append(keys, v1.TaintNodeDiskPressure)
		case c.Type == v1.NodePIDPressure:
			keys = append(keys, v1.TaintNodePIDPressure)
		case c.Type == v1.NodeNetworkUnavailable:
			keys = append(keys, v1.TaintNodeNetworkUnavailable)
		}
	}
	if node.Spec.Unschedulable {
		keys = append(keys, v1.TaintNodeUnschedulable)
	}
	return keys
}

// disruption says how far the trouble of a node is that of others too, and what follows for evictions.
type disruption int

const (
	healthy disruption = iota
	partial            // most nodes of its zone are in trouble: nobody else is evicted
	full               // all nodes are: it is we who are cut off, and nobody is evicted
)

// disrupted judges the company of a node. In a zone with three or more nodes in trouble, if they are more than 55 %, no further evictions
// begin; where no node at all is ready there are none.
func disrupted(node *v1.Node, all []*v1.Node) disruption {
	zone := topology.GetZoneKey(node)
	ready, total, down := 0, 0, 0
	for _, n := range all {
		ok := readiness(n) == v1.ConditionTrue
		if ok {
			ready++
		}
		if topology.GetZoneKey(n) != zone {
			continue
		}
		if total++; !ok {
			down++
		}
	}
	switch {
	case ready == 0:
		return full
	case down > 2 && float64(down) >= 0.55*float64(total):
		return partial
	}
	return healthy
}

// taintsFor returns the taints that a node should have, nil where it has them. NoSchedule taints follow its conditions; a NoExecute taint, which
// evicts, is put on a node in trouble only where others are well.
func taintsFor(node *v1.Node, company disruption, now metav1.Time) []v1.Taint {
	keys := wanted(node)
	evicting := func(key string) bool { return key == v1.TaintNodeNotReady || key == v1.TaintNodeUnreachable }
	taints := make([]v1.Taint, 0, len(node.Spec.Taints)+1)
	changed := false
	for _, t := range node.Spec.Taints {
		stale := !slices.Contains(keys, t.Key)
		switch {
		case t.Effect == v1.TaintEffectNoSchedule && slices.Contains(owned(), t.Key) && stale,
			t.Effect == v1.TaintEffectNoExecute && evicting(t.Key) && (stale || company == full):
			changed = true
		default:
			taints = append(taints, t)
		}
	}
	add := func(key string, effect v1.TaintEffect) {
		if !slices.ContainsFunc(taints, func(t v1.Taint) bool { return t.Key == key && t.Effect == effect }) {
			taints = append(taints, v1.Taint{Key: key, Effect: effect, TimeAdded: &now})
			changed = true
		}
	}
	for _, key := range keys {
		add(key, v1.TaintEffectNoSchedule)
		if evicting(key) && company == healthy {
			add(key, v1.TaintEffectNoExecute)
		}
	}
	if !changed {
		return nil
	}
	return taints
}
