// SPDX-License-Identifier: Apache-2.0

// Package owner lets a controller take the objects that its selector finds and nobody controls, and let go of those
// that it controls and its selector finds no longer. The cost is one pass over the candidates, and one patch for each
// object whose owner changes.
package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Claimer claims objects for one owner during one sync.
type Claimer[T metav1.Object] struct {
	Owner    metav1.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Live reads the owner past the cache. It is asked once, before the first adoption: an owner that was deleted
	// meanwhile must not adopt, or its new dependents would outlive it or be swept away with it.
	Live func(ctx context.Context) (metav1.Object, error)
	// Patch sends a strategic merge patch to the object.
	Patch func(ctx context.Context, obj T, patch []byte) error
	// Finalizers are added to what is adopted and taken from what is released.
	Finalizers []string

	checked    bool
	checkError error
}

// Claim returns those of objs that the owner controls after adopting and releasing. Where a patch fails, the objects
// that could be claimed are returned along with the error.
func (c *Claimer[T]) Claim(ctx context.Context, objs []T) ([]T, error) {
	claimed := make([]T, 0, len(objs))
	var errs []error
	for _, obj := range objs {
		ok, err := c.claim(ctx, obj)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			claimed = append(claimed, obj)
		}
	}
	return claimed, errors.Join(errs...)
}

func (c *Claimer[T]) claim(ctx context.Context, obj T) (bool, error) {
	matches := c.Selector.Matches(labels.Set(obj.GetLabels()))
	leaving := c.Owner.GetDeletionTimestamp() != nil
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		if ref.UID != c.Owner.GetUID() {
			return false, nil
		}
		if matches || leaving {
			return matches, nil
		}
		return false, c.release(ctx, obj)
	}
	if leaving || !matches || obj.GetDeletionTimestamp() != nil || obj.GetNamespace() != c.Owner.GetNamespace() {
		return false, nil
	}
	err := c.adopt(ctx, obj)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (c *Claimer[T]) adopt(ctx context.Context, obj T) error {
	if !c.checked {
		c.checked, c.checkError = true, c.stillThere(ctx)
	}
	if c.checkError != nil {
		return fmt.Errorf("adopt %s/%s: %w", obj.GetNamespace(), obj.GetName(), c.checkError)
	}
	meta := map[string]any{
		"uid":             obj.GetUID(),
		"ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(c.Owner, c.Kind)},
	}
	if len(c.Finalizers) > 0 {
		meta["finalizers"] = c.Finalizers
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return fmt.Errorf("adopt %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	if err := c.Patch(ctx, obj, patch); err != nil {
		return fmt.Errorf("adopt %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

func (c *Claimer[T]) release(ctx context.Context, obj T) error {
	patch, err := ReleasePatch(obj.GetUID(), c.Finalizers, c.Owner.GetUID())
	if err == nil {
		err = c.Patch(ctx, obj, patch)
	}
	// Gone, or another object by the same name: either way it is not ours any more.
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return fmt.Errorf("release %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
}

func (c *Claimer[T]) stillThere(ctx context.Context) error {
	live, err := c.Live(ctx)
	if err != nil {
		return fmt.Errorf("read %s %s/%s again: %w", c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), err)
	}
	if live.GetUID() != c.Owner.GetUID() {
		return fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s",
			c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), live.GetUID(), c.Owner.GetUID())
	}
	if at := live.GetDeletionTimestamp(); at != nil {
		return fmt.Errorf("%s/%s has just been deleted at %v", live.GetNamespace(), live.GetName(), at)
	}
	return nil
}

// ReleasePatch is the strategic merge patch that takes owners (by UID) and finalizers from the object with this UID.
func ReleasePatch(uid types.UID, finalizers []string, owners ...types.UID) ([]byte, error) {
	refs := make([]map[string]string, 0, len(owners))
	for _, o := range owners {
		refs = append(refs, map[string]string{"$patch": "delete", "uid": string(o)})
	}
	meta := map[string]any{"uid": uid, "ownerReferences": refs}
	if len(finalizers) > 0 {
		meta["$deleteFromPrimitiveList/finalizers"] = finalizers
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return nil, fmt.Errorf("patch of owner references: %w", err)
	}
	return patch, nil
}
