// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	stderrors "errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// checkReview refuses a question that does not pass validate. The refusal names no kind, as kube-apiserver's does not.
func checkReview[T any](validate func(*T) field.ErrorList) func(runtime.Object) error {
	return func(obj runtime.Object) error {
		if errs := validate(any(obj).(*T)); len(errs) > 0 {
			return errors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", room.Few(errs))
		}
		return nil
	}
}

// accessReviews answer whether somebody may do something, by the server's own authorizer.
type accessReviews struct {
	authorizer authorizer.Authorizer
	rules      authorizer.RuleResolver
}

func (a accessReviews) subject(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	r := obj.(*authorizationv1.SubjectAccessReview)
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

func (a accessReviews) local(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	r := obj.(*authorizationv1.LocalSubjectAccessReview)
	if namespace := genericrequest.NamespaceValue(ctx); r.Spec.ResourceAttributes.Namespace != namespace {
		return nil, errors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, nil)
	return r, nil
}

func (a accessReviews) self(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	r := obj.(*authorizationv1.SelfSubjectAccessReview)
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, errors.NewBadRequest("no user present on request")
	}
	r.Status = a.decide(ctx, who, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
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
		attributes.FieldSelectorRequirements, attributes.FieldSelectorParsingErr = fieldRequirements(resource.FieldSelector)
		attributes.LabelSelectorRequirements, attributes.LabelSelectorParsingErr = labelRequirements(resource.LabelSelector)
	} else if path != nil {
		attributes.Verb, attributes.Path = path.Verb, path.Path
	}
	decision, reason, err := a.authorizer.Authorize(ctx, attributes)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
		EvaluationError: evaluationError(attributes, err),
	}
}

// fieldRequirements are what a list is narrowed by. An error stands beside those that could be understood: all of them hold at once, so
// that without the others more is asked for, not less.
func fieldRequirements(selector *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	switch {
	case selector == nil:
		return nil, nil
	case selector.RawSelector != "":
		parsed, err := fields.ParseSelector(selector.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var out fields.Requirements
	var errs []error
	for _, r := range selector.Requirements {
		operator := selection.Equals
		switch r.Operator {
		case metav1.FieldSelectorOpIn:
		case metav1.FieldSelectorOpNotIn:
			operator = selection.NotEquals
		default:
			errs = append(errs, fmt.Errorf("field selectors do not support the operator %q", r.Operator))
			continue
		}
		if len(r.Values) != 1 {
			errs = append(errs, fmt.Errorf("a field selector needs one value, %s has %d", r.Key, len(r.Values)))
			continue
		}
		out = append(out, fields.Requirement{Field: r.Key, Operator: operator, Value: r.Values[0]})
	}
	return out, stderrors.Join(errs...)
}

// labelRequirements are fieldRequirements for labels.
func labelRequirements(selector *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	switch {
	case selector == nil:
		return nil, nil
	case selector.RawSelector != "":
		parsed, err := labels.Parse(selector.RawSelector)
		if err != nil {
			return nil, err
		}
		requirements, _ := parsed.Requirements()
		return requirements, nil
	}
	var out labels.Requirements
	var errs []error
	for _, r := range selector.Requirements {
		one, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		requirements, _ := one.Requirements()
		out = append(out, requirements...)
	}
	return out, stderrors.Join(errs...)
}

// evaluationError tells what did not count in the decision.
func evaluationError(attributes authorizer.AttributesRecord, err error) string {
	var said []string
	if err != nil {
		said = append(said, err.Error())
	}
	for _, selector := range []struct {
		name  string
		known int
		err   error
	}{
		{"fieldSelector", len(attributes.FieldSelectorRequirements), attributes.FieldSelectorParsingErr},
		{"labelSelector", len(attributes.LabelSelectorRequirements), attributes.LabelSelectorParsingErr},
	} {
		if selector.err == nil {
			continue
		}
		how := "ignored"
		if selector.known > 0 {
			how = "partially ignored"
		}
		said = append(said, fmt.Sprintf("spec.resourceAttributes.%s %s due to parse error", selector.name, how))
	}
	return strings.Join(said, "; ")
}

// ownRules answers with the rules alone: the question is not repeated.
func (a accessReviews) ownRules(ctx context.Context, obj runtime.Object) (runtime.Object, error) {
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return nil, errors.NewBadRequest("no user present on request")
	}
	namespace := obj.(*authorizationv1.SelfSubjectRulesReview).Spec.Namespace
	if namespace == "" {
		return nil, errors.NewBadRequest("no namespace on request")
	}
	resources, paths, incomplete, err := a.rules.RulesFor(ctx, who, namespace)
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete}
	for _, rule := range resources {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
	}
	for _, rule := range paths {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return &authorizationv1.SelfSubjectRulesReview{Status: status}, nil
}

func subjectOf(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	extra := map[string][]string{}
	for k, v := range spec.Extra {
		extra[k] = v
	}
	return &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID, Extra: extra}
}
