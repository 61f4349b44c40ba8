// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
)

// PolicyParameters lets only those use an object as the parameter of an admission policy who may read it: the policy's answers
// would tell them of it.
type PolicyParameters struct {
	*admission.Handler
	client     kubernetes.Interface
	authorizer authorizer.UnconditionalAuthorizer
	kinds      func(schema.GroupKind, ...string) (*meta.RESTMapping, error)
}

// NewPolicyParameters returns the plugin. It finds policies, and which resources kinds are, by client.
func NewPolicyParameters(client kubernetes.Interface, authorizer authorizer.UnconditionalAuthorizer) *PolicyParameters {
	return &PolicyParameters{
		Handler: admission.NewHandler(admission.Create, admission.Update), client: client, authorizer: authorizer,
		// A mapper that lives on would be kept in memory for what is asked some times in a cluster's life.
		kinds: func(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
			return newKinds(client.Discovery()).RESTMapping(kind, versions...)
		},
	}
}

// Validate implements admission.ValidationInterface.
func (p *PolicyParameters) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != admissionv1.GroupName || a.GetSubresource() != "" || slices.Contains(a.GetUserInfo().GetGroups(), user.SystemPrivilegedGroup) {
		return nil
	}
	now := usesOf(a.GetObject())
	if reflect.DeepEqual(now, usesOf(a.GetOldObject())) {
		return nil
	}
	path := "paramKind"
	var err error
	switch {
	case now.kind != nil:
		err = p.mayReadAll(ctx, a.GetUserInfo(), now.kind)
	case now.ref != nil:
		path, err = "paramRef", p.mayRead(ctx, a.GetUserInfo(), now)
	}
	if err == nil {
		return nil
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), a.GetName(), field.ErrorList{field.Forbidden(field.NewPath("spec", path), err.Error())})
}

// uses is the kind of parameters that a policy has, or the parameters that a binding gives to its policy.
type uses struct {
	kind     *admissionv1.ParamKind
	ref      *admissionv1.ParamRef
	policy   string
	mutating bool
}

func usesOf(obj runtime.Object) uses {
	switch o := obj.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return uses{kind: o.Spec.ParamKind}
	case *admissionv1.MutatingAdmissionPolicy:
		return uses{kind: o.Spec.ParamKind}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return uses{ref: o.Spec.ParamRef, policy: o.Spec.PolicyName}
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return uses{ref: o.Spec.ParamRef, policy: o.Spec.PolicyName, mutating: true}
	}
	return uses{}
}

// mayReadAll tells why who may not read all objects of the kind.
func (p *PolicyParameters) mayReadAll(ctx context.Context, who user.Info, kind *admissionv1.ParamKind) error {
	resource, _ := p.resource(kind)
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: "get", ResourceRequest: true, Name: "*", Namespace: "*",
		APIGroup: resource.Group, APIVersion: resource.Version, Resource: resource.Resource,
	})
	if err != nil {
		return err
	}
	if decision != authorizer.DecisionAllow {
		return fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, who, kind.Kind, kind.APIVersion)
	}
	return nil
}

// mayRead tells why who may not read what a binding refers to. Where it is not known of which kind that is, who must be allowed to
// read everything of the name.
func (p *PolicyParameters) mayRead(ctx context.Context, who user.Info, binding uses) error {
	ref, resource := binding.ref, anyResource
	kind, unknown := p.kindOf(ctx, binding)
	switch {
	case unknown != nil:
		unknown = fmt.Errorf("unable to get policy %s", binding.policy)
	case kind != nil:
		var err error
		resource, err = p.resource(kind)
		switch {
		case errors.Is(err, errNoVersion):
			unknown = fmt.Errorf("unable to parse paramKind %v", kind)
		case err != nil:
			unknown = fmt.Errorf("unable to resolve paramKind %v", kind)
		}
	}
	verb := "get"
	if ref.Name == "" {
		verb = "list"
	}
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: verb, ResourceRequest: true, Name: ref.Name, Namespace: ref.Namespace,
		APIGroup: resource.Group, APIVersion: resource.Version, Resource: resource.Resource,
	})
	switch {
	case err != nil:
		return fmt.Errorf("failed to authorize request: %w", err)
	case decision == authorizer.DecisionAllow:
		return nil
	case unknown != nil:
		return fmt.Errorf(`%w to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`, unknown, who, verb)
	}
	return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, who, verb)
}

// kindOf is the kind of parameters of the policy that a binding is of, nil where it has none.
func (p *PolicyParameters) kindOf(ctx context.Context, binding uses) (*admissionv1.ParamKind, error) {
	v1 := p.client.AdmissionregistrationV1()
	if binding.mutating {
		policy, err := v1.MutatingAdmissionPolicies().Get(ctx, binding.policy, metav1.GetOptions{})
		return policy.Spec.ParamKind, err
	}
	policy, err := v1.ValidatingAdmissionPolicies().Get(ctx, binding.policy, metav1.GetOptions{})
	return policy.Spec.ParamKind, err
}

var (
	anyResource  = schema.GroupVersionResource{Group: "*", Version: "*", Resource: "*"}
	errNoVersion = errors.New("not a group and version")
)

// resource is what kind is served as. With an error it is the narrowest set of resources that has kind in it for certain.
func (p *PolicyParameters) resource(kind *admissionv1.ParamKind) (schema.GroupVersionResource, error) {
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return anyResource, errNoVersion
	}
	mapping, err := p.kinds(gv.WithKind(kind.Kind).GroupKind(), gv.Version)
	if err != nil {
		return gv.WithResource("*"), err
	}
	return mapping.Resource, nil
}

var _ admission.ValidationInterface = (*PolicyParameters)(nil)
