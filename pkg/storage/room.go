// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// errNoRoom is what a transformer says where an object is too large to be decoded now.
var errNoRoom = errors.New("there is no room for a large object now")

// measuring is a transformer that has requests decode an object only where they have room for it.
type measuring struct{ value.Transformer }

// TransformFromStorage implements value.Transformer.
func (m measuring) TransformFromStorage(ctx context.Context, data []byte, of value.Context) ([]byte, bool, error) {
	out, stale, err := m.Transformer.TransformFromStorage(ctx, data, of)
	if err != nil || len(out) <= room.FreeText {
		return out, stale, err
	}
	if a := room.AccountOf(ctx); a != nil && !a.Has(room.CostOf(out)) {
		return nil, false, errNoRoom
	}
	return out, stale, nil
}

// roomy is a store over one that measures. A request that has no room for an object lets go of what it has read, waits, and reads it again.
type roomy struct{ storage.Interface }

func inRoom(ctx context.Context, do func() error) error {
	a := room.AccountOf(ctx)
	for {
		err := do()
		if err == nil || a == nil || !a.Refused() {
			return err
		}
		if err := a.Wait(); err != nil {
			return err
		}
	}
}

// Get implements storage.Interface.
func (s roomy) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return inRoom(ctx, func() error { return s.Interface.Get(ctx, key, opts, out) })
}

// GetList implements storage.Interface.
func (s roomy) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	return inRoom(ctx, func() error {
		err := s.Interface.GetList(ctx, key, opts, out)
		if err != nil {
			if items, e := meta.GetItemsPtr(out); e == nil {
				reflect.ValueOf(items).Elem().SetZero()
			}
		}
		return err
	})
}

// GuaranteedUpdate implements storage.Interface.
func (s roomy) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc,
	cachedExistingObject runtime.Object,
) error {
	return inRoom(ctx, func() error {
		return s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cachedExistingObject)
	})
}

// Delete implements storage.Interface.
func (s roomy) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object,
	opts storage.DeleteOptions,
) error {
	return inRoom(ctx, func() error { return s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts) })
}
