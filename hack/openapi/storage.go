// SPDX-License-Identifier: Apache-2.0

//go:build openapi

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
)

var errNotServed = errors.New("serves documents alone")

// resource is what all stand-ins have in common.
type resource struct {
	served
	scheme *runtime.Scheme
}

func (r resource) New() runtime.Object {
	obj, err := r.scheme.New(r.kind)
	if err != nil {
		panic(err) // storage() made one before
	}
	return obj
}

func (r resource) NewList() runtime.Object {
	obj, err := r.scheme.New(r.kind.GroupVersion().WithKind(r.kind.Kind + "List"))
	if err != nil {
		panic(err)
	}
	return obj
}

func (resource) Destroy()                  {}
func (r resource) NamespaceScoped() bool   { return r.namespaced }
func (r resource) GetSingularName() string { return strings.ToLower(r.kind.Kind) }
func (r resource) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return r.kind
}
func (resource) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, errNotServed
}

type creater struct{ resource }

func (creater) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errNotServed
}

type namedCreater struct{ resource }

func (namedCreater) Create(context.Context, string, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errNotServed
}

type reader struct{ resource }

func (reader) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errNotServed
}

func (reader) List(context.Context, *internalversion.ListOptions) (runtime.Object, error) {
	return nil, errNotServed
}

type finalizer struct{ resource }

func (finalizer) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errNotServed
}

type updater struct{ resource }

func (updater) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errNotServed
}

func (updater) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errNotServed
}

// collection is all of a resource but the deletion of many at once.
type collection struct{ resource }

func (collection) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errNotServed
}

func (collection) List(context.Context, *internalversion.ListOptions) (runtime.Object, error) {
	return nil, errNotServed
}

func (collection) Watch(context.Context, *internalversion.ListOptions) (watch.Interface, error) {
	return nil, errNotServed
}

func (collection) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errNotServed
}

func (collection) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errNotServed
}

func (collection) Delete(context.Context, string, rest.ValidateObjectFunc, *metav1.DeleteOptions) (runtime.Object, bool, error) {
	return nil, false, errNotServed
}

// DeleteReturnsDeletedObject tells of which resources Kubernetes answers a deletion with the object, not with a Status.
func (c collection) DeleteReturnsDeletedObject() bool {
	switch c.path {
	case "pods", "podtemplates", "services", "serviceaccounts", "resourcequotas", "persistentvolumes", "persistentvolumeclaims",
		"csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses",
		"deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices":
		return true
	}
	return false
}

type full struct{ collection }

func (full) DeleteCollection(context.Context, rest.ValidateObjectFunc, *metav1.DeleteOptions, *internalversion.ListOptions) (runtime.Object, error) {
	return nil, errNotServed
}

type logs struct{ resource }

func (logs) Get(context.Context, string, runtime.Object) (runtime.Object, error) {
	return nil, errNotServed
}
func (logs) NewGetOptions() (runtime.Object, bool, string) { return &corev1.PodLogOptions{}, false, "" }
func (logs) ProducesMIMETypes(string) []string             { return []string{"text/plain"} }
func (logs) ProducesObject(string) any                     { return "" }

type connecter struct {
	resource
	methods []string
}

func (c connecter) New() runtime.Object {
	parent := map[string]runtime.Object{"pods": &corev1.Pod{}, "services": &corev1.Service{}, "nodes": &corev1.Node{}}
	base, _, _ := strings.Cut(c.path, "/")
	return parent[base]
}

func (connecter) Connect(context.Context, string, runtime.Object, rest.Responder) (http.Handler, error) {
	return nil, errNotServed
}

func (c connecter) NewConnectOptions() (runtime.Object, bool, string) {
	return c.resource.New(), false, ""
}
func (c connecter) ConnectMethods() []string { return c.methods }

// proxy passes on what follows its name in the path.
type proxy struct{ connecter }

func (p proxy) NewConnectOptions() (runtime.Object, bool, string) {
	return p.resource.New(), true, "path"
}
