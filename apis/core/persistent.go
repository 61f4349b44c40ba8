// SPDX-License-Identifier: Apache-2.0

// This file holds what PersistentVolumes are: cluster-wide storage of one of many sources, immutable in its source once
// made.

package core

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PreparePersistentVolumeForCreate makes a volume pending as of now.
func PreparePersistentVolumeForCreate(pv *corev1.PersistentVolume) {
	now := metav1.Now()
	pv.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
}

// PreparePersistentVolumeForStatusUpdate notes when the phase changed (KEP-3762).
func PreparePersistentVolumeForStatusUpdate(pv, before *corev1.PersistentVolume) {
	now, older := &pv.Status, &before.Status
	switch changed := now.Phase != older.Phase; {
	case !changed && now.LastPhaseTransitionTime == nil:
		now.LastPhaseTransitionTime = older.LastPhaseTransitionTime
	case changed && (now.LastPhaseTransitionTime == nil || now.LastPhaseTransitionTime.Equal(older.LastPhaseTransitionTime)):
		t := metav1.Now()
		now.LastPhaseTransitionTime = &t
	}
}

// ValidatePersistentVolume checks a new PersistentVolume.
func ValidatePersistentVolume(pv *corev1.PersistentVolume) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&pv.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validatePersistentVolumeSpec(field.NewPath("spec"), &pv.Spec, pv.Name))
	l.Add(validateMountOptions(pv))
	return l.Errors()
}

// ValidatePersistentVolumeUpdate checks an update of a PersistentVolume.
func ValidatePersistentVolumeUpdate(pv, before *corev1.PersistentVolume) field.ErrorList {
	var l check.List
	l.Add(ValidatePersistentVolume(pv))
	p := field.NewPath("spec")
	source := pv.Spec.PersistentVolumeSource
	if now, older := source.CSI, before.Spec.CSI; now != nil && older != nil && older.ControllerExpandSecretRef == nil && now.ControllerExpandSecretRef != nil {
		source.CSI = now.DeepCopy()
		source.CSI.ControllerExpandSecretRef = nil
	}
	if !equality.Semantic.DeepEqual(source, before.Spec.PersistentVolumeSource) {
		l.Forbidden(p.Child("persistentvolumesource"), fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v",
			check.Difference(before.Spec.PersistentVolumeSource, source)))
	}
	l.Add(check.Immutable(field.NewPath("volumeMode"), pv.Spec.VolumeMode, before.Spec.VolumeMode))
	if before.Spec.NodeAffinity != nil && !equality.Semantic.DeepEqual(withStableLabels(before.Spec.NodeAffinity, pv.Spec.NodeAffinity), pv.Spec.NodeAffinity) {
		l.Invalid(field.NewPath("nodeAffinity"), pv.Spec.NodeAffinity, apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA")
	}
	if before.Spec.VolumeAttributesClassName != nil && pv.Spec.VolumeAttributesClassName == nil {
		l.Forbidden(p.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return l.Errors()
}

// ValidatePersistentVolumeStatusUpdate checks an update of a PersistentVolume's status.
func ValidatePersistentVolumeStatusUpdate(pv, before *corev1.PersistentVolume) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&pv.ObjectMeta, &before.ObjectMeta))
	if pv.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	return l.Errors()
}

// withStableLabels returns a copy of affinity in which beta label keys are replaced by their stable successors where
// target has those at the same place.
func withStableLabels(affinity, target *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	stable := map[string]string{
		corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
		corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		"beta.kubernetes.io/os":             corev1.LabelOSStable,
		"beta.kubernetes.io/arch":           corev1.LabelArchStable,
		corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
	}
	affinity = affinity.DeepCopy()
	if affinity.Required == nil || target == nil || target.Required == nil {
		return affinity
	}
	for i, term := range affinity.Required.NodeSelectorTerms {
		for j := range term.MatchExpressions {
			if i >= len(target.Required.NodeSelectorTerms) || j >= len(target.Required.NodeSelectorTerms[i].MatchExpressions) {
				continue
			}
			now := target.Required.NodeSelectorTerms[i].MatchExpressions[j].Key
			if key := &term.MatchExpressions[j].Key; *key != now && stable[*key] == now {
				*key = now
			}
		}
	}
	return affinity
}

