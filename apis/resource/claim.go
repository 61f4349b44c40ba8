// SPDX-License-Identifier: Apache-2.0

package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// PrepareResourceClaimForCreate takes out what is not served.
func PrepareResourceClaimForCreate(claim *resourcev1.ResourceClaim) {
	dropUnservedClaimFields(&claim.Spec)
}

// PrepareResourceClaimForUpdate takes out what is not served.
func PrepareResourceClaimForUpdate(claim, _ *resourcev1.ResourceClaim) {
	dropUnservedClaimFields(&claim.Spec)
}

// ValidateResourceClaim checks a new ResourceClaim. Who may ask for access as an administrator is not decided here.
func ValidateResourceClaim(claim *resourcev1.ResourceClaim) field.ErrorList {
	errs := check.Metadata(&claim.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateDeviceClaim(field.NewPath("spec", "devices"), &claim.Spec.Devices)...)
}

// ValidateResourceClaimUpdate checks an update of a ResourceClaim, of which only the metadata can change.
func ValidateResourceClaimUpdate(claim, before *resourcev1.ResourceClaim) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&claim.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(check.MetadataUpdate(&claim.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("spec"), claim.Spec, before.Spec))
	return l.Errors()
}

// PrepareResourceClaimTemplateForCreate takes out what is not served.
func PrepareResourceClaimTemplateForCreate(template *resourcev1.ResourceClaimTemplate) {
	dropUnservedClaimFields(&template.Spec.Spec)
}

// PrepareResourceClaimTemplateForUpdate takes out what is not served.
func PrepareResourceClaimTemplateForUpdate(template, _ *resourcev1.ResourceClaimTemplate) {
	dropUnservedClaimFields(&template.Spec.Spec)
}

// ValidateResourceClaimTemplate checks a new ResourceClaimTemplate.
func ValidateResourceClaimTemplate(template *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var l check.List
	l.Add(check.Metadata(&template.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	p := field.NewPath("spec")
	l.Add(core.ValidateTemplateMetadata(p.Child("metadata"), &template.Spec.ObjectMeta))
	l.Add(validateDeviceClaim(p.Child("spec", "devices"), &template.Spec.Spec.Devices))
	return l.Errors()
}

// ValidateResourceClaimTemplateUpdate checks an update of a ResourceClaimTemplate, of which only the metadata can change.
func ValidateResourceClaimTemplateUpdate(template, before *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var l check.List
	l.Add(ValidateResourceClaimTemplate(template))
	l.Add(check.MetadataUpdate(&template.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("spec"), template.Spec, before.Spec))
	return l.Errors()
}
