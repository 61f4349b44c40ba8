// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// fewErrors refuses a large object with more errors in its metadata than a client is told of. The machinery, which looks for them in every update itself, joins
// them one by one.
type fewErrors struct{ *admission.Handler }

// NewFewErrors returns the plugin. It belongs behind those that change objects.
func NewFewErrors() admission.MutationInterface {
	return fewErrors{admission.NewHandler(admission.Create, admission.Update)}
}

// Admit implements admission.MutationInterface. It changes nothing.
func (fewErrors) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	account := room.AccountOf(ctx)
	if account == nil || !account.Sprawls() {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return nil // an object without metadata, such as a review's options
	}
	errs := validation.ValidateObjectMetaAccessor(object, object.GetNamespace() != "", path.ValidatePathSegmentName, field.NewPath("metadata"))
	if len(errs) <= room.MostErrors {
		return nil
	}
	return apierrors.NewInvalid(a.GetKind().GroupKind(), object.GetName(), room.Few(errs))
}
