// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/metadata"
)

// storedMetadata is a client that reads the metadata of all objects of a custom resource straight from the storage. Controllers follow every resource
// there is: by the API, each kind would always have a handler, which is 200 KiB and more, and each watch a request.
type storedMetadata struct {
	metadata.Interface
	defines func(schema.GroupVersionResource) bool
	options generic.RESTOptionsGetter
}

// IsWatchListSemanticsUnSupported makes reflectors list and then watch.
func (storedMetadata) IsWatchListSemanticsUnSupported() bool { return true }

// Resource implements metadata.Interface.
func (m storedMetadata) Resource(resource schema.GroupVersionResource) metadata.Getter {
	getter := m.Interface.Resource(resource)
	if !m.defines(resource) {
		return getter
	}
	return storedGetter{getter, stored{getter, resource.GroupResource(), m.options}}
}

type storedGetter struct {
	metadata.Getter
	all stored
}

// Namespace implements metadata.Getter.
func (g storedGetter) Namespace(name string) metadata.ResourceInterface {
	if name != metav1.NamespaceAll {
		return g.Getter.Namespace(name)
	}
	return g.all
}

// stored reads the objects of a resource in all namespaces. What is asked of some of them, or written, takes the usual way.
type stored struct {
	metadata.ResourceInterface
	resource schema.GroupResource
	options  generic.RESTOptionsGetter
}

// List implements metadata.ResourceInterface. It reads what is stored now, whatever version is asked for, and all of it.
func (s stored) List(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	if selects(options) {
		return s.ResourceInterface.List(ctx, options)
	}
	from, prefix, err := s.open()
	if err != nil {
		return nil, err
	}
	list := &metav1.PartialObjectMetadataList{}
	return list, from.GetList(ctx, prefix, storage.ListOptions{Predicate: storage.Everything, Recursive: true}, list)
}

// Watch implements metadata.ResourceInterface. It lasts until ctx ends.
func (s stored) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if selects(options) {
		return s.ResourceInterface.Watch(ctx, options)
	}
	from, prefix, err := s.open()
	if err != nil {
		return nil, err
	}
	all := storage.Everything
	all.AllowWatchBookmarks = options.AllowWatchBookmarks
	return from.Watch(ctx, prefix, storage.ListOptions{ResourceVersion: options.ResourceVersion, Predicate: all, Recursive: true})
}

func selects(options metav1.ListOptions) bool {
	return options.LabelSelector != "" || options.FieldSelector != "" || options.SendInitialEvents != nil && *options.SendInitialEvents
}

// open returns where the objects are, and below which key. There is nothing to close.
func (s stored) open() (storage.Interface, string, error) {
	options, err := s.options.GetRESTOptions(s.resource, nil)
	if err != nil {
		return nil, "", fmt.Errorf("read metadata of %s: %w", s.resource, err)
	}
	prefix := "/" + options.ResourcePrefix
	newObject := func() runtime.Object { return &metav1.PartialObjectMetadata{} }
	newList := func() runtime.Object { return &metav1.PartialObjectMetadataList{} }
	from, _, err := options.Decorator(options.StorageConfig, prefix, nil, newObject, newList, nil, nil, nil)
	if err != nil {
		return nil, "", fmt.Errorf("read metadata of %s: %w", s.resource, err)
	}
	return from, prefix, nil
}

// metadataCodec reads the metadata of objects that are stored as JSON, which those of custom resources are.
type metadataCodec struct{}

// Decode implements runtime.Decoder.
func (metadataCodec) Decode(data []byte, _ *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	object, ok := into.(*metav1.PartialObjectMetadata)
	if !ok {
		object = &metav1.PartialObjectMetadata{}
	}
	if err := json.Unmarshal(data, object); err != nil {
		return nil, nil, fmt.Errorf("decode metadata: %w", err)
	}
	kind := object.GroupVersionKind()
	return object, &kind, nil
}

// Encode implements runtime.Encoder.
func (metadataCodec) Encode(runtime.Object, io.Writer) error {
	return errors.New("metadata alone is not stored")
}

// Identifier implements runtime.Encoder.
func (metadataCodec) Identifier() runtime.Identifier { return "metadata" }
