// SPDX-License-Identifier: Apache-2.0

// Package storage says what the kinds of the storage group are: classes of volumes, CSI drivers and what they report,
// and attachments. The functions are named to the rule of package core.
//
// This file holds StorageClass and VolumeAttributesClass.
package storage

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsStorageClass fills in what a StorageClass leaves open.
func SetDefaultsStorageClass(class *storagev1.StorageClass) {
	if class.ReclaimPolicy == nil {
		class.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	}
	if class.VolumeBindingMode == nil {
		class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
	}
}

// ValidateStorageClass checks a new StorageClass.
func ValidateStorageClass(class *storagev1.StorageClass) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&class.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateProvisioner(field.NewPath("provisioner"), class.Provisioner))
	l.Add(validateParameters(field.NewPath("parameters"), class.Parameters))
	if policy := class.ReclaimPolicy; policy != nil && *policy != "" {
		l.Add(check.OneOf(field.NewPath("reclaimPolicy"), *policy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain))
	}
	if mode := class.VolumeBindingMode; mode == nil {
		l.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		l.Add(check.OneOf(field.NewPath("volumeBindingMode"), *mode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer))
	}
	l.Add(validateTopologies(field.NewPath("allowedTopologies"), class.AllowedTopologies))
	return l.Errors()
}

// ValidateStorageClassUpdate checks an update of a StorageClass: what volumes were made by does not change.
func ValidateStorageClassUpdate(class, before *storagev1.StorageClass) field.ErrorList {
	var l check.List
	l.Add(ValidateStorageClass(class))
	l.Add(check.MetadataUpdate(&class.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("parameters"), class.Parameters, before.Parameters))
	l.Add(check.Immutable(field.NewPath("provisioner"), class.Provisioner, before.Provisioner))
	l.Add(check.Immutable(field.NewPath("reclaimPolicy"), class.ReclaimPolicy, before.ReclaimPolicy))
	l.Add(check.Immutable(field.NewPath("volumeBindingMode"), class.VolumeBindingMode, before.VolumeBindingMode))
	return l.Errors()
}

func validateProvisioner(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return check.QualifiedName(p, strings.ToLower(name))
}

func validateParameters(p *field.Path, parameters map[string]string) field.ErrorList {
	const maxCount, maxSize = 512, 256 * 1024
	var l check.List
	if len(parameters) > maxCount {
		l.TooLong(p, maxCount)
		return l.Errors()
	}
	size := 0
	for key, value := range parameters {
		if key == "" {
			l.Invalid(p, key, "field can not be empty.")
		}
		size += len(key) + len(value)
	}
	if size > maxSize {
		l.TooLong(p, maxSize)
	}
	return l.Errors()
}

func validateTopologies(p *field.Path, terms []corev1.TopologySelectorTerm) field.ErrorList {
	var l check.List
	seen := make([]map[string]sets.Set[string], 0, len(terms))
	for i, term := range terms {
		keys := map[string]sets.Set[string]{}
		at := p.Index(i).Child("matchLabelExpressions")
		for j, r := range term.MatchLabelExpressions {
			p := at.Index(j)
			if len(r.Values) == 0 {
				l.Required(p.Child("values"), "")
			}
			values := sets.New[string]()
			for k, value := range r.Values {
				if values.Has(value) {
					l.Duplicate(p.Child("values").Index(k), value)
				}
				values.Insert(value)
			}
			l.Add(check.LabelName(p.Child("key"), r.Key))
			if _, ok := keys[r.Key]; ok {
				l.Duplicate(p.Child("key"), r.Key)
			}
			keys[r.Key] = values
		}
		if len(keys) == 0 {
			l.Duplicate(at, "")
		}
		for _, other := range seen {
			if reflect.DeepEqual(keys, other) {
				l.Duplicate(at, "")
			}
		}
		seen = append(seen, keys)
	}
	return l.Errors()
}

// ValidateVolumeAttributesClass checks a new VolumeAttributesClass.
func ValidateVolumeAttributesClass(class *storagev1.VolumeAttributesClass) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&class.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateProvisioner(field.NewPath("driverName"), class.DriverName))
	l.Add(validateParameters(field.NewPath("parameters"), class.Parameters))
	if len(class.Parameters) == 0 {
		l.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
	}
	return l.Errors()
}

// ValidateVolumeAttributesClassUpdate checks an update of a VolumeAttributesClass: nothing but metadata may change.
func ValidateVolumeAttributesClassUpdate(class, before *storagev1.VolumeAttributesClass) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&class.ObjectMeta, &before.ObjectMeta))
	if class.DriverName != before.DriverName {
		l.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
	}
	if !reflect.DeepEqual(class.Parameters, before.Parameters) {
		l.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
	}
	l.Add(ValidateVolumeAttributesClass(class))
	return l.Errors()
}
