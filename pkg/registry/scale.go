// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/hivemind-project/hivemind/apis/autoscaling"
	"github.com/hivemind-project/hivemind/pkg/room"
)

// scaled is what a scalable object says of its size. set changes the size that is asked for.
type scaled struct {
	replicas int32
	current  int32
	selector string
	set      func(replicas int32)
}

// scaleOf reads the kinds that have a scale subresource.
func scaleOf(obj runtime.Object) (scaled, error) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return fromSelector(&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.ReplicaSet:
		return fromSelector(&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *appsv1.StatefulSet:
		return fromSelector(&o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector)
	case *corev1.ReplicationController:
		s, err := fromSelector(&o.Spec.Replicas, o.Status.Replicas, nil)
		s.selector = labels.Set(o.Spec.Selector).String()
		return s, err
	}
	return scaled{}, fmt.Errorf("%T cannot be scaled", obj)
}

func fromSelector(replicas **int32, current int32, selector *metav1.LabelSelector) (scaled, error) {
	s := scaled{current: current, set: func(n int32) { *replicas = &n }}
	if *replicas != nil {
		s.replicas = **replicas
	}
	if selector == nil {
		return s, nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return s, errors.NewBadRequest(err.Error())
	}
	s.selector = parsed.String()
	return s, nil
}

// scaleREST serves /scale: the size of an object, in a form that is the same for every kind.
type scaleREST struct{ store *Store }

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

func (r *scaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }
func (r *scaleREST) Destroy()            {}

func (r *scaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return scaleKind }

func (r *scaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return r.scale(obj)
}

// scale is the Scale of obj; it carries obj's identity, so that its resourceVersion is a precondition for obj. Who manages the size is told
// to those that change it (scaleUpdate), not to clients.
func (r *scaleREST) scale(obj runtime.Object) (*autoscalingv1.Scale, error) {
	size, err := scaleOf(obj)
	if err != nil {
		return nil, err
	}
	m := obj.(metav1.Object)
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(), ResourceVersion: m.GetResourceVersion(),
			CreationTimestamp: m.GetCreationTimestamp()},
		Spec:   autoscalingv1.ScaleSpec{Replicas: size.replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: size.current, Selector: size.selector},
	}, nil
}

// handler maps the managed fields of the object to those of its Scale and back.
func (r *scaleREST) handler(m metav1.Object) *managedfields.ScaleHandler {
	gv := r.store.row.GroupVersion
	return managedfields.NewScaleHandler(m.GetManagedFields(), gv, managedfields.ResourcePathMappings{
		gv.String(): fieldpath.MakePathOrDie("spec", "replicas"),
	})
}

func (r *scaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	asScale := func(obj runtime.Object) runtime.Object {
		s, err := r.scale(obj)
		if err != nil {
			return &autoscalingv1.Scale{}
		}
		return s
	}
	obj, _, err := r.store.Update(ctx, name, &scaleUpdate{r, info},
		func(ctx context.Context, obj runtime.Object) error { return createValidation(ctx, asScale(obj)) },
		func(ctx context.Context, obj, old runtime.Object) error {
			return updateValidation(ctx, asScale(obj), asScale(old))
		}, false, options)
	if err != nil {
		return nil, false, err
	}
	s, err := r.scale(obj)
	return s, false, err
}

func (r *scaleREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(r.store.row.GroupResource()).ConvertToTable(ctx, obj, options)
}

// scaleUpdate turns an update of the Scale into one of the object.
type scaleUpdate struct {
	scales *scaleREST
	info   rest.UpdatedObjectInfo
}

func (u *scaleUpdate) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u *scaleUpdate) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	was, err := u.scales.scale(old)
	if err != nil {
		return nil, err
	}
	if was.ManagedFields, err = u.scales.handler(old.(metav1.Object)).ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := u.info.UpdatedObject(ctx, was)
	if err != nil {
		return nil, err
	}
	s, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, errors.NewBadRequest(fmt.Sprintf("expecting a Scale, but %T was passed in", updated))
	}
	if errs := autoscaling.ValidateScale(s); len(errs) > 0 {
		return nil, errors.NewInvalid(scaleKind.GroupKind(), s.Name, room.Few(errs))
	}
	scaledObject := old.DeepCopyObject()
	m := scaledObject.(metav1.Object)
	if s.ResourceVersion != "" && s.ResourceVersion != m.GetResourceVersion() {
		return nil, errors.NewConflict(u.scales.store.row.GroupResource(), s.Name,
			fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	size, err := scaleOf(scaledObject)
	if err != nil {
		return nil, err
	}
	size.set(s.Spec.Replicas)
	entries, err := u.scales.handler(m).ToParent(s.ManagedFields)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(entries)
	return scaledObject, nil
}

var (
	_ rest.Patcher                  = (*scaleREST)(nil)
	_ rest.GroupVersionKindProvider = (*scaleREST)(nil)
)
