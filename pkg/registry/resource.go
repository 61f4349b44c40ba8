// SPDX-License-Identifier: Apache-2.0

// Package registry is the resource table: one row says all about a resource, and one generic strategy serves every row.
// To add a resource, add a row to the file of its group (core.go, apps.go, …), a SetDefaults function and Validate functions
// in apis/<group>, and its columns in pkg/registry/table. Only true exceptions have code of their own: bindings, eviction,
// scale, tokens, address allocation, and the streams of a pod.
//
// Cost: a row is about 60 KB resident once served (its REST routes), whatever the number of its objects.
package registry

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Kind is one row of the table, typed: T is the k8s.io/api type, which is also the form in which every part of the server
// sees the object. A nil function means that there is nothing to do. Functions get objects they may change only where
// the name says so (SetDefaults, Prepare…).
type Kind[T any] struct {
	Resource   string // plural, as in the path
	Singular   string
	ShortNames []string
	Categories []string
	List       func() runtime.Object
	// Cluster is true for kinds outside of namespaces.
	Cluster bool

	SetDefaults      func(*T)
	PrepareForCreate func(*T)
	PrepareForUpdate func(new, old *T)
	// PrepareForStatusUpdate runs after all but status and metadata has been put back.
	PrepareForStatusUpdate func(new, old *T)
	Validate               func(*T) field.ErrorList
	ValidateUpdate         func(new, old *T) field.ErrorList
	ValidateStatusUpdate   func(new, old *T) field.ErrorList
	// Warnings are said to whoever creates the object, when old is nil, or updates it; StatusWarnings to whoever updates its status.
	Warnings, StatusWarnings func(new, old *T) []string
	// Fields are what field selectors can select by, besides metadata.name and metadata.namespace. Every key must be
	// present for every object.
	Fields func(*T) fields.Set

	// Status says that the kind has a status subresource.
	Status bool
	// StatusOnCreate keeps the status that an object is created with, as that of a Node is, or leaves it to PrepareForCreate.
	StatusOnCreate bool
	// Generation says that metadata.generation counts changes of the spec, or what Changed says is a change.
	Generation bool
	Changed    func(new, old *T) bool
	// Resets is what besides the status an update leaves alone, as paths; PrepareForUpdate puts it back.
	Resets []string
	// StatusResets is what besides the spec a write of the status leaves alone, as paths. "metadata" is all of it that a client may set.
	StatusResets []string
	// DeleteWarning is said to clients that delete and do not say what becomes of dependents.
	DeleteWarning string
	// AlsoServed are the other versions that the kind is served in.
	AlsoServed []schema.GroupVersion
	// ReturnDeleted answers a delete with the object that is gone, not with a Status.
	ReturnDeleted bool
	// NoGC says that the kind is too short-lived for the garbage collector: policies of deletion do nothing.
	NoGC bool
	// UnknownField is how a selector by a field that is none of Fields is refused, with a verb for the field; the words of most kinds that have
	// Fields where it is empty.
	UnknownField string
	// CreateOnUpdate lets a PUT create the object.
	CreateOnUpdate bool
	// NeedsResourceVersion refuses updates that carry no resourceVersion.
	NeedsResourceVersion bool
	// Orphan keeps dependents by default when the object is deleted.
	Orphan bool
	// GracePeriod, where set, makes deletion graceful: it returns the seconds to grant, given what the client asked for.
	GracePeriod func(obj *T, options *metav1.DeleteOptions) int64
	// Held, where set, tells whether an object that is being deleted is kept by more than metadata.finalizers.
	Held func(obj *T) bool
	// TTL is how many seconds an object lives, 0 for ever.
	TTL uint64
}

// Resource is a row whose type has been forgotten, so that all rows fit one list.
type Resource struct {
	GroupVersion schema.GroupVersion
	Kind         string
	Resource     string
	Singular     string
	ShortNames   []string
	Categories   []string
	Namespaced   bool

	New     func() runtime.Object
	NewList func() runtime.Object

	status, statusOnCreate, generation, createOnUpdate, needsResourceVersion bool

	setDefaults          func(runtime.Object)
	prepareForCreate     func(runtime.Object)
	prepareForUpdate     func(obj, old runtime.Object)
	prepareForStatus     func(obj, old runtime.Object)
	changed              func(obj, old runtime.Object) bool
	validate             func(runtime.Object) field.ErrorList
	validateUpdate       func(obj, old runtime.Object) field.ErrorList
	validateStatusUpdate func(obj, old runtime.Object) field.ErrorList
	warnings             func(obj, old runtime.Object) []string
	statusWarnings       func(obj, old runtime.Object) []string
	fields               func(runtime.Object) fields.Set
	gracePeriod          func(runtime.Object, *metav1.DeleteOptions) int64
	held                 func(runtime.Object) bool
	gcPolicy             rest.GarbageCollectionPolicy
	resets, statusResets []string
	deleteWarning        string
	alsoServed           []schema.GroupVersion
	returnDeleted        bool
	unknownField         string
	ttl                  uint64
}

