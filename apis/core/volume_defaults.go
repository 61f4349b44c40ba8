// SPDX-License-Identifier: Apache-2.0

// This file holds the defaults of volumes: those of pods, persistent ones, and claims. Sources that pods and persistent
// volumes share are defaulted by one function each.

package core

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// serviceAccountTokenSeconds is how long a projected token is valid unless it says otherwise.
const serviceAccountTokenSeconds int64 = 60 * 60

// SetDefaultsPersistentVolume fills in what a PersistentVolume leaves open.
func SetDefaultsPersistentVolume(pv *corev1.PersistentVolume) {
	setIfEmpty(&pv.Status.Phase, corev1.VolumePending)
	setIfEmpty(&pv.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	SetDefaultsPersistentVolumeSpec(&pv.Spec)
	setIfNil(&pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

// SetDefaultsPersistentVolumeSpec fills in what a volume source leaves open, in a PersistentVolume or inline in a
// VolumeAttachment.
func SetDefaultsPersistentVolumeSpec(spec *corev1.PersistentVolumeSpec) {
	roundUp(spec.Capacity)
	setDefaultsHostPath(spec.HostPath)
	setDefaultsAzureDisk(spec.AzureDisk)
	if rbd := spec.RBD; rbd != nil {
		setDefaultsRBD(&rbd.RBDPool, &rbd.RadosUser, &rbd.Keyring)
	}
	if spec.ISCSI != nil {
		setIfEmpty(&spec.ISCSI.ISCSIInterface, "default")
	}
	if sio := spec.ScaleIO; sio != nil {
		setDefaultsScaleIO(&sio.StorageMode, &sio.FSType)
	}
}

// SetDefaultsPersistentVolumeClaim fills in what a PersistentVolumeClaim leaves open.
func SetDefaultsPersistentVolumeClaim(pvc *corev1.PersistentVolumeClaim) {
	setIfEmpty(&pvc.Status.Phase, corev1.ClaimPending)
	setDefaultsClaimSpec(&pvc.Spec)
	roundUp(pvc.Status.Capacity)
	roundUp(pvc.Status.AllocatedResources)
}

func setDefaultsClaimSpec(spec *corev1.PersistentVolumeClaimSpec) {
	setIfNil(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(spec.Resources.Limits)
	roundUp(spec.Resources.Requests)
}

func setDefaultsVolume(v *corev1.Volume) {
	if reflect.ValueOf(v.VolumeSource).IsZero() {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	setDefaultsHostPath(v.HostPath)
	setDefaultsAzureDisk(v.AzureDisk)
	if v.Image != nil {
		setIfEmpty(&v.Image.PullPolicy, defaultPullPolicy(v.Image.Reference))
	}
	if v.Secret != nil {
		setIfNil(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if v.ConfigMap != nil {
		setIfNil(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if v.DownwardAPI != nil {
		setIfNil(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		setDefaultsDownwardFiles(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		setDefaultsProjected(v.Projected)
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		setDefaultsClaimSpec(&v.Ephemeral.VolumeClaimTemplate.Spec)
	}
	if v.ISCSI != nil {
		setIfEmpty(&v.ISCSI.ISCSIInterface, "default")
	}
	if rbd := v.RBD; rbd != nil {
		setDefaultsRBD(&rbd.RBDPool, &rbd.RadosUser, &rbd.Keyring)
	}
	if sio := v.ScaleIO; sio != nil {
		setDefaultsScaleIO(&sio.StorageMode, &sio.FSType)
	}
}

func setDefaultsProjected(projected *corev1.ProjectedVolumeSource) {
	setIfNil(&projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range projected.Sources {
		source := &projected.Sources[i]
		if source.DownwardAPI != nil {
			setDefaultsDownwardFiles(source.DownwardAPI.Items)
		}
		if source.ServiceAccountToken != nil {
			setIfNil(&source.ServiceAccountToken.ExpirationSeconds, serviceAccountTokenSeconds)
		}
	}
}

func setDefaultsDownwardFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		setDefaultsFieldRef(files[i].FieldRef)
	}
}

func setDefaultsHostPath(source *corev1.HostPathVolumeSource) {
	if source != nil {
		setIfNil(&source.Type, corev1.HostPathUnset)
	}
}

func setDefaultsAzureDisk(source *corev1.AzureDiskVolumeSource) {
	if source == nil {
		return
	}
	setIfNil(&source.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	setIfNil(&source.FSType, "ext4")
	setIfNil(&source.ReadOnly, false)
	setIfNil(&source.Kind, corev1.AzureSharedBlobDisk)
}

func setDefaultsRBD(pool, user, keyring *string) {
	setIfEmpty(pool, "rbd")
	setIfEmpty(user, "admin")
	setIfEmpty(keyring, "/etc/ceph/keyring")
}

func setDefaultsScaleIO(mode, fsType *string) {
	setIfEmpty(mode, "ThinProvisioned")
	setIfEmpty(fsType, "xfs")
}
