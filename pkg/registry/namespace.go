// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/core"
	"github.com/hivemind-project/hivemind/pkg/room"
)

// namespaceStore is what a namespace shares with every other row: all but deletion, and no deletion of collections.
type namespaceStore interface {
	rest.Storage
	rest.Scoper
	rest.Lister
	rest.Getter
	rest.CreaterUpdater
	rest.Watcher
	rest.ShortNamesProvider
	rest.SingularNameProvider
	rest.StorageVersionProvider
	rest.ResetFieldsStrategy
}

// namespaceREST serves namespaces. Deleting one only marks it Terminating; it goes when its spec.finalizers are empty, that
// is when the namespace controller has removed everything in it.
type namespaceREST struct {
	namespaceStore
	store *Store
}

func newNamespaceREST(s *Store) *namespaceREST {
	return &namespaceREST{namespaceStore: s, store: s}
}

func (r *namespaceREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	p := options.Preconditions
	if p.UID == nil {
		p.UID = &ns.UID
	}
	if *p.UID != ns.UID {
		return nil, false, errors.NewConflict(corev1.Resource("namespaces"), name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", *p.UID, ns.UID))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != ns.ResourceVersion {
		return nil, false, errors.NewConflict(corev1.Resource("namespaces"), name,
			fmt.Errorf("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", *p.ResourceVersion, ns.ResourceVersion))
	}
	if ns.DeletionTimestamp == nil {
		out, err := r.terminate(ctx, name, validate, options)
		return out, false, err
	}
	if len(ns.Spec.Finalizers) > 0 {
		return ns, false, nil
	}
	return r.store.Delete(ctx, name, validate, options)
}

// terminate starts the end of a namespace.
func (r *namespaceREST) terminate(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, error) {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &corev1.Namespace{}
	preconditions := &storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	err = r.store.Store.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		ns := obj.(*corev1.Namespace)
		if err := validate(ctx, ns); err != nil {
			return nil, err
		}
		if ns.DeletionTimestamp == nil {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		setPropagationFinalizers(ns, options)
		return ns, nil
	}), dryrun.IsDryRun(options.DryRun), nil)
	if err == nil {
		return out, nil
	}
	err = storeerr.InterpretUpdateError(storeerr.InterpretGetError(err, corev1.Resource("namespaces"), name), corev1.Resource("namespaces"), name)
	if _, ok := err.(*errors.StatusError); !ok {
		err = errors.NewInternalError(err)
	}
	return nil, err
}

// setPropagationFinalizers adds and removes the garbage collector's finalizers as the deletion asks: by its policy, or by the older field,
// which knows two of the three.
func setPropagationFinalizers(ns *corev1.Namespace, options *metav1.DeleteOptions) {
	asked := options.PropagationPolicy
	if orphan := options.OrphanDependents; orphan != nil { //nolint:staticcheck // deprecated, and still sent by older clients
		asked = ptr.To(metav1.DeletePropagationForeground)
		if *orphan {
			asked = ptr.To(metav1.DeletePropagationOrphan)
		}
	}
	want := func(finalizer string, policy metav1.DeletionPropagation) {
		if asked == nil {
			return
		}
		ns.Finalizers = slices.DeleteFunc(ns.Finalizers, func(f string) bool { return f == finalizer })
		if *asked == policy {
			ns.Finalizers = append(ns.Finalizers, finalizer)
		}
	}
	want(metav1.FinalizerOrphanDependents, metav1.DeletePropagationOrphan)
	want(metav1.FinalizerDeleteDependents, metav1.DeletePropagationForeground)
}

// finalizeStrategy changes spec.finalizers of a namespace and nothing else.
type finalizeStrategy struct{ strategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	obj.(*corev1.Namespace).Status = old.(*corev1.Namespace).Status
}

func (finalizeStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return room.Few(core.ValidateNamespaceFinalizeUpdate(obj.(*corev1.Namespace), old.(*corev1.Namespace)))
}

// namespaceFinalizeREST serves namespaces/finalize.
type namespaceFinalizeREST struct{ store *genericregistry.Store }

func newNamespaceFinalizeREST(s *Store) *namespaceFinalizeREST {
	store := *s.Store
	store.UpdateStrategy = finalizeStrategy{strategy{ObjectTyper: s.CreateStrategy, NameGenerator: names.SimpleNameGenerator, row: s.row}}
	return &namespaceFinalizeREST{&store}
}

func (r *namespaceFinalizeREST) New() runtime.Object { return &corev1.Namespace{} }
func (r *namespaceFinalizeREST) Destroy()            {}

func (r *namespaceFinalizeREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

var (
	_ rest.GracefulDeleter = (*namespaceREST)(nil)
	_ rest.Updater         = (*namespaceFinalizeREST)(nil)
)
