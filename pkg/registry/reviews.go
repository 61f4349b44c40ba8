// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/apis/authorization"
)

// review serves a kind that is asked and answered in one request and never stored. check says what is wrong with the question, before
// admission sees it; answer returns it with its status, or an object that has the status alone.
type review struct {
	newFunc    func() runtime.Object
	singular   string
	namespaced bool
	check      func(runtime.Object) error
	answer     func(ctx context.Context, obj runtime.Object) (runtime.Object, error)
}

func (r *review) New() runtime.Object     { return r.newFunc() }
func (r *review) Destroy()                {}
func (r *review) NamespaceScoped() bool   { return r.namespaced }
func (r *review) GetSingularName() string { return r.singular }

func (r *review) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if r.check != nil {
		if err := r.check(obj); err != nil {
			return nil, err
		}
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return r.answer(ctx, obj)
}

var _ rest.Creater = (*review)(nil)

// reviewStorage is the authentication and authorization groups.
func reviewStorage(authn authenticator.Request, audiences authenticator.Audiences, authz authorizer.Authorizer, rules authorizer.RuleResolver) (authenticationStorage, authorizationStorage map[string]rest.Storage) {
	access := accessReviews{authz, rules}
	authenticationStorage = map[string]rest.Storage{
		"tokenreviews": &review{newFunc: func() runtime.Object { return &authenticationv1.TokenReview{} }, singular: "tokenreview",
			answer: tokenReview{authn, audiences}.answer},
		"selfsubjectreviews": &review{newFunc: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }, singular: "selfsubjectreview", answer: whoAmI},
	}
	authorizationStorage = map[string]rest.Storage{
		"subjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SubjectAccessReview{} }, singular: "subjectaccessreview",
			check: checkReview(authorization.ValidateSubjectAccessReview), answer: access.subject},
		"selfsubjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }, singular: "selfsubjectaccessreview",
			check: checkReview(authorization.ValidateSelfSubjectAccessReview), answer: access.self},
		"localsubjectaccessreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }, singular: "localsubjectaccessreview",
			namespaced: true, check: checkReview(authorization.ValidateLocalSubjectAccessReview), answer: access.local},
		"selfsubjectrulesreviews": &review{newFunc: func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }, singular: "selfsubjectrulesreview",
			answer: access.ownRules},
	}
	return authenticationStorage, authorizationStorage
}
