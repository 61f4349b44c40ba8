// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// VolumeRestrictions lets one pod at a time use a claim with access mode ReadWriteOncePod (KEP-2485).
// Only for a pod with such a claim does it look at the other pods of the cluster.
type VolumeRestrictions struct{ Volumes *Volumes }

// Name implements Plugin.
func (VolumeRestrictions) Name() string { return "VolumeRestrictions" }

// Wakes implements Plugin.
func (VolumeRestrictions) Wakes() state.Change {
	return state.NodeAdd | state.PodRemoved | state.ClaimChange
}

// Start implements Plugin.
func (r VolumeRestrictions) Start(pod *state.Pod, cluster *state.Cluster) (*Judge, *Verdict) {
	var exclusive []string
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		claim, err := r.Volumes.claims.PersistentVolumeClaims(pod.Namespace).Get(source.ClaimName)
		if err != nil {
			return nil, refuseForGood(err.Error())
		}
		if slices.Contains(claim.Spec.AccessModes, v1.ReadWriteOncePod) {
			exclusive = append(exclusive, claim.Name)
		}
	}
	if len(exclusive) == 0 || !inUse(cluster, pod.Namespace, exclusive) {
		return nil, nil
	}
	return &Judge{Filter: func(*state.Node) *Verdict {
		return refuse("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod")
	}}, nil
}

// inUse reports whether a pod on any node uses one of the claims.
func inUse(cluster *state.Cluster, namespace string, claims []string) bool {
	for _, node := range cluster.Nodes() {
		for _, pod := range node.Pods {
			if pod.Namespace != namespace {
				continue
			}
			for i := range pod.Spec.Volumes {
				source := pod.Spec.Volumes[i].PersistentVolumeClaim
				if source != nil && slices.Contains(claims, source.ClaimName) {
					return true
				}
			}
		}
	}
	return false
}
