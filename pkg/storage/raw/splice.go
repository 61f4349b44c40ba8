// SPDX-License-Identifier: Apache-2.0

package raw

import (
	"bytes"
	"io"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kubernetes' protobuf is a prefix and a runtime.Unknown: the TypeMeta, the object, and two strings that are empty. The first field of an
// object is its metadata, in which the resourceVersion is field 6, written though it is empty. See generated.proto of
// k8s.io/apimachinery.
const (
	prefix = "k8s\x00"

	unknownTypeMeta = 1
	unknownRaw      = 2

	objectMetadata  = 1
	resourceVersion = 6
	listItems       = 2
)

// tail ends a runtime.Unknown: no content encoding, no content type.
var tail = []byte{3<<3 | 2, 0, 4<<3 | 2, 0}

// unwrap returns the parts of a stored object; ok is false for anything but protobuf.
func unwrap(data []byte) (typeMeta, object []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(prefix))
	for ok && len(rest) > 0 {
		number, value, n := field(rest)
		if n < 0 {
			return nil, nil, false
		}
		switch number {
		case unknownTypeMeta:
			typeMeta = value
		case unknownRaw:
			object = value
		default:
			ok = len(value) == 0
		}
		rest = rest[n:]
	}
	return typeMeta, object, ok && typeMeta != nil && object != nil
}

// field reads a field that is bytes, and says how long it is; that is negative for another type.
func field(b []byte) (protowire.Number, []byte, int) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 || kind != protowire.BytesType {
		return 0, nil, -1
	}
	value, m := protowire.ConsumeBytes(b[n:])
	if m < 0 {
		return 0, nil, -1
	}
	return number, value, n + m
}

// splice is a stored object with its resourceVersion put in.
type splice struct {
	before, after []byte // of the metadata, without its resourceVersion
	rest          []byte // what follows the metadata
	rev           int64
	digits        int
}

// newSplice finds the place of the resourceVersion; ok is false where it is not as the storage writes it.
func newSplice(object []byte, rev int64) (s splice, ok bool) {
	number, metadata, end := field(object)
	if end < 0 || number != objectMetadata {
		return s, false
	}
	for at := 0; at < len(metadata); {
		number, kind, n := protowire.ConsumeTag(metadata[at:])
		if n < 0 {
			return s, false
		}
		m := protowire.ConsumeFieldValue(number, kind, metadata[at+n:])
		if m < 0 {
			return s, false
		}
		if number == resourceVersion {
			digits := 1
			for v := rev; v >= 10; v /= 10 {
				digits++
			}
			return splice{before: metadata[:at], after: metadata[at+n+m:], rest: object[end:], rev: rev, digits: digits}, true
		}
		at += n + m
	}
	return s, false
}

func (s *splice) metadata() int { return len(s.before) + 2 + s.digits + len(s.after) }

// size is how many bytes appendTo adds.
func (s *splice) size() int { return 1 + protowire.SizeBytes(s.metadata()) + len(s.rest) }

func (s *splice) appendTo(b []byte) []byte {
	b = protowire.AppendTag(b, objectMetadata, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(s.metadata()))
	b = append(b, s.before...)
	b = append(b, resourceVersion<<3|2, byte(s.digits))
	b = strconv.AppendInt(b, s.rev, 10)
	b = append(b, s.after...)
	return append(b, s.rest...)
}

// appendHead adds all of a runtime.Unknown that comes before the object, which has that many bytes.
func appendHead(b, typeMeta []byte, object int) []byte {
	b = append(b, prefix...)
	b = protowire.AppendTag(b, unknownTypeMeta, protowire.BytesType)
	b = protowire.AppendBytes(b, typeMeta)
	b = protowire.AppendTag(b, unknownRaw, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(object))
}

// item is one of a list: spliced, or encoded anew because it was written before Since.
type item struct {
	splice
	encoded []byte
}

func (i *item) size() int {
	if i.encoded != nil {
		return len(i.encoded)
	}
	return i.splice.size()
}

// splices returns the items and how many bytes they are in the list.
func (l *List) splices() ([]item, int, bool) {
	items, size := make([]item, len(l.Items)), 0
	for i := range l.Items {
		o := &l.Items[i]
		if o.rev < l.kind.Since {
			obj, err := o.decode()
			marshaler, isProto := obj.(interface{ Marshal() ([]byte, error) })
			if err != nil || !isProto {
				return nil, 0, false
			}
			if items[i].encoded, err = marshaler.Marshal(); err != nil {
				return nil, 0, false
			}
		} else {
			_, object, ok := unwrap(o.data)
			if !ok {
				return nil, 0, false
			}
			if items[i].splice, ok = newSplice(object, o.rev); !ok {
				return nil, 0, false
			}
		}
		size += 1 + protowire.SizeBytes(items[i].size())
	}
	return items, size, true
}

// chunk is how much of a list is written at a time. The API machinery compresses an answer whose first chunk is above 128 KiB.
const chunk = 256 << 10

// write writes the list.
func (l *List) write(items []item, size int, w io.Writer) error {
	typeMeta, err := (&runtime.TypeMeta{APIVersion: l.kind.GroupVersion.String(), Kind: l.kind.ListKind}).Marshal()
	if err != nil {
		return err
	}
	listMeta, err := l.ListMeta.Marshal()
	if err != nil {
		return err
	}
	size += 1 + protowire.SizeBytes(len(listMeta))
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := appendHead((*buffer)[:0], typeMeta, size)
	b = protowire.AppendTag(b, objectMetadata, protowire.BytesType)
	b = protowire.AppendBytes(b, listMeta)
	for i := range items {
		b = protowire.AppendTag(b, listItems, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(items[i].size()))
		if items[i].encoded != nil {
			b = append(b, items[i].encoded...)
		} else {
			b = items[i].appendTo(b)
		}
		if len(b) >= chunk {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	b = append(b, tail...)
	*buffer = b
	_, err = w.Write(b)
	return err
}

// typed decodes the whole list.
func (l *List) typed() (runtime.Object, error) {
	list := l.kind.NewList()
	m := list.(metav1.ListInterface)
	m.SetResourceVersion(l.ResourceVersion)
	m.SetContinue(l.Continue)
	m.SetRemainingItemCount(l.RemainingItemCount)
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	items.Set(reflect.MakeSlice(items.Type(), len(l.Items), len(l.Items)))
	for i := range l.Items {
		obj, err := l.Items[i].decode()
		if err != nil {
			return nil, err
		}
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		items.Index(i).Set(reflect.ValueOf(obj).Elem())
	}
	return list, nil
}
