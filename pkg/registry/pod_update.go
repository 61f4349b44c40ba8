// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// podUpdateREST serves a subresource that changes one part of a running pod: ephemeralcontainers and resize.
type podUpdateREST struct{ store *genericregistry.Store }

// newPodUpdateREST takes what brings a request down to the part it may change, and what checks the result.
func newPodUpdateREST(s *Store, prepare func(pod, old *corev1.Pod), validate func(pod, old *corev1.Pod) field.ErrorList) *podUpdateREST {
	store := *s.Store
	base := strategy{ObjectTyper: s.CreateStrategy, NameGenerator: names.SimpleNameGenerator, row: s.row}
	store.UpdateStrategy = podPartStrategy{base, prepare, validate}
	store.ResetFieldsStrategy = nil
	return &podUpdateREST{&store}
}

// podPartStrategy replaces what the row says of updates.
type podPartStrategy struct {
	strategy
	prepare  func(pod, old *corev1.Pod)
	validate func(pod, old *corev1.Pod) field.ErrorList
}

func (s podPartStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	s.prepare(obj.(*corev1.Pod), old.(*corev1.Pod))
	generation := old.(*corev1.Pod).Generation
	if s.row.changed(obj, old) {
		generation++
	}
	obj.(*corev1.Pod).Generation = generation
}

func (s podPartStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return room.Few(s.validate(obj.(*corev1.Pod), old.(*corev1.Pod)))
}

func (r *podUpdateREST) New() runtime.Object { return &corev1.Pod{} }
func (r *podUpdateREST) Destroy()            {}

func (r *podUpdateREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

func (r *podUpdateREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

var _ rest.Patcher = (*podUpdateREST)(nil)
