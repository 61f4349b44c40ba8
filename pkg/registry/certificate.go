// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/hivemind-project/hivemind/apis/certificates"
	"github.com/hivemind-project/hivemind/pkg/room"
)

// requesterStrategy writes into a new CertificateSigningRequest who asks for it.
type requesterStrategy struct{ strategy }

// attachRequester has the store of CertificateSigningRequests do so.
func attachRequester(s *Store) { s.CreateStrategy = requesterStrategy{s.CreateStrategy.(strategy)} }

func (s requesterStrategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	s.strategy.PrepareForCreate(ctx, obj)
	spec := &obj.(*certificatesv1.CertificateSigningRequest).Spec
	spec.Username, spec.UID, spec.Groups, spec.Extra = "", "", nil, nil
	who, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return
	}
	spec.Username, spec.UID, spec.Groups = who.GetName(), who.GetUID(), who.GetGroups()
	for key, values := range who.GetExtra() {
		if spec.Extra == nil {
			spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		spec.Extra[key] = values
	}
}

// approvalREST serves certificatesigningrequests/approval, which changes the conditions of a request and nothing else.
type approvalREST struct {
	store *genericregistry.Store
	reset approvalStrategy
}

func newApprovalREST(s *Store) *approvalREST {
	approval := approvalStrategy{strategy{ObjectTyper: s.CreateStrategy, NameGenerator: names.SimpleNameGenerator, row: s.row}}
	store := *s.Store
	store.UpdateStrategy, store.ResetFieldsStrategy = approval, approval
	return &approvalREST{&store, approval}
}

func (r *approvalREST) New() runtime.Object { return &certificatesv1.CertificateSigningRequest{} }
func (r *approvalREST) Destroy()            {}

func (r *approvalREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

func (r *approvalREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

func (r *approvalREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}

func (r *approvalREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.reset.GetResetFields()
}

type approvalStrategy struct{ strategy }

func (s approvalStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	certificates.PrepareCertificateSigningRequestForApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))
}

func (s approvalStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return room.Few(certificates.ValidateCertificateSigningRequestApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest)))
}

func (s approvalStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.row.GroupVersion.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status", "certificate")),
	}
}

var (
	_ rest.Patcher             = (*approvalREST)(nil)
	_ rest.ResetFieldsStrategy = approvalStrategy{}
)
