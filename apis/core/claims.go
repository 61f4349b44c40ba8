// SPDX-License-Identifier: Apache-2.0

// This file holds what PersistentVolumeClaims are, alone or as templates in other kinds. A claim's specification is
// immutable, but that a bound claim may ask for more storage and for another VolumeAttributesClass.

package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// PreparePersistentVolumeClaimForCreate makes a claim pending and brings its two ways of naming a data source in line.
func PreparePersistentVolumeClaimForCreate(pvc *corev1.PersistentVolumeClaim) {
	pvc.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	prepareDataSource(&pvc.Spec, nil)
}

// PreparePersistentVolumeClaimForUpdate brings the claim's two ways of naming a data source in line.
func PreparePersistentVolumeClaimForUpdate(pvc, before *corev1.PersistentVolumeClaim) {
	prepareDataSource(&pvc.Spec, &before.Spec)
}

// prepareDataSource copies dataSource and dataSourceRef to each other where one is missing (KEP-1495). dataSource was
// for claims and snapshots alone, and anything else in it ignored: so it is for writers who do not know dataSourceRef.
func prepareDataSource(spec, before *corev1.PersistentVolumeClaimSpec) {
	crossNamespace := spec.DataSourceRef != nil && spec.DataSourceRef.Namespace != nil && *spec.DataSourceRef.Namespace != ""
	if crossNamespace && (before == nil || before.DataSourceRef == nil) {
		spec.DataSourceRef = nil
	}
	if inUse := before != nil && (before.DataSource != nil || before.DataSourceRef != nil); !inUse && spec.DataSourceRef == nil && spec.DataSource != nil {
		group := ""
		if spec.DataSource.APIGroup != nil {
			group = *spec.DataSource.APIGroup
		}
		claim := spec.DataSource.Kind == "PersistentVolumeClaim" && group == ""
		snapshot := spec.DataSource.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
		if !claim && !snapshot {
			spec.DataSource = nil
		}
	}
	switch source, ref := spec.DataSource, spec.DataSourceRef; {
	case source != nil && ref == nil:
		spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	case ref != nil && source == nil && (ref.Namespace == nil || *ref.Namespace == ""):
		spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

// ValidatePersistentVolumeClaim checks a new PersistentVolumeClaim.
func ValidatePersistentVolumeClaim(pvc *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := check.Metadata(&pvc.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, ValidatePersistentVolumeClaimSpec(field.NewPath("spec"), &pvc.Spec)...)
}

// groupNamed says that a claim names the API group of what it is filled from.
func groupNamed(spec *corev1.PersistentVolumeClaimSpec) bool {
	return spec.DataSource != nil && spec.DataSource.APIGroup != nil || spec.DataSourceRef != nil && spec.DataSourceRef.APIGroup != nil
}

// ValidatePersistentVolumeClaimSpec checks a claim, or a template for claims, at p.
func ValidatePersistentVolumeClaimSpec(p *field.Path, spec *corev1.PersistentVolumeClaimSpec) field.ErrorList {
	return validateClaimSpec(p, spec, false)
}

// validateClaimSpec checks a claim, and where anyGroup is set not whether API groups are what they must be now.
func validateClaimSpec(p *field.Path, spec *corev1.PersistentVolumeClaimSpec, anyGroup bool) field.ErrorList {
	var l check.List
	if len(spec.AccessModes) == 0 {
		l.Required(p.Child("accessModes"), "at least 1 access mode is required")
	}
	if spec.Selector != nil {
		l.Add(check.LabelSelector(p.Child("selector"), spec.Selector))
	}
	if len(spec.AccessModes) > 0 {
		l.Add(validateAccessModes(p.Child("accessModes"), spec.AccessModes))
	}
	at := p.Child("resources").Key(string(corev1.ResourceStorage))
	if storage, ok := spec.Resources.Requests[corev1.ResourceStorage]; ok {
		l.Add(check.PositiveQuantity(at, storage))
	} else {
		l.Required(at, "")
	}
	for _, class := range []struct {
		name  string
		class *string
	}{{"storageClassName", spec.StorageClassName}, {"volumeAttributesClassName", spec.VolumeAttributesClassName}} {
		if class.class != nil && *class.class != "" {
			l.Each(p.Child(class.name), *class.class, apivalidation.NameIsDNSSubdomain(*class.class, false))
		}
	}
	l.Add(validateVolumeMode(p.Child("volumeMode"), spec.VolumeMode))
	l.Add(validateDataSources(p, spec, anyGroup))
	return l.Errors()
}

func validateDataSources(p *field.Path, spec *corev1.PersistentVolumeClaimSpec, anyGroup bool) field.ErrorList {
	var l check.List
	one := func(p *field.Path, group *string, kind, name string) {
		if name == "" {
			l.Required(p.Child("name"), "")
		}
		if kind == "" {
			l.Required(p.Child("kind"), "")
		}
		if group == nil || *group == "" {
			if kind != "PersistentVolumeClaim" {
				l.Invalid(p, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
			}
		} else if !anyGroup {
			l.Each(p.Child("apiGroup"), *group, validation.IsDNS1123Subdomain(*group))
		}
	}
	source, ref := spec.DataSource, spec.DataSourceRef
	if source != nil {
		one(p.Child("dataSource"), source.APIGroup, source.Kind, source.Name)
	}
	if ref == nil {
		return l.Errors()
	}
	one(p.Child("dataSourceRef"), ref.APIGroup, ref.Kind, ref.Name)
	if ref.Namespace != nil && *ref.Namespace != "" {
		l.Each(p.Child("dataSourceRef", "namespace"), *ref.Namespace, apivalidation.ValidateNamespaceName(*ref.Namespace, false))
		if source != nil {
			l.Invalid(p, p.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
		}
	} else if source != nil && !(same(source.APIGroup, ref.APIGroup) && source.Kind == ref.Kind && source.Name == ref.Name) {
		l.Invalid(p, p.Child("dataSource"), "must match dataSourceRef")
	}
	return l.Errors()
}

// ValidatePersistentVolumeClaimUpdate checks an update of a PersistentVolumeClaim.
func ValidatePersistentVolumeClaimUpdate(pvc, before *corev1.PersistentVolumeClaim) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&pvc.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Metadata(&pvc.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateClaimSpec(p, &pvc.Spec, groupNamed(&before.Spec))) // older versions did not look at groups

	// Undo, in copies, what may change, and compare the rest.
	now, older := pvc.Spec.DeepCopy(), before.Spec.DeepCopy()
	if older.VolumeName == "" {
		older.VolumeName = now.VolumeName
	}
	class, hadClass := before.Annotations[corev1.BetaStorageClassAnnotation]
	nowClass, hasClass := pvc.Annotations[corev1.BetaStorageClassAnnotation]
	named := older.StorageClassName == nil && now.StorageClassName != nil
	switch {
	case named && hadClass && *now.StorageClassName == class && (!hasClass || nowClass == class):
		now.StorageClassName = nil // The class moves from the annotation to the field.
	default:
		if nowClass != class {
			l.Invalid(field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation), nowClass, apivalidation.FieldImmutableErrorMsg)
		}
		if named && (!hadClass || *now.StorageClassName == class) {
			now.StorageClassName = nil // The default class is given to a claim that named none.
		}
	}
	storage := corev1.ResourceStorage
	if pvc.Status.Phase == corev1.ClaimBound {
		if now.Resources.Requests != nil {
			now.Resources.Requests[storage] = older.Resources.Requests[storage]
		}
		now.VolumeAttributesClassName = older.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(now, older) {
		l.Forbidden(p, fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v",
			check.Difference(older, now)))
	}
	size, olderSize := pvc.Spec.Resources.Requests[storage], before.Spec.Resources.Requests[storage]
	if capacity := before.Status.Capacity[storage]; size.Cmp(olderSize) < 0 && size.Cmp(capacity) <= 0 {
		l.Forbidden(p.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	l.Add(check.Immutable(field.NewPath("volumeMode"), pvc.Spec.VolumeMode, before.Spec.VolumeMode))
	if current := before.Status.CurrentVolumeAttributesClassName; current != nil && !same(pvc.Spec.VolumeAttributesClassName, before.Spec.VolumeAttributesClassName) {
		const when = " is forbidden when status.currentVolumeAttributesClassName is not nil"
		if name := pvc.Spec.VolumeAttributesClassName; name == nil {
			l.Forbidden(p.Child("volumeAttributesClassName"), "update to nil"+when)
		} else if *name == "" {
			l.Forbidden(p.Child("volumeAttributesClassName"), "update to empty string"+when)
		}
	}
	return l.Errors()
}

// ValidatePersistentVolumeClaimStatusUpdate checks an update of a PersistentVolumeClaim's status.
func ValidatePersistentVolumeClaimStatusUpdate(pvc, before *corev1.PersistentVolumeClaim) field.ErrorList {
	var l check.List
	p := field.NewPath("status")
	l.Add(check.MetadataUpdate(&pvc.ObjectMeta, &before.ObjectMeta))
	if pvc.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	if len(pvc.Spec.AccessModes) == 0 {
		l.Required(field.NewPath("Spec", "accessModes"), "")
	}
	for _, name := range sortedNames(pvc.Status.Capacity) {
		l.Add(validateBasicQuantity(p.Child("capacity").Key(string(name)), pvc.Status.Capacity[name]))
	}
	resizing := sets.New(corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible)
	for name, status := range pvc.Status.AllocatedResourceStatuses {
		p := p.Child("allocatedResourceStatuses")
		l.Add(validateClaimResourceName(p, name))
		if !resizing.Has(status) {
			l.Add(field.ErrorList{field.NotSupported(p, name, sets.List(resizing))})
		}
	}
	for _, name := range sortedNames(pvc.Status.AllocatedResources) {
		p := p.Child("allocatedResources")
		if errs := validateClaimResourceName(p, name); len(errs) > 0 {
			l.Add(errs)
			continue
		}
		l.Add(validateBasicQuantity(p.Key(string(name)), pvc.Status.AllocatedResources[name]))
	}
	return l.Errors()
}

func validateClaimResourceName(p *field.Path, name corev1.ResourceName) field.ErrorList {
	var l check.List
	if messages := validation.IsQualifiedName(string(name)); len(messages) > 0 {
		l.Each(p, string(name), messages)
	} else if isNative(name) {
		l.Add(check.OneOf(p, name, corev1.ResourceStorage))
	}
	return l.Errors()
}

func validateAccessModes(p *field.Path, modes []corev1.PersistentVolumeAccessMode) field.ErrorList {
	var l check.List
	if len(modes) == 0 {
		l.Required(p, "")
	}
	exclusive, shared := false, false
	for _, mode := range modes {
		errs := check.OneOf(p, mode, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		l.Add(errs)
		exclusive = exclusive || mode == corev1.ReadWriteOncePod
		shared = shared || mode != corev1.ReadWriteOncePod && len(errs) == 0
	}
	if exclusive && shared {
		l.Forbidden(p, "may not use ReadWriteOncePod with other access modes")
	}
	return l.Errors()
}

func validateVolumeMode(p *field.Path, mode *corev1.PersistentVolumeMode) field.ErrorList {
	if mode == nil {
		return nil
	}
	return check.OneOf(p, *mode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

func validateBasicQuantity(p *field.Path, quantity resource.Quantity) field.ErrorList {
	if value := quantity.Value(); value < 0 {
		return field.ErrorList{field.Invalid(p, value, "must be a valid resource quantity")}
	}
	return nil
}
