// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// live reads the object's metadata from the server.
func (c *Controller) live(ctx context.Context, m *monitor, obj metav1.Object) (*metav1.PartialObjectMetadata, error) {
	return c.metadata.Resource(m.gvr).Namespace(obj.GetNamespace()).Get(ctx, obj.GetName(), metav1.GetOptions{})
}

// remove deletes obj unless it has changed: it may have got an owner since. A conflict where it has not is overruled,
// so that an object which changes all the time cannot escape.
func (c *Controller) remove(ctx context.Context, m *monitor, obj metav1.Object, policy metav1.DeletionPropagation) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	api := c.metadata.Resource(m.gvr).Namespace(obj.GetNamespace())
	options := metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}}
	if version != "" {
		options.Preconditions.ResourceVersion = &version
	}
	err := api.Delete(ctx, obj.GetName(), options)
	if apierrors.IsConflict(err) {
		live, errLive := c.live(ctx, m, obj)
		if errLive != nil {
			return errLive
		}
		if live.UID != uid || !equality.Semantic.DeepEqual(live.OwnerReferences, obj.GetOwnerReferences()) {
			return err
		}
		options.Preconditions.ResourceVersion = nil
		err = api.Delete(ctx, obj.GetName(), options)
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s: %w", m.gvr.Resource, nameOf(obj), err)
	}
	return err
}

// dropOwner takes an owner from obj, trying once more where the cache was behind.
func (c *Controller) dropOwner(ctx context.Context, m *monitor, obj metav1.Object, owner types.UID) error {
	without := func(obj metav1.Object) map[string]any {
		return map[string]any{"ownerReferences": slices.DeleteFunc(slices.Clone(obj.GetOwnerReferences()),
			func(ref metav1.OwnerReference) bool { return ref.UID == owner })}
	}
	_, err := c.patch(ctx, m, obj, without(obj))
	if !apierrors.IsConflict(err) {
		return err
	}
	live, err := c.live(ctx, m, obj)
	if err != nil || live.UID != obj.GetUID() {
		return err
	}
	_, err = c.patch(ctx, m, live, without(live))
	return err
}

func (c *Controller) removeFinalizer(ctx context.Context, m *monitor, obj metav1.Object, finalizer string) error {
	left := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == finalizer })
	_, err := c.patch(ctx, m, obj, map[string]any{"finalizers": left})
	return err
}

// patch sets fields of the metadata of this version of obj. A merge patch is understood for every resource, custom ones
// included; a conflict is returned as it is.
func (c *Controller) patch(ctx context.Context, m *monitor, obj metav1.Object, fields map[string]any) (*metav1.PartialObjectMetadata, error) {
	fields["uid"], fields["resourceVersion"] = obj.GetUID(), obj.GetResourceVersion()
	body, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return nil, fmt.Errorf("patch of %s %s: %w", m.gvr.Resource, nameOf(obj), err)
	}
	updated, err := c.metadata.Resource(m.gvr).Namespace(obj.GetNamespace()).Patch(ctx, obj.GetName(), types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil && !apierrors.IsConflict(err) {
		return nil, fmt.Errorf("patch %s %s: %w", m.gvr.Resource, nameOf(obj), err)
	}
	return updated, err
}
