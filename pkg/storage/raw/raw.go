// SPDX-License-Identifier: Apache-2.0

// Package raw hands objects from the storage to clients as the bytes that they are stored as. What is stored is the protobuf of the
// version that is served, and lacks its resourceVersion alone; so for a client that reads protobuf, as Kubernetes' own components
// do, decoding and encoding would lead back to the same bytes. An answer is then spliced from what etcd returned: a list of 5000
// pods costs a tenth of the time, and no garbage but those bytes.
//
// Object and List look like objects to the API machinery. They are runtime.CacheableObjects, whose encoding the machinery leaves to
// them: CacheEncode writes the bytes where they are what the encoder would write, and decodes where they are not.
package raw

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
)

// Kind is what the objects of one collection have in common.
type Kind struct {
	GroupVersion schema.GroupVersion
	ListKind     string
	NewList      func() runtime.Object
	// Codec decodes what is stored.
	Codec runtime.Codec
	// Encoder is that of the protobuf that clients of GroupVersion get.
	Encoder runtime.Encoder
	// Since is the first revision whose writer has the defaults of today. What is older is decoded and encoded, as decoding adds defaults.
	Since int64

	identifier runtime.Identifier
}

// NewKind completes k.
func NewKind(k Kind) *Kind {
	k.identifier = k.Encoder.Identifier()
	return &k
}

// Object is one stored object.
type Object struct {
	kind *Kind
	data []byte // as it is stored, the prefix of Kubernetes' protobuf first
	rev  int64
}

// List is a list of stored objects.
type List struct {
	metav1.ListMeta
	Items []Object
	kind  *Kind
}

// NewObject returns an object to decode into.
func (k *Kind) NewObject() runtime.Object { return &Object{kind: k} }

// NewRawList returns a list to decode into.
func (k *Kind) NewRawList() runtime.Object { return &List{kind: k} }

// GetObjectKind implements runtime.Object. The kind is in the bytes.
func (o *Object) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object. The bytes are never written to.
func (o *Object) DeepCopyObject() runtime.Object { c := *o; return &c }

// GetObjectKind implements runtime.Object.
func (l *List) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (l *List) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = append([]Object(nil), l.Items...)
	return &c
}

// decode returns the object that the bytes are of.
func (o *Object) decode() (runtime.Object, error) {
	obj, err := runtime.Decode(o.kind.Codec, o.data)
	if err != nil {
		return nil, err
	}
	return obj, storage.APIObjectVersioner{}.UpdateObject(obj, uint64(o.rev))
}

// GetObject implements runtime.CacheableObject.
func (o *Object) GetObject() runtime.Object {
	obj, err := o.decode()
	if err != nil {
		return &runtime.Unknown{Raw: o.data}
	}
	return obj
}

// isWatch tells whether an identifier is that of the encoder of a watch's events, which asks another one to encode the object within.
func isWatch(id runtime.Identifier) bool { return strings.HasPrefix(string(id), `{"name":"watch",`) }

// CacheEncode implements runtime.CacheableObject.
func (o *Object) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	if isWatch(id) {
		return encode(o, w)
	}
	if id == o.kind.identifier && o.rev >= o.kind.Since {
		if typeMeta, object, ok := unwrap(o.data); ok {
			if s, ok := newSplice(object, o.rev); ok {
				buffer := buffers.Get().(*[]byte)
				defer buffers.Put(buffer)
				*buffer = s.appendTo(appendHead((*buffer)[:0], typeMeta, s.size()))
				*buffer = append(*buffer, tail...)
				_, err := w.Write(*buffer)
				return err
			}
		}
	}
	obj, err := o.decode()
	if err != nil {
		return err
	}
	return encode(obj, w)
}

// buffers are for answers, or parts of them.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// GetObject implements runtime.CacheableObject.
func (l *List) GetObject() runtime.Object {
	list, err := l.typed()
	if err != nil {
		return l.kind.NewList()
	}
	return list
}

// CacheEncode implements runtime.CacheableObject.
func (l *List) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	if id == l.kind.identifier {
		if parts, size, ok := l.splices(); ok {
			return l.write(parts, size, w)
		}
	}
	list, err := l.typed()
	if err != nil {
		return err
	}
	return encode(list, w)
}

// Codec decodes into Objects; it encodes as the codec of the kind does.
type Codec struct {
	runtime.Codec
	Kind *Kind
}

// Decode implements runtime.Decoder: it keeps the bytes, which must not be written to any more.
func (c Codec) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	switch o := into.(type) {
	case *Object:
		o.kind, o.data = c.Kind, data
		return o, nil, nil
	case nil:
		return &Object{kind: c.Kind, data: data}, nil, nil
	}
	return c.Codec.Decode(data, defaults, into)
}

// Versioner returns what sets the resourceVersion of what this codec decodes.
func (c Codec) Versioner() storage.Versioner { return versioner{} }

type versioner struct{ storage.APIObjectVersioner }

func (v versioner) UpdateObject(obj runtime.Object, rev uint64) error {
	if o, ok := obj.(*Object); ok {
		o.rev = int64(rev)
		return nil
	}
	return v.APIObjectVersioner.UpdateObject(obj, rev)
}

func (v versioner) ObjectResourceVersion(obj runtime.Object) (uint64, error) {
	if o, ok := obj.(*Object); ok {
		return uint64(o.rev), nil
	}
	return v.APIObjectVersioner.ObjectResourceVersion(obj)
}

type wanted struct{}

// Want marks a request as one whose answer may be an Object or a List: nothing on its way but an encoder looks into it.
func Want(ctx context.Context) context.Context { return context.WithValue(ctx, wanted{}, true) }

// Wanted tells whether the request is so marked.
func Wanted(ctx context.Context) bool { return ctx.Value(wanted{}) != nil }

func (o *Object) String() string { return fmt.Sprintf("stored object at revision %d", o.rev) }
