// SPDX-License-Identifier: Apache-2.0

// This file holds CSIDriver, CSINode, CSIStorageCapacity and VolumeAttachment: what CSI drivers say of themselves, what
// nodes and controllers report of them, and what is attached where.

package storage

import (
	"fmt"
	"math"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsCSIDriver fills in what a CSIDriver leaves open.
func SetDefaultsCSIDriver(driver *storagev1.CSIDriver) {
	spec := &driver.Spec
	setIfNil(&spec.AttachRequired, true)
	setIfNil(&spec.PodInfoOnMount, false)
	setIfNil(&spec.StorageCapacity, false)
	setIfNil(&spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(spec.VolumeLifecycleModes) == 0 {
		spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	setIfNil(&spec.RequiresRepublish, false)
	setIfNil(&spec.SELinuxMount, false)
}

// PrepareCSIDriverForUpdate counts changes of the spec. The generation of a new driver is 0, unlike that of other kinds.
func PrepareCSIDriverForUpdate(driver, before *storagev1.CSIDriver) {
	driver.Generation = before.Generation
	if !equality.Semantic.DeepEqual(driver.Spec, before.Spec) {
		driver.Generation++
	}
}

// ValidateCSIDriver checks a new CSIDriver.
func ValidateCSIDriver(driver *storagev1.CSIDriver) field.ErrorList {
	return append(check.ClusterMetadata(&driver.ObjectMeta, apivalidation.NameIsDNSSubdomain), validateDriverSpec(&driver.Spec)...)
}

// ValidateCSIDriverUpdate checks an update of a CSIDriver.
func ValidateCSIDriverUpdate(driver, before *storagev1.CSIDriver) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&driver.ObjectMeta, &before.ObjectMeta))
	l.Add(validateDriverSpec(&driver.Spec))
	l.Add(check.Immutable(p.Child("attachedRequired"), driver.Spec.AttachRequired, before.Spec.AttachRequired))
	l.Add(check.Immutable(p.Child("volumeLifecycleModes"), driver.Spec.VolumeLifecycleModes, before.Spec.VolumeLifecycleModes))
	return l.Errors()
}

