// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/hivemind-project/hivemind/pkg/registry/table"
	"github.com/hivemind-project/hivemind/pkg/storage/raw"
)

// Store serves one row: create, get, list, watch, update, patch, apply, delete.
type Store struct {
	*genericregistry.Store
	row *Resource
	// raw, which may be nil, reads what is stored without decoding it, for requests that want that.
	raw *genericregistry.Store
}

// newStore makes the store of row over the storage that options lead to.
func newStore(typer runtime.ObjectTyper, row *Resource, options generic.RESTOptionsGetter, encoder runtime.Encoder, since int64) (*Store, error) {
	base := strategy{ObjectTyper: typer, NameGenerator: names.SimpleNameGenerator, row: row}
	store := &genericregistry.Store{
		NewFunc:                   row.New,
		NewListFunc:               row.NewList,
		DefaultQualifiedResource:  row.GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: row.GroupVersion.Group, Resource: row.Singular},
		CreateStrategy:            base,
		UpdateStrategy:            base,
		DeleteStrategy:            base,
		ResetFieldsStrategy:       base,
		ReturnDeletedObject:       row.returnDeleted,
		TableConvertor:            table.For(schema.GroupKind{Group: row.GroupVersion.Group, Kind: row.Kind}),
	}
	if row.gracePeriod != nil {
		store.DeleteStrategy = gracefulStrategy{base}
	}
	if row.held != nil {
		// Every store of the row, that of its status included, ends an object that nothing holds any more.
		store.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
			return !row.held(obj) && genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
		}
	}
	if row.ttl > 0 {
		store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return row.ttl, nil }
	}
	err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options, AttrFunc: row.attributes})
	if err != nil {
		return nil, fmt.Errorf("make the store of %s: %w", row.GroupResource(), err)
	}
	store.StorageVersioner = row.GroupVersion // from which discovery makes the hash of the storage version
	raw, err := newRawStore(store, row, options, encoder, since)
	if err != nil {
		return nil, fmt.Errorf("make the store of %s: %w", row.GroupResource(), err)
	}
	return &Store{Store: store, row: row, raw: raw}, nil
}

// newRawStore returns store as it reads for clients of encoder: bytes, not objects.
func newRawStore(store *genericregistry.Store, row *Resource, options generic.RESTOptionsGetter, encoder runtime.Encoder, since int64) (*genericregistry.Store, error) {
	resource, err := options.GetRESTOptions(row.GroupResource(), row.New())
	if err != nil {
		return nil, err
	}
	config := *resource.StorageConfig
	kind := raw.NewKind(raw.Kind{
		GroupVersion: row.GroupVersion, ListKind: row.Kind + "List", NewList: row.NewList, Codec: config.Codec, Encoder: encoder, Since: since,
	})
	config.Codec = raw.Codec{Codec: config.Codec, Kind: kind}
	// Bookmarks, which are made and not read, are objects.
	over, _, err := resource.Decorator(&config, "/"+resource.ResourcePrefix, nil, row.New, kind.NewList, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	reader := *store
	reader.NewFunc, reader.NewListFunc = kind.NewObject, kind.NewRawList
	reader.Storage = genericregistry.DryRunnableStorage{Storage: over, Codec: config.Codec}
	return &reader, nil
}

// Get is the generic store's.
func (s *Store) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if s.raw != nil && raw.Wanted(ctx) {
		return s.raw.Get(ctx, name, options)
	}
	return s.Store.Get(ctx, name, options)
}

// Watch is the generic store's.
func (s *Store) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if s.raw != nil && raw.Wanted(ctx) && !selects(options) {
		return s.raw.Watch(ctx, options)
	}
	return s.Store.Watch(ctx, options)
}

// selects tells whether objects have to be looked into to know if they are wanted.
func selects(options *metainternalversion.ListOptions) bool {
	return options != nil && (options.LabelSelector != nil && !options.LabelSelector.Empty() || options.FieldSelector != nil && !options.FieldSelector.Empty() || options.ShardSelector != "")
}

// List is the generic store's, but for what items say of their kind: the list says it for all, as kube-apiserver's lists do.
func (s *Store) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	if s.raw != nil && raw.Wanted(ctx) && !selects(options) {
		return s.raw.List(ctx, options)
	}
	return untyped(s.Store.List(ctx, options))
}

// Delete is the generic store's; it says what becomes of dependents where the client does not.
func (s *Store) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	GrowStack()
	s.warnOfDependents(ctx, options)
	return s.Store.Delete(ctx, name, validate, options)
}

func (s *Store) warnOfDependents(ctx context.Context, options *metav1.DeleteOptions) {
	if s.row.deleteWarning != "" && options != nil && options.PropagationPolicy == nil && options.OrphanDependents == nil { //nolint:staticcheck // clients still send it
		warning.AddWarning(ctx, "", s.row.deleteWarning)
	}
}

// DeleteCollection is the generic store's; it answers with what was deleted, as List does.
func (s *Store) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, which *metainternalversion.ListOptions) (runtime.Object, error) {
	s.warnOfDependents(ctx, options)
	return untyped(s.Store.DeleteCollection(ctx, validate, options, which))
}

func untyped(list runtime.Object, err error) (runtime.Object, error) {
	if err != nil {
		return nil, err
	}
	return list, meta.EachListItem(list, func(item runtime.Object) error {
		item.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return nil
	})
}

// attributes is what label and field selectors see of an object.
func (r *Resource) attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{}
	if r.fields != nil {
		set = r.fields(obj)
	}
	set["metadata.name"] = m.GetName()
	if r.Namespaced {
		set["metadata.namespace"] = m.GetNamespace()
	}
	return m.GetLabels(), set, nil
}

func (s *Store) ShortNames() []string { return s.row.ShortNames }
func (s *Store) Categories() []string { return s.row.Categories }

// statusREST serves /status of a row: it changes the status and nothing else.
type statusREST struct {
	store *genericregistry.Store
	row   *Resource
	reset rest.ResetFieldsStrategy
}

func newStatusREST(s *Store) *statusREST {
	status := statusStrategy{strategy{ObjectTyper: s.CreateStrategy, NameGenerator: names.SimpleNameGenerator, row: s.row}}
	store := *s.Store
	store.UpdateStrategy = status
	store.ResetFieldsStrategy = status
	return &statusREST{store: &store, row: s.row, reset: status}
}

func (s *statusREST) New() runtime.Object { return s.row.New() }
func (s *statusREST) Destroy()            {}

func (s *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

func (s *statusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	GrowStackFor("update", s.store.DefaultQualifiedResource.Resource)
	// A status is of something that is there: never create, whatever the kind allows for PUT.
	return s.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

func (s *statusREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, options)
}

func (s *statusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset.GetResetFields()
}

// Storage is the resource's place in the storage, for informers that read it in process.
func (s *Store) Storage() storage.Interface { return s.Store.Storage.Storage }

var (
	_ rest.StandardStorage    = (*Store)(nil)
	_ rest.ShortNamesProvider = (*Store)(nil)
	_ rest.Patcher            = (*statusREST)(nil)
)
