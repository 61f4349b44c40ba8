// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// converting says where objects are kept that a webhook converts when they are read and written: in stores that have the webhook's transport know for whom.
type converting struct{ generic.RESTOptionsGetter }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (c converting) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := c.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	decorate := options.Decorator
	options.Decorator = func(config *storagebackend.ConfigForResource, prefix string, keyOf func(runtime.Object) (string, error), newFunc, newListFunc func() runtime.Object,
		attributes storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		store, destroy, err := decorate(config, prefix, keyOf, newFunc, newListFunc, attributes, triggers, indexers)
		return converted{store}, destroy, err
	}
	return options, nil
}

// converted is a store whose calls convert objects.
type converted struct{ storage.Interface }

// convert does what converts objects, on this goroutine, of which the webhook's transport then knows that it works on the request of ctx. Where that has waited too
// long for room for what the webhook says, the client is told so, and not that the webhook fails.
func convert(ctx context.Context, do func() error) error {
	a := room.AccountOf(ctx)
	if a == nil {
		return do()
	}
	a.Converts()
	defer room.Working(ctx)()
	err := do()
	if busy := a.Err(); err != nil && busy != nil {
		return busy
	}
	return err
}

// Get implements storage.Interface.
func (s converted) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return convert(ctx, func() error { return s.Interface.Get(ctx, key, opts, out) })
}

// GetList implements storage.Interface.
func (s converted) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	return convert(ctx, func() error { return s.Interface.GetList(ctx, key, opts, out) })
}

// Create implements storage.Interface.
func (s converted) Create(ctx context.Context, key string, object, out runtime.Object, ttl uint64) error {
	return convert(ctx, func() error { return s.Interface.Create(ctx, key, object, out, ttl) })
}

// GuaranteedUpdate implements storage.Interface.
func (s converted) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc,
	cachedExistingObject runtime.Object,
) error {
	return convert(ctx, func() error {
		return s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cachedExistingObject)
	})
}

// Delete implements storage.Interface.
func (s converted) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object,
	opts storage.DeleteOptions,
) error {
	return convert(ctx, func() error { return s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts) })
}