func validateDriverSpec(spec *storagev1.CSIDriverSpec) field.ErrorList {
	const shortestPeriod = 10
	var l check.List
	p := field.NewPath("spec")
	need := func(name string, value *bool) {
		if value == nil {
			l.Required(p.Child(name), "")
		}
	}
	need("attachedRequired", spec.AttachRequired)
	need("podInfoOnMount", spec.PodInfoOnMount)
	need("storageCapacity", spec.StorageCapacity)
	if policy := spec.FSGroupPolicy; policy != nil {
		l.Add(check.OneOf(p.Child("fsGroupPolicy"), *policy,
			storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy))
	}
	l.Add(validateTokenRequests(p.Child("tokenRequests"), spec.TokenRequests))
	for _, mode := range spec.VolumeLifecycleModes {
		l.Add(check.OneOf(p.Child("volumeLifecycleModes"), mode, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral))
	}
	need("seLinuxMount", spec.SELinuxMount)
	if seconds := spec.NodeAllocatableUpdatePeriodSeconds; seconds != nil && *seconds < shortestPeriod {
		l.Invalid(p.Child("nodeAllocatableUpdatePeriodSeconds"), *seconds, "must be greater than or equal to 10 seconds")
	}
	if in := spec.ServiceAccountTokenInSecrets; in != nil && len(spec.TokenRequests) == 0 {
		l.Invalid(p.Child("serviceAccountTokenInSecrets"), in, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return l.Errors()
}

func validateTokenRequests(p *field.Path, requests []storagev1.TokenRequest) field.ErrorList {
	const shortest, longest = int64(10 * time.Minute / time.Second), int64(1) << 32
	var l check.List
	audiences := sets.New[string]()
	for i, request := range requests {
		p := p.Index(i)
		if audiences.Has(request.Audience) {
			l.Duplicate(p.Child("audience"), request.Audience)
			continue
		}
		audiences.Insert(request.Audience)
		if request.ExpirationSeconds == nil {
			continue
		}
		if *request.ExpirationSeconds < shortest {
			l.Invalid(p.Child("expirationSeconds"), *request.ExpirationSeconds, "may not specify a duration less than 10 minutes")
		}
		if *request.ExpirationSeconds > longest {
			l.Invalid(p.Child("expirationSeconds"), *request.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds")
		}
	}
	return l.Errors()
}

// ValidateCSINode checks a new CSINode.
func ValidateCSINode(node *storagev1.CSINode) field.ErrorList {
	const maxNodeID = 256
	var l check.List
	l.Add(check.ClusterMetadata(&node.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	names := sets.New[string]()
	for i, driver := range node.Spec.Drivers {
		p := field.NewPath("spec", "drivers").Index(i)
		l.Add(core.ValidateCSIDriverName(p.Child("name"), driver.Name))
		if driver.NodeID == "" {
			l.Required(p.Child("nodeID"), "")
		}
		if len(driver.NodeID) > maxNodeID {
			l.Invalid(p.Child("nodeID"), driver.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID))
		}
		if driver.Allocatable != nil {
			l.Add(check.NonNegativeIfSet(p.Child("allocatable", "count"), driver.Allocatable.Count))
		}
		if names.Has(driver.Name) {
			l.Duplicate(p.Child("name"), driver.Name)
		}
		names.Insert(driver.Name)
		keys := sets.New[string]()
		for _, key := range driver.TopologyKeys {
			if key == "" {
				l.Required(p, key)
			}
			if keys.Has(key) {
				l.Duplicate(p, key)
			}
			keys.Insert(key)
			l.Add(check.QualifiedName(p, key))
		}
	}
	return l.Errors()
}

// ValidateCSINodeUpdate checks an update of a CSINode: of a driver that stays only the count of volumes may change.
func ValidateCSINodeUpdate(node, before *storagev1.CSINode) field.ErrorList {
	var l check.List
	l.Add(ValidateCSINode(node))
	for _, older := range before.Spec.Drivers {
		for _, now := range node.Spec.Drivers {
			if now.Name == older.Name {
				now.Allocatable, older.Allocatable = nil, nil
				l.Add(check.Immutable(field.NewPath("spec", "drivers"), now, older))
			}
		}
	}
	return l.Errors()
}

// ValidateCSIStorageCapacity checks a new CSIStorageCapacity.
func ValidateCSIStorageCapacity(capacity *storagev1.CSIStorageCapacity) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&capacity.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(check.LabelSelector(field.NewPath("nodeTopology"), capacity.NodeTopology))
	l.Each(field.NewPath("storageClassName"), capacity.StorageClassName, apivalidation.NameIsDNSSubdomain(capacity.StorageClassName, false))
	if capacity.Capacity != nil {
		l.Add(check.NonNegativeQuantity(field.NewPath("capacity"), *capacity.Capacity))
	}
	return l.Errors()
}

// ValidateCSIStorageCapacityUpdate checks an update of a CSIStorageCapacity.
func ValidateCSIStorageCapacityUpdate(capacity, before *storagev1.CSIStorageCapacity) field.ErrorList {
	var l check.List
	l.Add(ValidateCSIStorageCapacity(capacity))
	l.Add(check.MetadataUpdate(&capacity.ObjectMeta, &before.ObjectMeta))
	if !equality.Semantic.DeepEqual(capacity.NodeTopology, before.NodeTopology) {
		l.Invalid(field.NewPath("nodeTopology"), capacity.NodeTopology, apivalidation.FieldImmutableErrorMsg)
	}
	if capacity.StorageClassName != before.StorageClassName {
		l.Invalid(field.NewPath("storageClassName"), capacity.StorageClassName, apivalidation.FieldImmutableErrorMsg)
	}
	return l.Errors()
}

// SetDefaultsVolumeAttachment fills in what an inline volume leaves open.
func SetDefaultsVolumeAttachment(attachment *storagev1.VolumeAttachment) {
	if spec := attachment.Spec.Source.InlineVolumeSpec; spec != nil {
		core.SetDefaultsPersistentVolumeSpec(spec)
	}
}

// ValidateVolumeAttachment checks a new VolumeAttachment.
func ValidateVolumeAttachment(attachment *storagev1.VolumeAttachment) field.ErrorList {
	var l check.List
	p, spec := field.NewPath("spec"), &attachment.Spec
	l.Add(check.ClusterMetadata(&attachment.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(core.ValidateCSIDriverName(p.Child("attacher"), spec.Attacher))
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	source, name, inline := p.Child("source"), spec.Source.PersistentVolumeName, spec.Source.InlineVolumeSpec
	switch {
	case inline == nil && name == nil:
		l.Required(source, one)
	case inline != nil && name != nil:
		l.Forbidden(source, one)
	case inline != nil:
		l.Add(core.ValidateInlineVolume(source.Child("inlineVolumeSpec"), inline))
	case *name == "":
		l.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	}
	l.Each(p.Child("nodeName"), spec.NodeName, apivalidation.NameIsDNSSubdomain(spec.NodeName, false))
	l.Add(validateAttachmentStatus(&attachment.Status))
	if name != nil {
		l.Each(field.NewPath("spec.source.persistentVolumeName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))
	}
	return l.Errors()
}

// ValidateVolumeAttachmentUpdate checks an update of a VolumeAttachment.
func ValidateVolumeAttachmentUpdate(attachment, before *storagev1.VolumeAttachment) field.ErrorList {
	return append(ValidateVolumeAttachment(attachment), check.Immutable(field.NewPath("spec"), attachment.Spec, before.Spec)...)
}

// ValidateVolumeAttachmentStatusUpdate checks an update of a VolumeAttachment's status.
func ValidateVolumeAttachmentStatusUpdate(attachment, before *storagev1.VolumeAttachment) field.ErrorList {
	return ValidateVolumeAttachmentUpdate(attachment, before)
}

func validateAttachmentStatus(status *storagev1.VolumeAttachmentStatus) field.ErrorList {
	const maxMetadata, maxMessage = 256 * 1024, 1024
	var l check.List
	p := field.NewPath("status")
	size := 0
	for key, value := range status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxMetadata {
		l.TooLong(p.Child("attachmentMetadata"), maxMetadata)
	}
	for _, e := range []struct {
		name string
		err  *storagev1.VolumeError
	}{{"attachError", status.AttachError}, {"detachError", status.DetachError}} {
		if e.err == nil {
			continue
		}
		if len(e.err.Message) > maxMessage {
			l.TooLong(p.Child(e.name, "message"), maxMetadata)
		}
		if code := e.err.ErrorCode; code != nil && *code < 0 {
			l.Invalid(p.Child(e.name, "errorCode"), *code, validation.InclusiveRangeError(0, math.MaxInt32))
		}
	}
	return l.Errors()
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
