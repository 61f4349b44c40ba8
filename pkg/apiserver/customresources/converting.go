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
	ours "github.com/hivemind-project/hivemind/pkg/storage"
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
		return ours.Around{Interface: store, Do: convert}, destroy, err
	}
	return options, nil
}

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
