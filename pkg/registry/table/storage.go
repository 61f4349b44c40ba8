// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forStorage knows volumes, claims and the group storage.k8s.io.
func forStorage(kind schema.GroupKind) rest.TableConvertor {
	switch kind {
	case schema.GroupKind{Kind: "PersistentVolume"}:
		return volumes()
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return claims()
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}:
		return storageClasses()
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}:
		return of(name[storagev1.VolumeAttributesClass](),
			text("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"], func(c *storagev1.VolumeAttributesClass) any { return c.DriverName }),
			age[storagev1.VolumeAttributesClass]())
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttachment"}:
		return attachments()
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "CSINode"}:
		return of(name[storagev1.CSINode](),
			integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node", func(n *storagev1.CSINode) any { return int64(len(n.Spec.Drivers)) }),
			age[storagev1.CSINode]())
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "CSIDriver"}:
		return drivers()
	}
	return nil
}

func volumes() *table[corev1.PersistentVolume] {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return of(
		name[corev1.PersistentVolume](),
		text("Capacity", spec["capacity"], func(v *corev1.PersistentVolume) any { return v.Spec.Capacity.Storage().String() }),
		text("Access Modes", spec["accessModes"], func(v *corev1.PersistentVolume) any { return accessModes(v.Spec.AccessModes) }),
		text("Reclaim Policy", spec["persistentVolumeReclaimPolicy"], func(v *corev1.PersistentVolume) any { return string(v.Spec.PersistentVolumeReclaimPolicy) }),
		text("Status", status["phase"], func(v *corev1.PersistentVolume) any { return phase(v, v.Status.Phase) }),
		text("Claim", spec["claimRef"], func(v *corev1.PersistentVolume) any {
			if v.Spec.ClaimRef == nil {
				return ""
			}
			return v.Spec.ClaimRef.Namespace + "/" + v.Spec.ClaimRef.Name
		}),
		text("StorageClass", "StorageClass of the pv", func(v *corev1.PersistentVolume) any { return storageClass(v, v.Spec.StorageClassName) }),
		text("VolumeAttributesClass", "VolumeAttributesClass of the pv", func(v *corev1.PersistentVolume) any { return deref(v.Spec.VolumeAttributesClassName, "<unset>") }),
		text("Reason", status["reason"], func(v *corev1.PersistentVolume) any { return v.Status.Reason }),
		age[corev1.PersistentVolume](),
		text("VolumeMode", spec["volumeMode"], func(v *corev1.PersistentVolume) any { return string(deref(v.Spec.VolumeMode, "<unset>")) }).wide(),
	)
}

func claims() *table[corev1.PersistentVolumeClaim] {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	// What a claim has is known once it is bound.
	bound := func(c *corev1.PersistentVolumeClaim, tell func() string) string {
		if c.Spec.VolumeName == "" {
			return ""
		}
		return tell()
	}
	return of(
		name[corev1.PersistentVolumeClaim](),
		text("Status", status["phase"], func(c *corev1.PersistentVolumeClaim) any { return phase(c, c.Status.Phase) }),
		text("Volume", spec["volumeName"], func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName }),
		text("Capacity", status["capacity"], func(c *corev1.PersistentVolumeClaim) any { return bound(c, c.Status.Capacity.Storage().String) }),
		text("Access Modes", status["accessModes"], func(c *corev1.PersistentVolumeClaim) any {
			return bound(c, func() string { return accessModes(c.Status.AccessModes) })
		}),
		text("StorageClass", "StorageClass of the pvc", func(c *corev1.PersistentVolumeClaim) any { return storageClass(c, deref(c.Spec.StorageClassName, "")) }),
		text("VolumeAttributesClass", "VolumeAttributesClass of the pvc", func(c *corev1.PersistentVolumeClaim) any { return deref(c.Spec.VolumeAttributesClassName, "<unset>") }),
		age[corev1.PersistentVolumeClaim](),
		text("VolumeMode", spec["volumeMode"], func(c *corev1.PersistentVolumeClaim) any { return string(deref(c.Spec.VolumeMode, "<unset>")) }).wide(),
	)
}

func phase[P ~string](o metav1.Object, is P) string {
	if o.GetDeletionTimestamp() != nil {
		return "Terminating"
	}
	return string(is)
}

// storageClass is that of the annotation of old, if there is one.
func storageClass(o metav1.Object, is string) string {
	if class, ok := o.GetAnnotations()[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return is
}

func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		name string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.name)
		}
	}
	return strings.Join(short, ",")
}

func storageClasses() *table[storagev1.StorageClass] {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return of(
		nameBy(func(c *storagev1.StorageClass) any {
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
				return c.Name + " (default)"
			}
			return c.Name
		}),
		text("Provisioner", doc["provisioner"], func(c *storagev1.StorageClass) any { return c.Provisioner }),
		text("ReclaimPolicy", doc["reclaimPolicy"], func(c *storagev1.StorageClass) any {
			return string(deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete))
		}),
		text("VolumeBindingMode", doc["volumeBindingMode"], func(c *storagev1.StorageClass) any {
			return string(deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate))
		}),
		text("AllowVolumeExpansion", doc["allowVolumeExpansion"], func(c *storagev1.StorageClass) any { return deref(c.AllowVolumeExpansion, false) }),
		age[storagev1.StorageClass](),
	)
}

func attachments() *table[storagev1.VolumeAttachment] {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := text("Attacher", spec["attacher"], func(a *storagev1.VolumeAttachment) any { return a.Spec.Attacher })
	attacher.Format = "name"
	return of(
		name[storagev1.VolumeAttachment](),
		attacher,
		text("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"], func(a *storagev1.VolumeAttachment) any {
			return deref(a.Spec.Source.PersistentVolumeName, "")
		}),
		text("Node", spec["nodeName"], func(a *storagev1.VolumeAttachment) any { return a.Spec.NodeName }),
		boolean("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"], func(a *storagev1.VolumeAttachment) any { return a.Status.Attached }),
		age[storagev1.VolumeAttachment](),
	)
}

func drivers() *table[storagev1.CSIDriver] {
	spec := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return of(
		name[storagev1.CSIDriver](),
		boolean("AttachRequired", spec["attachRequired"], func(d *storagev1.CSIDriver) any { return deref(d.Spec.AttachRequired, true) }),
		boolean("PodInfoOnMount", spec["podInfoOnMount"], func(d *storagev1.CSIDriver) any { return deref(d.Spec.PodInfoOnMount, false) }),
		boolean("StorageCapacity", spec["storageCapacity"], func(d *storagev1.CSIDriver) any { return deref(d.Spec.StorageCapacity, false) }),
		text("TokenRequests", spec["tokenRequests"], func(d *storagev1.CSIDriver) any {
			if d.Spec.TokenRequests == nil {
				return "<unset>"
			}
			return list(d.Spec.TokenRequests, func(t *storagev1.TokenRequest) string { return t.Audience })
		}),
		boolean("RequiresRepublish", spec["requiresRepublish"], func(d *storagev1.CSIDriver) any { return deref(d.Spec.RequiresRepublish, false) }),
		text("Modes", spec["volumeLifecycleModes"], func(d *storagev1.CSIDriver) any {
			return or(list(d.Spec.VolumeLifecycleModes, func(m *storagev1.VolumeLifecycleMode) string { return string(*m) }), "<none>")
		}),
		age[storagev1.CSIDriver](),
	)
}
