// SPDX-License-Identifier: Apache-2.0

// Package resource says what the kinds of dynamic resource allocation are: classes of devices, claims to them and
// templates of claims, and the slices in which drivers publish their devices.
//
// Features are as kube-apiserver has them by default: fields of those that are off are taken out of what is written
// (unserved.go). Compiling a CEL expression is what costs here, some 100 µs each; its
// environment is built with the first.
package resource

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// ValidateDeviceClass checks a new DeviceClass.
func ValidateDeviceClass(class *resourcev1.DeviceClass) field.ErrorList {
	errs := check.ClusterMetadataLongName(&class.ObjectMeta)
	return append(errs, validateDeviceClassSpec(&class.Spec, &resourcev1.DeviceClassSpec{})...)
}

// ValidateDeviceClassUpdate checks an update of a DeviceClass. What did not change was checked by the rules of its time.
func ValidateDeviceClassUpdate(class, before *resourcev1.DeviceClass) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadataLongName(&class.ObjectMeta))
	l.Add(check.MetadataUpdate(&class.ObjectMeta, &before.ObjectMeta))
	l.Add(validateDeviceClassSpec(&class.Spec, &before.Spec))
	return l.Errors()
}

func validateDeviceClassSpec(spec, before *resourcev1.DeviceClassSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	stored := equality.Semantic.DeepEqual(spec.Selectors, before.Selectors)
	l.Add(validateSelectors(p.Child("selectors"), spec.Selectors, stored))
	stored = equality.Semantic.DeepEqual(spec.Config, before.Config)
	l.Add(validateList(p.Child("config"), spec.Config, resourcev1.DeviceConfigMaxSize, func(p *field.Path, config resourcev1.DeviceClassConfiguration) field.ErrorList {
		return validateConfiguration(p, config.DeviceConfiguration, stored)
	}))
	if name := spec.ExtendedResourceName; name != nil && !core.IsExtendedResource(corev1.ResourceName(*name)) {
		l.Invalid(p.Child("extendedResourceName"), *name, "must be a valid extended resource name")
	}
	return l.Errors()
}

// validateConfiguration checks parameters for a driver. The length of those that are stored is not looked at: older
// servers had no limit.
func validateConfiguration(p *field.Path, config resourcev1.DeviceConfiguration, stored bool) field.ErrorList {
	p = p.Child("opaque")
	if config.Opaque == nil {
		return field.ErrorList{field.Required(p, "")}
	}
	errs := core.ValidateCSIDriverName(p.Child("driver"), config.Opaque.Driver)
	return append(errs, validateRaw(p.Child("parameters"), config.Opaque.Parameters, stored, resourcev1.OpaqueParametersMaxLength)...)
}
