// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"context"
	"maps"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsinternal "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// fewErrors is the last that admits an object which the machinery validates: it refuses one with more errors than a client is told of. The machinery compares each
// with all others, and joins them one by one, which takes minutes. Only of objects that are large enough to have so many is anything looked at twice.
type fewErrors struct {
	admission.Interface
	validate func(context.Context, admission.Attributes) (field.ErrorList, error)
}

// FewErrors returns an admission of CustomResourceDefinitions, after inner's, that refuses those with very many errors.
func FewErrors(inner admission.Interface) admission.Interface {
	return fewErrors{inner, validateDefinition}
}

// Admit implements admission.MutationInterface.
func (f fewErrors) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if inner, ok := f.Interface.(admission.MutationInterface); ok {
		if err := inner.Admit(ctx, a, o); err != nil {
			return err
		}
	}
	if account := room.AccountOf(ctx); account == nil || !account.Sprawls() {
		return nil
	}
	errs, err := f.validate(ctx, a)
	if err != nil {
		return err
	}
	if len(errs) <= room.MostErrors {
		return nil // the machinery finds them again
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), a.GetName(), room.Few(errs))
}

// Validate implements admission.ValidationInterface.
func (f fewErrors) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if inner, ok := f.Interface.(admission.ValidationInterface); ok {
		return inner.Validate(ctx, a, o)
	}
	return nil
}

// validateDefinition validates a new or changed definition as the machinery does.
func validateDefinition(ctx context.Context, a admission.Attributes) (field.ErrorList, error) {
	d, ok := a.GetObject().(*apiextensionsinternal.CustomResourceDefinition)
	if !ok || a.GetSubresource() != "" {
		return nil, nil
	}
	shallow := *d // what is prepared is not below its status
	strategy := customresourcedefinition.NewStrategy(apiextensions.Scheme)
	if a.GetOperation() == admission.Create {
		strategy.PrepareForCreate(ctx, &shallow)
		return strategy.Validate(ctx, &shallow), nil
	}
	strategy.PrepareForUpdate(ctx, &shallow, a.GetOldObject())
	return strategy.ValidateUpdate(ctx, &shallow, a.GetOldObject()), nil
}

// validateObject returns what looks for errors in objects of a definition, in what its schema says of their parts and in lists whose elements must differ.
// What rules find wrong is bounded by what they may cost.
func validateObject(d *apiextensionsv1.CustomResourceDefinition) func(context.Context, admission.Attributes) (field.ErrorList, error) {
	return func(_ context.Context, a admission.Attributes) (field.ErrorList, error) {
		object, ok := a.GetObject().(*unstructured.Unstructured)
		if !ok || a.GetSubresource() != "" && a.GetSubresource() != "status" {
			return nil, nil
		}
		of, err := schemasOf(d, a.GetKind().Version)
		if err != nil {
			return nil, err
		}
		var before map[string]any
		if old, ok := a.GetOldObject().(*unstructured.Unstructured); ok && old != nil {
			before = old.Object
		}
		content := maps.Clone(object.Object)
		if a.GetSubresource() == "status" {
			maps.DeleteFunc(content, func(part string, _ any) bool { return part != "status" })
		} else if of.status {
			delete(content, "status") // which the machinery drops
		}
		var errs field.ErrorList
		if len(listtype.ValidateListSetsAndMaps(nil, of.structural, before)) == 0 { // the machinery leaves alone what was so before
			errs = listtype.ValidateListSetsAndMaps(nil, of.structural, content)
		}
		return append(errs, errorsInPieces(content, before, of.whole)...), nil
	}
}

// schemas are what a version's objects are like.
type schemas struct {
	whole      *spec.Schema
	structural *structuralschema.Structural
	status     bool // is a subresource
}

func schemasOf(d *apiextensionsv1.CustomResourceDefinition, version string) (schemas, error) {
	out := schemas{whole: &spec.Schema{}, structural: &structuralschema.Structural{}}
	subresources, err := apiextensionshelpers.GetSubresourcesForVersion(d, version)
	if err != nil {
		return out, err
	}
	out.status = subresources != nil && subresources.Status != nil
	validation, err := apiextensionshelpers.GetSchemaForVersion(d, version)
	if err != nil || validation == nil || validation.OpenAPIV3Schema == nil {
		return out, err
	}
	var internal apiextensionsinternal.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(validation, &internal, nil); err != nil {
		return out, err
	}
	if out.structural, err = structuralschema.NewStructural(internal.OpenAPIV3Schema); err != nil {
		if !d.Spec.PreserveUnknownFields {
			return out, err
		}
		out.structural = &structuralschema.Structural{}
	}
	_, out.whole, err = apiservervalidation.NewSchemaValidator(internal.OpenAPIV3Schema)
	return out, err
}
