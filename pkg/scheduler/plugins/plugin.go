// SPDX-License-Identifier: Apache-2.0

// Package plugins holds the rules by which a node is found for a pod, one file a rule. Each looks at the pod once per
// scheduling cycle (Start) and returns a Judge: closures over what it found, which are then asked about every node.
// A cycle costs nodes × plugins cheap calls; only pod affinity and topology spread look at the pods of all nodes, and
// only for pods that ask for it.
//
// Names, order, weights and the words of a refusal are those of kube-scheduler, so that events read the same.
package plugins

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// MaxScore is the best score that a plugin gives a node; the worst is 0.
const MaxScore int64 = 100

// Plugin is one rule.
type Plugin interface {
	// Name is kube-scheduler's name of the rule.
	Name() string
	// Wakes are the changes after which a pod that this rule turned away is worth another try.
	Wakes() state.Change
	// Start looks at the pod. A nil judge has nothing to say about it; a verdict turns it away from every node at once.
	Start(pod *state.Pod, cluster *state.Cluster) (*Judge, *Verdict)
}

// Judge is what a plugin has to say about one pod. Each field may be nil.
type Judge struct {
	// Only limits the search to the nodes named.
	Only sets.Set[string]
	// Filter returns why the pod cannot go to the node, nil where it can.
	Filter func(node *state.Node) *Verdict
	// Score returns for each of the nodes that passed how good it is, from 0 to MaxScore.
	Score func(nodes []*state.Node) []int64
	// Weight multiplies Score.
	Weight int64
	// Reserve sets aside what the pod will use on the node chosen, in memory; release undoes it.
	Reserve func(node *state.Node) (release func(), err error)
	// PreBind does what must be done, and waits for it, before the pod is bound to the node.
	PreBind func(ctx context.Context, node *v1.Node) error
}

// Verdict says why a pod cannot go to a node.
type Verdict struct {
	Reasons []string
	// Final is set where removing pods from the node would not help.
	Final bool
}

func refuse(reason string) *Verdict { return &Verdict{Reasons: []string{reason}} }

func refuseForGood(reason string) *Verdict { return &Verdict{Reasons: []string{reason}, Final: true} }

// List returns the rules in the order they are asked; the first that refuses a node is the one whose reason is given.
func List(volumes *Volumes) []Plugin {
	return []Plugin{
		NodeUnschedulable{},
		NodeName{},
		TaintToleration{},
		NodeAffinity{},
		NodePorts{},
		NodeResourcesFit{},
		VolumeRestrictions{Volumes: volumes},
		VolumeBinding{Volumes: volumes},
		DynamicResources{},
		PodTopologySpread{},
		InterPodAffinity{},
		NodeResourcesBalancedAllocation{},
		ImageLocality{},
	}
}

// spread scales scores so that the highest becomes MaxScore, or 0 becomes it where reverse.
func spread(scores []int64, reverse bool) []int64 {
	var highest int64
	for _, s := range scores {
		highest = max(highest, s)
	}
	for i, s := range scores {
		if highest > 0 {
			s = s * MaxScore / highest
		}
		if reverse {
			s = MaxScore - s
		}
		scores[i] = s
	}
	return scores
}
