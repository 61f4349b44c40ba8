// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
)

// Prefix is where all objects are: Prefix + resource + [namespace +] name, as in Kubernetes.
const Prefix = "/registry"

// RESTOptionsGetter returns what the generic registry needs to keep a resource in this etcd, encoded by codec.
func (e *Etcd) RESTOptionsGetter(codec runtime.Codec) generic.RESTOptionsGetter {
	return &restOptions{etcd: e, codec: codec}
}

type restOptions struct {
	etcd  *Etcd
	codec runtime.Codec
}

func (g *restOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := storagebackend.NewDefaultConfig(Prefix, g.codec)
	return generic.RESTOptions{
		StorageConfig:           config.ForResource(resource),
		Decorator:               g.etcd.decorate,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 4,
		ResourcePrefix:          resourcePrefix(resource),
	}, nil
}

// resourcePrefix is where the objects of a resource are, below Prefix.
func resourcePrefix(resource schema.GroupResource) string {
	if resource.Group == "" {
		return resource.Resource
	}
	return resource.Group + "/" + resource.Resource
}

// sampled is of how many objects Stats takes the average size.
const sampled = 32

// Stats is how many objects a resource has, and about how large they are: the first of them stand for all. It costs a walk of the
// resource's keys in memory, a tenth of a microsecond each, and a read of those few.
func (e *Etcd) Stats(ctx context.Context, resource schema.GroupResource) (storage.Stats, error) {
	prefix := Prefix + "/" + resourcePrefix(resource) + "/"
	some, err := e.Client.KV.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(sampled), clientv3.WithSerializable())
	if err != nil || len(some.Kvs) == 0 {
		return storage.Stats{}, err
	}
	size := 0
	for _, kv := range some.Kvs {
		size += len(kv.Value)
	}
	return storage.Stats{ObjectCount: some.Count, EstimatedAverageObjectSizeBytes: int64(size / len(some.Kvs))}, nil
}

// decorate is a generic.StorageDecorator: it makes the store of one resource over the shared in-process client, where
// the stock factory would dial a client per resource.
func (e *Etcd) decorate(
	config *storagebackend.ConfigForResource, resourcePrefix string, _ func(obj runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	var versioner storage.Versioner = storage.APIObjectVersioner{}
	if own, ok := config.Codec.(interface{ Versioner() storage.Versioner }); ok {
		versioner = own.Versioner() // of what is no object to look at
	}
	transformer := config.Transformer
	switch {
	case transformer != nil:
	case e.Transformers != nil:
		transformer = e.Transformers.TransformerForResource(config.GroupResource)
	default:
		transformer = identity.NewEncryptCheckTransformer()
	}
	store, err := etcd3.New(e.Client, e.compactor, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix, config.GroupResource,
		measuring{transformer}, config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, err
	}
	watched := &watching{
		Interface: retrying{roomy(endings{store})}, hub: e.hub, prefix: config.Prefix, resourcePrefix: resourcePrefix, resource: config.GroupResource, newObject: newFunc,
		codec: config.Codec, versioner: versioner, transformer: transformer,
	}
	return oneLife{watched}, sync.OnceFunc(store.Close), nil
}

// supported answers for the etcd in this process, which has no endpoint that the stock checker could ask.
type supported struct{ feature.FeatureSupportChecker }

func (s supported) Supports(f storage.Feature) bool {
	return f == storage.RequestWatchProgress || s.FeatureSupportChecker.Supports(f)
}

// declareSupport tells the API machinery, which asks through process-wide variables, what the etcd in this process can do. A watch here
// costs no decoding, or is one of few, so it needs no goroutines to decode several events at once.
var declareSupport = sync.OnceFunc(func() {
	feature.DefaultFeatureSupportChecker = supported{feature.DefaultFeatureSupportChecker}
	utilruntime.Must(utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{string(features.ConcurrentWatchObjectDecode): false}))
})
