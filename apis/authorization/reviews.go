// SPDX-License-Identifier: Apache-2.0

// Package authorization says what questions the access reviews of authorization.k8s.io/v1 may ask. Error texts are those of kube-apiserver.
package authorization

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateSubjectAccessReview validates a question about anybody.
func ValidateSubjectAccessReview(r *authorizationv1.SubjectAccessReview) field.ErrorList {
	var l check.List
	l.Add(subject(&r.Spec))
	l.Add(noMetadata(r.ObjectMeta, "must be empty"))
	return l.Errors()
}

// ValidateSelfSubjectAccessReview validates a question about the one who asks.
func ValidateSelfSubjectAccessReview(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	var l check.List
	l.Add(oneKind(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes))
	l.Add(selectors(r.Spec.ResourceAttributes))
	l.Add(noMetadata(r.ObjectMeta, "must be empty"))
	return l.Errors()
}

// ValidateLocalSubjectAccessReview validates a question about what somebody may do in the namespace it is asked in.
func ValidateLocalSubjectAccessReview(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	var l check.List
	l.Add(subject(&r.Spec))
	meta := r.ObjectMeta
	meta.Namespace = ""
	if !empty(meta) {
		l.Invalid(field.NewPath("metadata"), r.ObjectMeta, "must be empty except for namespace")
	}
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		l.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace")
	}
	if a := r.Spec.NonResourceAttributes; a != nil {
		l.Invalid(field.NewPath("spec", "nonResourceAttributes"), a, "disallowed on this kind of request")
	}
	return l.Errors()
}

func subject(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	var l check.List
	l.Add(oneKind(spec.ResourceAttributes, spec.NonResourceAttributes))
	if spec.User == "" && len(spec.Groups) == 0 {
		l.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified")
	}
	l.Add(selectors(spec.ResourceAttributes))
	return l.Errors()
}

// oneKind asks for a resource or a path.
func oneKind(resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) field.ErrorList {
	var l check.List
	spec := field.NewPath("spec")
	switch {
	case resource != nil && path != nil:
		l.Invalid(spec.Child("nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes")
	case resource == nil && path == nil:
		l.Invalid(spec.Child("resourceAttributes"), path, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
	}
	return l.Errors()
}

// selectors validates what a question about a list narrows it by. Operators that are not known are let through: a newer client may
// ask about them, and they narrow nothing.
func selectors(resource *authorizationv1.ResourceAttributes) field.ErrorList {
	if resource == nil {
		return nil
	}
	var l check.List
	p := field.NewPath("spec", "resourceAttributes")
	if s := resource.FieldSelector; s != nil {
		at := p.Child("fieldSelector")
		l.Add(oneForm(at, s.RawSelector, len(s.Requirements)))
		for i, requirement := range s.Requirements {
			l.Add(metavalidation.ValidateFieldSelectorRequirement(requirement, metavalidation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("requirements").Index(i)))
		}
	}
	if s := resource.LabelSelector; s != nil {
		at := p.Child("labelSelector")
		l.Add(oneForm(at, s.RawSelector, len(s.Requirements)))
		for i, requirement := range s.Requirements {
			l.Add(metavalidation.ValidateLabelSelectorRequirement(requirement, metavalidation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("requirements").Index(i)))
		}
	}
	return l.Errors()
}

// oneForm asks for a selector as text or as requirements.
func oneForm(p *field.Path, raw string, requirements int) field.ErrorList {
	var l check.List
	switch {
	case raw != "" && requirements > 0:
		l.Invalid(p.Child("rawSelector"), raw, "may not specified at the same time as requirements")
	case raw == "" && requirements == 0:
		l.Required(p.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", p))
	}
	return l.Errors()
}

func noMetadata(meta metav1.ObjectMeta, detail string) field.ErrorList {
	if empty(meta) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, detail)}
}

// empty says that a client has set nothing. Who manages fields the server has noted.
func empty(meta metav1.ObjectMeta) bool {
	meta.ManagedFields = nil
	return apiequality.Semantic.DeepEqual(metav1.ObjectMeta{}, meta)
}