// ValidateInlineVolume checks the volume that a VolumeAttachment carries in itself: a CSI volume of a pod of before
// migration, which has no PersistentVolume.
func ValidateInlineVolume(p *field.Path, spec *corev1.PersistentVolumeSpec) field.ErrorList {
	var l check.List
	const why = "may not be specified in the context of inline volumes"
	if spec.ClaimRef != nil {
		l.Forbidden(p.Child("claimRef"), why)
	}
	if len(spec.Capacity) > 0 {
		l.Forbidden(p.Child("capacity"), why)
	}
	if spec.CSI == nil {
		l.Required(p.Child("csi"), "has to be specified in the context of inline volumes")
	}
	l.Add(validateAccessModes(p.Child("accessModes"), spec.AccessModes))
	if policy := spec.PersistentVolumeReclaimPolicy; policy != "" && policy != corev1.PersistentVolumeReclaimRetain {
		l.Forbidden(p.Child("persistentVolumeReclaimPolicy"),
			"may only be "+string(corev1.PersistentVolumeReclaimRetain)+" in the context of inline volumes")
	}
	if spec.NodeAffinity != nil {
		l.Forbidden(p.Child("nodeAffinity"), why)
	}
	l.Add(validatePersistentSource(p, spec, "", false))
	if spec.StorageClassName != "" {
		l.Forbidden(p.Child("storageClassName"), why)
	}
	if mode := spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		l.Forbidden(p.Child("volumeMode"),
			"may not specify volumeMode other than "+string(corev1.PersistentVolumeFilesystem)+" in the context of inline volumes")
	}
	return l.Errors()
}