// GroupResource names the resource without its version.
func (r *Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.GroupVersion.Group, Resource: r.Resource}
}

// GroupVersionKind names the kind as it is stored.
func (r *Resource) GroupVersionKind() schema.GroupVersionKind {
	return r.GroupVersion.WithKind(r.Kind)
}

// in makes the row a resource of gv. name is the kind.
func (k Kind[T]) in(gv schema.GroupVersion, name string) *Resource {
	typed := func(obj runtime.Object) *T { return any(obj).(*T) }
	one := func(f func(*T)) func(runtime.Object) {
		if f == nil {
			return nil
		}
		return func(obj runtime.Object) { f(typed(obj)) }
	}
	errs := func(f func(new, old *T) field.ErrorList) func(obj, old runtime.Object) field.ErrorList {
		if f == nil {
			return nil
		}
		return func(obj, old runtime.Object) field.ErrorList { return f(typed(obj), typed(old)) }
	}
	r := &Resource{
		GroupVersion: gv, Kind: name, Resource: k.Resource, Singular: k.Singular, ShortNames: k.ShortNames, Categories: k.Categories,
		Namespaced: !k.Cluster,
		New:        func() runtime.Object { return any(new(T)).(runtime.Object) },
		NewList:    k.List,
		status:     k.Status, statusOnCreate: k.StatusOnCreate, generation: k.Generation, createOnUpdate: k.CreateOnUpdate, needsResourceVersion: k.NeedsResourceVersion,
		setDefaults: one(k.SetDefaults), prepareForCreate: one(k.PrepareForCreate),
		validateUpdate: errs(k.ValidateUpdate), validateStatusUpdate: errs(k.ValidateStatusUpdate),
		ttl: k.TTL, gcPolicy: rest.DeleteDependents,
		resets: k.Resets, statusResets: k.StatusResets, deleteWarning: k.DeleteWarning, alsoServed: k.AlsoServed, returnDeleted: k.ReturnDeleted, unknownField: k.UnknownField,
	}
	said := func(f func(new, old *T) []string) func(obj, old runtime.Object) []string {
		if f == nil {
			return nil
		}
		return func(obj, old runtime.Object) []string {
			if old == nil {
				return f(typed(obj), nil)
			}
			return f(typed(obj), typed(old))
		}
	}
	r.warnings, r.statusWarnings = said(k.Warnings), said(k.StatusWarnings)
	r.changed = specChanged
	if k.Changed != nil {
		r.changed = func(obj, old runtime.Object) bool { return k.Changed(typed(obj), typed(old)) }
	}
	switch {
	case k.Orphan:
		r.gcPolicy = rest.OrphanDependents
	case k.NoGC:
		r.gcPolicy = rest.Unsupported
	}
	if k.Validate != nil {
		r.validate = func(obj runtime.Object) field.ErrorList { return k.Validate(typed(obj)) }
	}
	two := func(f func(new, old *T)) func(obj, old runtime.Object) {
		if f == nil {
			return nil
		}
		return func(obj, old runtime.Object) { f(typed(obj), typed(old)) }
	}
	r.prepareForUpdate, r.prepareForStatus = two(k.PrepareForUpdate), two(k.PrepareForStatusUpdate)
	if k.Fields != nil {
		r.fields = func(obj runtime.Object) fields.Set { return k.Fields(typed(obj)) }
	}
	if k.GracePeriod != nil {
		r.gracePeriod = func(obj runtime.Object, o *metav1.DeleteOptions) int64 { return k.GracePeriod(typed(obj), o) }
	}
	if k.Held != nil {
		r.held = func(obj runtime.Object) bool { return k.Held(typed(obj)) }
	}
	return r
}
