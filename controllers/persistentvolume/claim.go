// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// Annotations by which a storage class is the default one.
const (
	annDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	annBetaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// noProvisioner is the provisioner of classes whose volumes are all made by hand.
const noProvisioner = "kubernetes.io/no-provisioner"

// claimPlan is what should happen to a claim.
type claimPlan struct {
	bind      *v1.PersistentVolume
	class     string // the default class, to be written into the claim
	provision *storagev1.StorageClass
	phase     v1.PersistentVolumeClaimPhase
	event     *event
}

type event struct{ kind, reason, message string }

// planClaim decides what should happen to a claim.
func planClaim(claim *v1.PersistentVolumeClaim, w world) (claimPlan, error) {
	switch {
	case metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted):
		return planBound(claim, w), nil
	case claim.Spec.VolumeName != "":
		return planRequested(claim, w), nil
	default:
		return planUnbound(claim, w)
	}
}

// planUnbound looks for a volume, or for who will make one.
func planUnbound(claim *v1.PersistentVolumeClaim, w world) (claimPlan, error) {
	class := w.class(volume.GetPersistentVolumeClaimClass(claim))
	waits := class != nil && ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
	candidates := slices.DeleteFunc(slices.Clone(w.volumes), func(pv *v1.PersistentVolume) bool { return !volume.CheckAccessModes(claim, pv) })
	match, err := volume.FindMatchingVolume(claim, candidates, nil, nil, waits, true)
	if err != nil {
		return claimPlan{}, err
	}
	if match != nil {
		return claimPlan{bind: match}, nil
	}
	if !volume.PersistentVolumeClaimHasClass(claim) {
		if class := w.defaultClass(); class != nil {
			return claimPlan{class: class.Name}, nil
		}
	}
	p := claimPlan{phase: v1.ClaimPending}
	name := volume.GetPersistentVolumeClaimClass(claim)
	switch {
	case waits && !volume.IsDelayBindingProvisioning(claim):
		p.event = waitingEvent(w.waiting)
	case name == "":
		p.event = &event{v1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"}
	case class == nil:
		p.event = &event{v1.EventTypeWarning, "ProvisioningFailed", fmt.Sprintf("storageclass.storage.k8s.io %q not found", name)}
	case class.Provisioner == noProvisioner:
		p.event = &event{v1.EventTypeWarning, "ProvisioningFailed", fmt.Sprintf("no volume plugin matched name: %s", class.Provisioner)}
	default:
		p.provision = class
		if class.Provisioner != LocalProvisioner {
			p.event = &event{v1.EventTypeNormal, "ExternalProvisioning", fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
				"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner)}
		}
	}
	return p, nil
}

func waitingEvent(pods []string) *event {
	switch len(pods) {
	case 0:
		return &event{v1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding"}
	case 1:
		return &event{v1.EventTypeNormal, "WaitForPodScheduled", fmt.Sprintf("waiting for pod %s to be scheduled", pods[0])}
	default:
		return &event{v1.EventTypeNormal, "WaitForPodScheduled", fmt.Sprintf("waiting for pods %s to be scheduled", strings.Join(pods, ","))}
	}
}

// planRequested deals with a claim that asks for a volume by name.
func planRequested(claim *v1.PersistentVolumeClaim, w world) claimPlan {
	pv := w.volume(claim.Spec.VolumeName)
	switch {
	case pv == nil:
		return claimPlan{phase: v1.ClaimPending}
	case pv.Spec.ClaimRef == nil:
		if err := satisfies(pv, claim); err != nil {
			return claimPlan{phase: v1.ClaimPending, event: &event{v1.EventTypeWarning, "VolumeMismatch",
				fmt.Sprintf("Cannot bind to requested volume %q: %s", pv.Name, err)}}
		}
		return claimPlan{bind: pv}
	case volume.IsVolumeBoundToClaim(pv, claim):
		return claimPlan{bind: pv}
	default:
		return claimPlan{phase: v1.ClaimPending, event: &event{v1.EventTypeWarning, "FailedBinding",
			fmt.Sprintf("volume %q already bound to a different claim.", pv.Name)}}
	}
}

// planBound checks that a claim still has the volume it was bound to.
func planBound(claim *v1.PersistentVolumeClaim, w world) claimPlan {
	lost := func(reason, message string) claimPlan {
		p := claimPlan{phase: v1.ClaimLost}
		if claim.Status.Phase != v1.ClaimLost {
			p.event = &event{v1.EventTypeWarning, reason, message}
		}
		return p
	}
	if claim.Spec.VolumeName == "" {
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	pv := w.volume(claim.Spec.VolumeName)
	switch {
	case pv == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == claim.UID:
		return claimPlan{bind: pv}
	default:
		return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	}
}

// satisfies says why a volume will not do for a claim.
func satisfies(pv *v1.PersistentVolume, claim *v1.PersistentVolumeClaim) error {
	wanted, capacity := claim.Spec.Resources.Requests[v1.ResourceStorage], pv.Spec.Capacity[v1.ResourceStorage]
	switch {
	case pv.DeletionTimestamp != nil:
		return fmt.Errorf("the volume is marked for deletion %q", pv.Name)
	case capacity.Cmp(wanted) < 0:
		return errors.New("requested PV is too small")
	case volume.GetPersistentVolumeClass(pv) != volume.GetPersistentVolumeClaimClass(claim):
		return errors.New("storageClassName does not match")
	case ptr.Deref(claim.Spec.VolumeAttributesClassName, "") != ptr.Deref(pv.Spec.VolumeAttributesClassName, ""):
		return errors.New("volumeAttributesClassName does not match")
	case volume.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec):
		return errors.New("incompatible volumeMode")
	case !volume.CheckAccessModes(claim, pv):
		return errors.New("incompatible accessMode")
	}
	return nil
}

func (w world) volume(name string) *v1.PersistentVolume {
	i := slices.IndexFunc(w.volumes, func(pv *v1.PersistentVolume) bool { return pv.Name == name })
	if i < 0 {
		return nil
	}
	return w.volumes[i]
}

func (w world) class(name string) *storagev1.StorageClass {
	i := slices.IndexFunc(w.classes, func(c *storagev1.StorageClass) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return w.classes[i]
}

// defaultClass is the youngest class that is marked as default; by name where two are as young.
func (w world) defaultClass() (best *storagev1.StorageClass) {
	for _, c := range w.classes {
		if c.Annotations[annDefaultClass] != "true" && c.Annotations[annBetaDefaultClass] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) ||
			(best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name) {
			best = c
		}
	}
	return best
}
