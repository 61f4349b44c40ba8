// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/storage"
)

// lives are the UIDs of the objects that a request has decided on, by key.
type lives struct {
	mu   sync.Mutex // a request may delete many objects at once
	uids map[string]types.UID
}

type livesKey struct{}

// WithLives makes the context of a request in which an object is not deleted in place of another of the same name. Some requests decide on a deletion in one
// step and delete in a second: those for objects that end gracefully, and writes that take away the last that an object has waited for. In between another
// request may do the same, and a third create the object anew, which would be lost.
func WithLives(ctx context.Context) context.Context {
	return context.WithValue(ctx, livesKey{}, &lives{})
}

// see notes which object a request decides on.
func (l *lives) see(key string, obj runtime.Object) {
	m, err := meta.Accessor(obj)
	if err != nil || m.GetUID() == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uids == nil {
		l.uids = map[string]types.UID{}
	}
	l.uids[key] = m.GetUID()
}

func (l *lives) uid(key string) types.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uids[key]
}

// oneLife is a store in which requests made with WithLives delete only the object that they have decided on.
type oneLife struct{ storage.Interface }

// GuaranteedUpdate implements storage.Interface.
func (s oneLife) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc,
	cachedExistingObject runtime.Object,
) error {
	l, ok := ctx.Value(livesKey{}).(*lives)
	if !ok {
		return s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cachedExistingObject)
	}
	return s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, func(in runtime.Object, r storage.ResponseMeta) (runtime.Object, *uint64, error) {
		l.see(key, in)
		return tryUpdate(in, r)
	}, cachedExistingObject)
}

// Delete implements storage.Interface. That the object has gone which the request has decided on is an error that storage.IsNotFound knows, whatever has its
// name now.
func (s oneLife) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object,
	opts storage.DeleteOptions,
) error {
	l, ok := ctx.Value(livesKey{}).(*lives)
	if !ok {
		return s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts)
	}
	uid := l.uid(key)
	if uid == "" {
		return s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts)
	}
	checked := storage.Preconditions{UID: &uid}
	if preconditions != nil {
		if checked.ResourceVersion = preconditions.ResourceVersion; preconditions.UID != nil {
			checked.UID = preconditions.UID
		}
	}
	err := s.Interface.Delete(ctx, key, out, &checked, validate, cached, opts)
	if storage.IsInvalidObj(err) {
		now := out.DeepCopyObject()
		if get := s.Get(ctx, key, storage.GetOptions{}, now); get != nil {
			return get
		}
		if m, e := meta.Accessor(now); e == nil && m.GetUID() != uid {
			return storage.NewKeyNotFoundError(key, 0)
		}
	}
	return err
}
