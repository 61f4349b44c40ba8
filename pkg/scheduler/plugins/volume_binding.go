// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// noProvisioner is the provisioner of classes whose volumes are all made by hand.
const noProvisioner = "kubernetes.io/no-provisioner"

// VolumeBinding sends a pod where its volumes can be reached: bound claims by the node affinity of their volumes, unbound
// claims of classes that wait for the first consumer to nodes where a volume matches or can be provisioned. It then has
// them bound, and the pod waits for that. Its cost grows with the pod's unbound claims × the volumes of their class.
type VolumeBinding struct{ Volumes *Volumes }

// Name implements Plugin.
func (VolumeBinding) Name() string { return "VolumeBinding" }

// Wakes implements Plugin.
func (VolumeBinding) Wakes() state.Change {
	return state.NodeAdd | state.NodeLabels | state.ClaimChange | state.VolumeChange | state.ClassChange
}

// plan is what has to happen to claims before a pod can run on a node.
type plan struct {
	bind      []binding
	provision []*v1.PersistentVolumeClaim
}

type binding struct {
	volume *v1.PersistentVolume
	claim  *v1.PersistentVolumeClaim
}

func (p *plan) claims() []*v1.PersistentVolumeClaim {
	out := slices.Clone(p.provision)
	for _, b := range p.bind {
		out = append(out, b.claim)
	}
	return out
}

func (p *plan) provisions(claim *v1.PersistentVolumeClaim) bool {
	return slices.Contains(p.provision, claim)
}

// Start implements Plugin.
func (b VolumeBinding) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	claims, err := b.Volumes.claimsOf(pod.Pod)
	if err != nil {
		return nil, refuseForGood(err.Error())
	}
	if len(claims) == 0 {
		return nil, nil
	}
	var bound, unbound []*v1.PersistentVolumeClaim
	for _, claim := range claims {
		if fullyBound(claim) {
			bound = append(bound, claim)
			continue
		}
		waits, err := volume.IsDelayBindingMode(claim, b.Volumes.classes)
		if err != nil {
			return nil, refuseForGood(err.Error())
		}
		if !waits || claim.Spec.VolumeName != "" {
			return nil, refuseForGood("pod has unbound immediate PersistentVolumeClaims")
		}
		unbound = append(unbound, claim)
	}
	// The smallest claim takes the smallest volume that will do.
	slices.SortStableFunc(unbound, func(a, c *v1.PersistentVolumeClaim) int { return cmp.Compare(requested(a), requested(c)) })

	plans := map[string]*plan{}
	judge := &Judge{Filter: func(node *state.Node) *Verdict {
		p, verdict := b.Volumes.planFor(node.Node, bound, unbound)
		if verdict == nil {
			plans[node.Name] = p
		}
		return verdict
	}}
	if len(unbound) > 0 {
		judge.Reserve = func(node *state.Node) (func(), error) { return b.Volumes.reserve(plans[node.Name], node.Name), nil }
		judge.PreBind = func(ctx context.Context, node *v1.Node) error {
			return b.Volumes.carryOut(ctx, plans[node.Name], node)
		}
	}
	return judge, nil
}

// claimsOf returns the claims of a pod, or why it cannot run on any node yet.
func (s *Volumes) claimsOf(pod *v1.Pod) ([]*v1.PersistentVolumeClaim, error) {
	var claims []*v1.PersistentVolumeClaim
	for i := range pod.Spec.Volumes {
		source := &pod.Spec.Volumes[i]
		var name string
		switch {
		case source.PersistentVolumeClaim != nil:
			name = source.PersistentVolumeClaim.ClaimName
		case source.Ephemeral != nil:
			name = ephemeral.VolumeClaimName(pod, source)
		default:
			continue
		}
		claim, err := s.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if err != nil {
			if source.Ephemeral != nil && apierrors.IsNotFound(err) {
				err = fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
			}
			return nil, err
		}
		if claim.Status.Phase == v1.ClaimLost {
			return nil, fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", claim.Name, claim.Spec.VolumeName)
		}
		if claim.DeletionTimestamp != nil {
			return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", claim.Name)
		}
		if source.Ephemeral != nil {
			if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
				return nil, err
			}
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// planFor says what has to happen for a pod with these claims to run on node, or why it cannot.
func (s *Volumes) planFor(node *v1.Node, bound, unbound []*v1.PersistentVolumeClaim) (*plan, *Verdict) {
	for _, claim := range bound {
		pv, err := s.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return nil, refuseForGood("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
		}
		if volume.CheckNodeAffinity(pv, node.Labels) != nil {
			return nil, refuseForGood("node(s) didn't match PersistentVolume's node affinity")
		}
	}
	const noVolume = "node(s) didn't find available persistent volumes to bind"
	p := &plan{}
	chosen := map[string]*v1.PersistentVolume{}
	for _, claim := range unbound {
		if selected := s.selectedNode(claim); selected != "" {
			if selected != node.Name {
				return nil, refuseForGood(noVolume)
			}
			p.provision = append(p.provision, claim)
			continue
		}
		class := volume.GetPersistentVolumeClaimClass(claim)
		candidates, err := s.list(class)
		if err != nil {
			return nil, refuseForGood(err.Error())
		}
		match, err := volume.FindMatchingVolume(claim, candidates, node, chosen, true, true)
		if err != nil {
			return nil, refuseForGood(err.Error())
		}
		if match != nil {
			chosen[match.Name] = match
			p.bind = append(p.bind, binding{volume: match, claim: claim})
			continue
		}
		if !s.provisionable(class, node) {
			return nil, refuseForGood(noVolume)
		}
		p.provision = append(p.provision, claim)
	}
	return p, nil
}

// provisionable reports whether volumes of the class can be made for a node.
func (s *Volumes) provisionable(name string, node *v1.Node) bool {
	class, err := s.classes.Get(name)
	if err != nil || class.Provisioner == "" || class.Provisioner == noProvisioner {
		return false
	}
	for _, term := range class.AllowedTopologies {
		if topologyMatches(term, node.Labels) {
			return true
		}
	}
	return len(class.AllowedTopologies) == 0
}

func topologyMatches(term v1.TopologySelectorTerm, labels map[string]string) bool {
	for _, e := range term.MatchLabelExpressions {
		if value, ok := labels[e.Key]; !ok || !slices.Contains(e.Values, value) {
			return false
		}
	}
	return len(term.MatchLabelExpressions) > 0
}

func requested(claim *v1.PersistentVolumeClaim) int64 {
	quantity := claim.Spec.Resources.Requests[v1.ResourceStorage]
	return quantity.Value()
}
