// SPDX-License-Identifier: Apache-2.0

package raw

import (
	"bytes"
	"errors"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// fixture is a kind, and what decoding and encoding in its protobuf is.
type fixture struct {
	*Kind
	encoder runtime.Encoder
	stored  []byte // a ConfigMap, as the storage has it
}

func newFixture(t testing.TB, since int64) fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	proto := protobuf.NewSerializer(scheme, scheme)
	codec := codecs.CodecForVersions(proto, proto, corev1.SchemeGroupVersion, corev1.SchemeGroupVersion)
	encoder := codecs.EncoderForVersion(proto, corev1.SchemeGroupVersion)
	stored, err := runtime.Encode(encoder, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: "u", Labels: map[string]string{"a": "b"}, Generation: 3},
		Data:       map[string]string{"k": "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return fixture{NewKind(Kind{
		GroupVersion: corev1.SchemeGroupVersion, ListKind: "ConfigMapList", NewList: func() runtime.Object { return &corev1.ConfigMapList{} },
		Codec: codec, Encoder: encoder, Since: since,
	}), encoder, stored}
}

// object is what the storage makes of bytes.
func (f fixture) object(data []byte, rev int64) *Object {
	return &Object{kind: f.Kind, data: data, rev: rev}
}

// decoded fails what must not be decoded.
var errDecoded = errors.New("was decoded")

func refuse(runtime.Object, io.Writer) error { return errDecoded }

func TestObjectIsSpliced(t *testing.T) {
	f := newFixture(t, 10)
	for _, rev := range []int64{10, 999, 1000, 1<<62 + 1} {
		o := f.object(f.stored, rev)
		decoded, err := o.decode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := runtime.Encode(f.encoder, decoded)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := o.CacheEncode(f.encoder.Identifier(), refuse, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("revision %d: %v\ngot  %q\nwant %q", rev, err, got.Bytes(), want)
		}
	}
}

func TestWhatCannotBeSplicedIsDecoded(t *testing.T) {
	f := newFixture(t, 10)
	for name, o := range map[string]*Object{
		"written before the defaults of today": f.object(f.stored, 9),
		"spliced already":                      f.object(f.stored, 10),
	} {
		id := f.encoder.Identifier()
		if o.rev == 10 {
			id = "json"
		}
		called := false
		err := o.CacheEncode(id, func(obj runtime.Object, _ io.Writer) error {
			_, called = obj.(*corev1.ConfigMap)
			return nil
		}, io.Discard)
		if err != nil || !called {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListIsSpliced(t *testing.T) {
	f := newFixture(t, 10)
	for _, revs := range [][]int64{{}, {11}, {9, 10, 11}} {
		l := &List{kind: f.Kind, ListMeta: metav1.ListMeta{ResourceVersion: "12", Continue: "token"}}
		for _, rev := range revs {
			l.Items = append(l.Items, *f.object(f.stored, rev))
		}
		typed, err := l.typed()
		if err != nil {
			t.Fatal(err)
		}
		want, err := runtime.Encode(f.encoder, typed)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := l.CacheEncode(f.encoder.Identifier(), refuse, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d items: %v\ngot  %q\nwant %q", len(revs), err, got.Bytes(), want)
		}
	}
}

// FuzzSplice holds that bytes of any kind are spliced into what decodes to the same object, or not spliced at all.
func FuzzSplice(f *testing.F) {
	fix := newFixture(f, 0)
	f.Add(fix.stored, int64(7))
	f.Add([]byte("k8s\x00"), int64(7))
	f.Add([]byte("k8s\x00\n\x00\x12\x02\n\x00"), int64(7))
	f.Fuzz(func(t *testing.T, data []byte, rev int64) {
		if rev <= 0 {
			return
		}
		o := fix.object(data, rev)
		var got bytes.Buffer
		if o.CacheEncode(fix.encoder.Identifier(), refuse, &got) != nil {
			return
		}
		want, err := o.decode()
		if err != nil {
			return // nothing that can be stored
		}
		obj, err := runtime.Decode(fix.Codec, got.Bytes())
		if err != nil {
			t.Fatalf("%q was spliced into %q, which is none: %v", data, got.Bytes(), err)
		}
		a, errA := runtime.Encode(fix.encoder, want)
		b, errB := runtime.Encode(fix.encoder, obj)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%q was spliced into %q, want %q", data, b, a)
		}
	})
}
