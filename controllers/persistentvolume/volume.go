// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

// volumePlan is what should happen to a volume.
type volumePlan struct {
	phase      v1.PersistentVolumePhase
	unbind     bool   // from a claim that has another volume
	syncClaim  bool   // its claim does not know yet
	event      *event // about the volume, once per phase
	claimEvent *event
}

// planVolume decides what should happen to a volume; claim is the one that it is bound to, nil where that is gone.
func planVolume(pv *v1.PersistentVolume, claim *v1.PersistentVolumeClaim) volumePlan {
	ref := pv.Spec.ClaimRef
	switch {
	case ref == nil || ref.UID == "":
		return volumePlan{phase: v1.VolumeAvailable}
	case claim == nil:
		return released(pv)
	case claim.Spec.VolumeName == "" && volume.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec):
		return volumePlan{
			event:      &event{v1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name)},
			claimEvent: &event{v1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", pv.Name)},
		}
	case claim.Spec.VolumeName == "":
		return volumePlan{syncClaim: true}
	case claim.Spec.VolumeName == pv.Name:
		return volumePlan{phase: v1.VolumeBound}
	case metav1.HasAnnotation(pv.ObjectMeta, volume.AnnDynamicallyProvisioned) && pv.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete:
		return released(pv) // made for a claim that has found another
	default:
		return volumePlan{unbind: true, phase: v1.VolumeAvailable}
	}
}

// released says what becomes of a volume that nobody claims any more. Those to be deleted are left to who made them: an external
// provisioner, or for local ones the agent of their node, where the data is. A volume that failed stays so, for people to see.
func released(pv *v1.PersistentVolume) volumePlan {
	if pv.Status.Phase == v1.VolumeFailed {
		return volumePlan{}
	}
	failed := func(reason, message string) volumePlan {
		return volumePlan{phase: v1.VolumeFailed, event: &event{v1.EventTypeWarning, reason, message}}
	}
	switch pv.Spec.PersistentVolumeReclaimPolicy {
	case v1.PersistentVolumeReclaimRecycle:
		return failed("VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case v1.PersistentVolumeReclaimDelete:
		if pv.Annotations[volume.AnnDynamicallyProvisioned] == "" && pv.Spec.CSI == nil {
			return failed("VolumeFailedDelete", fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name))
		}
	}
	return volumePlan{phase: v1.VolumeReleased}
}