func validatePersistentVolumeSpec(p *field.Path, spec *corev1.PersistentVolumeSpec, name string) field.ErrorList {
	var l check.List
	l.Add(validateAccessModes(p.Child("accessModes"), spec.AccessModes))
	capacity := p.Child("capacity")
	if len(spec.Capacity) == 0 {
		l.Required(capacity, "")
	}
	if _, ok := spec.Capacity[corev1.ResourceStorage]; !ok || len(spec.Capacity) > 1 {
		l.Add(check.NotSupported(capacity, spec.Capacity, corev1.ResourceStorage))
	}
	for _, name := range sortedNames(spec.Capacity) {
		quantity := spec.Capacity[name]
		l.Add(validateBasicQuantity(capacity.Key(string(name)), quantity))
		l.Add(check.PositiveQuantity(capacity.Key(string(name)), quantity))
	}
	if policy := spec.PersistentVolumeReclaimPolicy; policy != "" {
		l.Add(check.OneOf(p.Child("persistentVolumeReclaimPolicy"), policy,
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain))
	}
	if spec.NodeAffinity != nil {
		at := p.Child("nodeAffinity", "required")
		if spec.NodeAffinity.Required == nil {
			l.Required(at, "must specify required node constraints")
		} else {
			l.Add(ValidateNodeSelector(at, spec.NodeAffinity.Required))
		}
	}
	l.Add(validatePersistentSource(p, spec, name, spec.NodeAffinity != nil))
	if spec.HostPath != nil && path.Clean(spec.HostPath.Path) == "/" && spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		l.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if class := spec.StorageClassName; class != "" {
		l.Each(p.Child("storageClassName"), class, apivalidation.NameIsDNSSubdomain(class, false))
	}
	l.Add(validateVolumeMode(p.Child("volumeMode"), spec.VolumeMode))
	if class := spec.VolumeAttributesClassName; class != nil {
		at := p.Child("volumeAttributesClassName")
		if *class == "" {
			l.Required(at, "an empty string is disallowed")
		} else {
			l.Each(at, *class, apivalidation.NameIsDNSSubdomain(*class, false))
		}
		if spec.CSI == nil {
			l.Required(p.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	return l.Errors()
}

// validatePersistentSource checks that there is one source, and that source.
func validatePersistentSource(p *field.Path, spec *corev1.PersistentVolumeSpec, name string, hasAffinity bool) field.ErrorList {
	one := oneSource{path: p}
	if p, ok := one.first("hostPath", spec.HostPath != nil); ok {
		one.Add(validateHostPath(p, spec.HostPath))
	}
	validateDiskSources(&one, spec.GCEPersistentDisk, spec.AWSElasticBlockStore, spec.AzureDisk, spec.VsphereVolume, spec.PhotonPersistentDisk, spec.PortworxVolume)
	validateNetworkSources(&one, spec.NFS, spec.Quobyte, spec.Flocker, spec.FC)
	validateLegacyPersistentSources(&one, spec, name)
	if at, ok := one.first("local", spec.Local != nil); ok {
		if spec.Local.Path == "" {
			one.Required(at.Child("path"), "")
		} else {
			one.Add(validateNoBacksteps(at.Child("path"), spec.Local.Path))
		}
		if !hasAffinity {
			one.Required(p.Child("nodeAffinity"), "Local volume requires node affinity")
		}
	}
	if p, ok := one.first("csi", spec.CSI != nil); ok {
		one.Add(validatePersistentCSI(p, spec.CSI))
	}
	return one.done()
}

func validatePersistentCSI(p *field.Path, csi *corev1.CSIPersistentVolumeSource) field.ErrorList {
	var l check.List
	l.Add(ValidateCSIDriverName(p.Child("driver"), csi.Driver))
	if csi.VolumeHandle == "" {
		l.Required(p.Child("volumeHandle"), "")
	}
	for _, ref := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", csi.ControllerPublishSecretRef},
		{"controllerExpandSecretRef", csi.ControllerExpandSecretRef},
		{"nodePublishSecretRef", csi.NodePublishSecretRef},
		{"nodeExpandSecretRef", csi.NodeExpandSecretRef},
	} {
		if ref.ref == nil {
			continue
		}
		p := p.Child(ref.name)
		if ref.ref.Name == "" {
			l.Required(p.Child("name"), "")
		} else {
			l.Add(check.DNSSubdomain(p.Child("name"), ref.ref.Name))
		}
		if ref.ref.Namespace == "" {
			l.Required(p.Child("namespace"), "")
		} else {
			l.Add(check.DNSLabel(p.Child("namespace"), ref.ref.Namespace))
		}
	}
	return l.Errors()
}

// validateLegacyPersistentSources checks the older networked sources in their persistent form.
func validateLegacyPersistentSources(one *oneSource, spec *corev1.PersistentVolumeSpec, name string) {
	if p, ok := one.first("glusterfs", spec.Glusterfs != nil); ok {
		one.need(p, "endpoints", spec.Glusterfs.EndpointsName)
		one.need(p, "path", spec.Glusterfs.Path)
		if namespace := spec.Glusterfs.EndpointsNamespace; namespace != nil {
			if *namespace == "" {
				one.Invalid(p.Child("endpointsNamespace"), *namespace, "if the endpointnamespace is set, it must be a valid namespace name")
			} else {
				one.Each(p.Child("endpointsNamespace"), *namespace, apivalidation.ValidateNamespaceName(*namespace, false))
			}
		}
	}
	if p, ok := one.first("rbd", spec.RBD != nil); ok {
		one.needMonitors(p, spec.RBD.CephMonitors)
		one.need(p, "image", spec.RBD.RBDImage)
	}
	if _, ok := one.first("cephFS", spec.CephFS != nil); ok {
		one.needMonitors(one.path.Child("cephfs"), spec.CephFS.Monitors)
	}
	if p, ok := one.first("iscsi", spec.ISCSI != nil); ok {
		s := spec.ISCSI
		if s.InitiatorName != nil && len(name+":"+s.TargetPortal) > 64 {
			one.Invalid(p.Child("targetportal"), s.TargetPortal, iscsiTooLong)
		}
		one.Add(validateISCSI(p, iscsi{s.TargetPortal, s.IQN, s.Lun, s.DiscoveryCHAPAuth || s.SessionCHAPAuth, s.SecretRef != nil, s.InitiatorName}, "must be valid format"))
		if s.SecretRef != nil {
			one.need(p.Child("secretRef"), "name", s.SecretRef.Name)
		}
	}
	if p, ok := one.first("cinder", spec.Cinder != nil); ok {
		one.need(p, "volumeID", spec.Cinder.VolumeID)
		if ref := spec.Cinder.SecretRef; ref != nil {
			one.needSecret(p.Child("secretRef"), ref.Name, ref.Namespace)
		}
	}
	if p, ok := one.first("flexVolume", spec.FlexVolume != nil); ok {
		one.Add(validateFlex(p, spec.FlexVolume.Driver, spec.FlexVolume.Options))
	}
	if p, ok := one.first("azureFile", spec.AzureFile != nil); ok {
		one.need(p, "secretName", spec.AzureFile.SecretName)
		one.need(p, "shareName", spec.AzureFile.ShareName)
		if namespace := spec.AzureFile.SecretNamespace; namespace != nil {
			one.need(p, "secretNamespace", *namespace)
		}
	}
	if p, ok := one.first("scaleIO", spec.ScaleIO != nil); ok {
		one.need(p, "gateway", spec.ScaleIO.Gateway)
		one.need(p, "system", spec.ScaleIO.System)
		one.need(p, "volumeName", spec.ScaleIO.VolumeName)
	}
	if p, ok := one.first("storageos", spec.StorageOS != nil); ok {
		one.Add(validateStorageOS(p, spec.StorageOS.VolumeName, spec.StorageOS.VolumeNamespace))
		if ref := spec.StorageOS.SecretRef; ref != nil {
			one.needSecret(p.Child("secretRef"), ref.Name, ref.Namespace)
		}
	}
}

// validateMountOptions lets mount options be given by annotation for those sources alone that a filesystem is mounted
// from over the network.
func validateMountOptions(pv *corev1.PersistentVolume) field.ErrorList {
	s := &pv.Spec
	mountable := s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil ||
		s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil || s.VsphereVolume != nil ||
		s.AzureDisk != nil || s.PhotonPersistentDisk != nil
	if _, ok := pv.Annotations[corev1.MountOptionAnnotation]; !ok || mountable {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation),
		"may not specify mount options for this volume type")}
}
