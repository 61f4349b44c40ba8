// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// Around is a store whose reads and writes of objects are made by Do, which may call call as often as it has to, and returns what is answered. Watches
// are not Do's.
type Around struct {
	storage.Interface
	Do func(ctx context.Context, call func() error) error
}

// Get implements storage.Interface.
func (s Around) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return s.Do(ctx, func() error { return s.Interface.Get(ctx, key, opts, out) })
}

// GetList implements storage.Interface.
func (s Around) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	return s.Do(ctx, func() error { return s.Interface.GetList(ctx, key, opts, out) })
}

// Create implements storage.Interface.
func (s Around) Create(ctx context.Context, key string, object, out runtime.Object, ttl uint64) error {
	return s.Do(ctx, func() error { return s.Interface.Create(ctx, key, object, out, ttl) })
}

// GuaranteedUpdate implements storage.Interface.
func (s Around) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc,
	cachedExistingObject runtime.Object,
) error {
	return s.Do(ctx, func() error {
		return s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cachedExistingObject)
	})
}

// Delete implements storage.Interface.
func (s Around) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object,
	opts storage.DeleteOptions,
) error {
	return s.Do(ctx, func() error { return s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts) })
}
