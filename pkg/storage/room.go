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

// roomy returns a store over one that measures. A request that has no room for an object lets go of what it has read, waits, and reads it again.
func roomy(store storage.Interface) storage.Interface {
	return Around{emptied{store}, func(ctx context.Context, call func() error) error {
		a := room.AccountOf(ctx)
		for {
			err := call()
			if err == nil || a == nil || !a.Refused() {
				return err
			}
			if err := a.Wait(); err != nil {
				return err
			}
		}
	}}
}

// emptied is a store whose lists have nothing in them when they fail.
type emptied struct{ storage.Interface }

// GetList implements storage.Interface.
func (s emptied) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	err := s.Interface.GetList(ctx, key, opts, out)
	if err != nil {
		if items, e := meta.GetItemsPtr(out); e == nil {
			reflect.ValueOf(items).Elem().SetZero()
		}
	}
	return err
}
