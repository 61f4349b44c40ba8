// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

type endingKey struct{}

// ends tells whether the request's last attempt writes an object that is being deleted.
func ends(ctx context.Context) bool {
	ending, ok := ctx.Value(endingKey{}).(*atomic.Bool)
	return ok && ending.Load()
}

// endings is a store that tells the guard of the disk (space.go) of writes to objects that are being deleted, which a full disk refuses last: without the mark a pod
// could not end gracefully, nor a volume give up its finalizer, and what they hold on the disk would stay. As long as there is room it costs nothing: only
// what was refused is tried once more.
type endings struct{ storage.Interface }

// GuaranteedUpdate implements storage.Interface.
func (e endings) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc,
	cachedExistingObject runtime.Object,
) error {
	err := e.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cachedExistingObject)
	if !errors.Is(err, errDiskFull) {
		return err
	}
	ending := &atomic.Bool{}
	return e.Interface.GuaranteedUpdate(context.WithValue(ctx, endingKey{}, ending), key, destination, ignoreNotFound, preconditions,
		func(in runtime.Object, r storage.ResponseMeta) (runtime.Object, *uint64, error) {
			out, ttl, err := tryUpdate(in, r)
			if err == nil {
				m, err := meta.Accessor(out)
				ending.Store(err == nil && m.GetDeletionTimestamp() != nil)
			}
			return out, ttl, err
		}, cachedExistingObject)
}
