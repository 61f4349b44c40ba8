// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review serves a kind that is asked and answered in one request and never stored. New returns the question; answer fills
// in its status.
type review struct {
	newFunc    func() runtime.Object
	singular   string
	namespaced bool
	answer     func(ctx context.Context, obj runtime.Object) error
}

func (r *review) New() runtime.Object     { return r.newFunc() }
func (r *review) Destroy()                {}
func (r *review) NamespaceScoped() bool   { return r.namespaced }
func (r *review) GetSingularName() string { return r.singular }

func (r *review) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return obj, r.answer(ctx, obj)
}

var _ rest.Creater = (*review)(nil)

// reviewStorage is the authentication and authorization groups.
func reviewStorage(authn authenticator.Request, audiences authenticator.Audiences, authz authorizer.Authorizer, rules authorizer.RuleResolver) (authentication, authorization map[string]rest.Storage) {
	access := accessReviews{authz, rules}
	authentication = map[string]rest.Storage{
		"tokenreviews": &review{newFunc: func() runtime.Object { return &authenticationv1.TokenReview{} }, singular: "tokenreview",
			answer: tokenReview{authn, audiences}.answer},
		"selfsubjectreviews": &review{newFunc: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }, singular: "selfsubjectreview", answer: whoAmI},
	}
	authorization = map[string]rest.Storage{
		"subjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SubjectAccessReview{} }, singular: "subjectaccessreview",
			answer: access.subject},
		"selfsubjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }, singular: "selfsubjectaccessreview",
			answer: access.self},
		"localsubjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }, singular: "localsubjectaccessreview",
			namespaced: true, answer: access.local},
		"selfsubjectrulesreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }, singular: "selfsubjectrulesreview",
			answer: access.ownRules},
	}
	return authentication, authorization
}

// accessReviews answer whether somebody may do something, by the server's own authorizer.
type accessReviews struct {
	authorizer authorizer.Authorizer
	rules      authorizer.RuleResolver
}

func (a accessReviews) subject(ctx context.Context, obj runtime.Object) error {
	r := obj.(*authorizationv1.SubjectAccessReview)
	if errs := validateAccess(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes); len(errs) > 0 {
		return invalidReview("SubjectAccessReview", errs)
	}
	if r.Spec.User == "" && len(r.Spec.Groups) == 0 {
		return invalidReview("SubjectAccessReview", field.ErrorList{field.Invalid(field.NewPath("spec", "user"), r.Spec.User, "at least one of user or group must be specified")})
	}
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a accessReviews) local(ctx context.Context, obj runtime.Object) error {
	r := obj.(*authorizationv1.LocalSubjectAccessReview)
	if r.Spec.NonResourceAttributes != nil {
		return invalidReview("LocalSubjectAccessReview", field.ErrorList{field.Invalid(field.NewPath("spec.nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request")})
	}
	if r.Spec.ResourceAttributes == nil {
		return invalidReview("LocalSubjectAccessReview", field.ErrorList{field.Invalid(field.NewPath("spec.resourceAttributes"), r.Spec.ResourceAttributes, "must be specified")})
	}
	namespace := genericrequest.NamespaceValue(ctx)
	if r.Spec.ResourceAttributes.Namespace != namespace {
		return errors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, nil)
	return nil
}

func (a accessReviews) self(ctx context.Context, obj runtime.Object) error {
	r := obj.(*authorizationv1.SelfSubjectAccessReview)
	if errs := validateAccess(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes); len(errs) > 0 {
		return invalidReview("SelfSubjectAccessReview", errs)
	}
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return errors.NewBadRequest("no user present on request")
	}
	r.Status = a.decide(ctx, who, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (a accessReviews) decide(ctx context.Context, who user.Info, resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attributes := authorizer.AttributesRecord{User: who}
	if resource != nil {
		attributes.ResourceRequest = true
		attributes.Verb, attributes.Namespace, attributes.Name = resource.Verb, resource.Namespace, resource.Name
		attributes.APIGroup, attributes.APIVersion = resource.Group, resource.Version
		attributes.Resource, attributes.Subresource = resource.Resource, resource.Subresource
		if attributes.APIVersion == "" {
			attributes.APIVersion = "*"
		}
	} else if path != nil {
		attributes.Verb, attributes.Path = path.Verb, path.Path
	}
	decision, reason, err := a.authorizer.Authorize(ctx, attributes)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func (a accessReviews) ownRules(ctx context.Context, obj runtime.Object) error {
	r := obj.(*authorizationv1.SelfSubjectRulesReview)
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return errors.NewBadRequest("no user present on request")
	}
	if r.Spec.Namespace == "" {
		return errors.NewBadRequest("no namespace on request")
	}
	resources, paths, incomplete, err := a.rules.RulesFor(ctx, who, r.Spec.Namespace)
	r.Status = authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete}
	for _, rule := range resources {
		r.Status.ResourceRules = append(r.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
	}
	for _, rule := range paths {
		r.Status.NonResourceRules = append(r.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		r.Status.EvaluationError = err.Error()
	}
	return nil
}

func subjectOf(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	extra := map[string][]string{}
	for k, v := range spec.Extra {
		extra[k] = v
	}
	return &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID, Extra: extra}
}

func validateAccess(resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) field.ErrorList {
	spec := field.NewPath("spec")
	if resource != nil && path != nil {
		return field.ErrorList{field.Invalid(spec.Child("nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes")}
	}
	if resource == nil && path == nil {
		return field.ErrorList{field.Invalid(spec.Child("resourceAttributes"), resource, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

func invalidReview(kind string, errs field.ErrorList) error {
	return errors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
}
