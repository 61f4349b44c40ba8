// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime/debug"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/pkg/registry/table"
	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// The fuzz targets of this package take every row of the table, so that a new row is fuzzed without a new line. What holds for all of them:
// nothing panics or goes on for ever, defaulting twice is defaulting once, what validates or prints an object leaves it alone, and what is
// encoded decodes to the same.

// fuzzNamespace is where the objects of namespaced kinds are.
const fuzzNamespace = "default"

// tooLong is when work on an object of some kilobytes counts as endless. It takes milliseconds, or seconds where the fuzzer keeps the machine busy.
const tooLong = time.Minute

// examined is a row with what objects of it go through.
type examined struct {
	*Resource
	scheme  *runtime.Scheme
	codecs  serializer.CodecFactory
	storage runtime.Codec
	// stored is a valid object, as the storage has it.
	stored runtime.Object
	// objects are the corpus' objects of the kind.
	objects []map[string]any
}

// allRows are the rows of the table with the corpus' objects.
func allRows(t testing.TB) []examined {
	t.Helper()
	all := rows()
	scheme, err := newScheme(all)
	if err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	storage := storageCodec(scheme, codecs, all)
	valid, err := corpus.Load()
	if err != nil {
		t.Fatal(err)
	}
	var out []examined
	for _, row := range all {
		e := examined{Resource: row, scheme: scheme, codecs: codecs, storage: storage}
		namespace := ""
		if row.Namespaced {
			namespace = fuzzNamespace
		}
		if k := valid.Kind(row.GroupVersionKind(), namespace); k != nil {
			for _, o := range k.Objects {
				e.objects = append(e.objects, o.Content)
			}
			if full := k.Object(corpus.Full); full != nil && k.Status != nil {
				withStatus := runtime.DeepCopyJSON(full)
				withStatus["status"] = k.Status
				e.objects = append(e.objects, withStatus)
			}
		}
		if len(e.objects) == 0 {
			t.Fatalf("the corpus has no object of %s: write one in test/parity/corpus/objects", row.GroupVersionKind())
		}
		for _, content := range e.objects {
			if e.stored, err = e.made(t, content); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("none of the corpus' objects of %s is valid: %v", row.GroupVersionKind(), err)
		}
		out = append(out, e)
	}
	return out
}

// made is what becomes of an object that a client creates.
func (e examined) made(t testing.TB, content map[string]any) (runtime.Object, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	obj, err := e.decode(runtime.ContentTypeJSON, data)
	if err != nil {
		return nil, err
	}
	return obj, e.create(t, obj)
}

// context is that of a request for the row.
func (e examined) context() context.Context {
	namespace := ""
	if e.Namespaced {
		namespace = fuzzNamespace
	}
	ctx := request.WithNamespace(context.Background(), namespace)
	return request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, APIGroup: e.GroupVersion.Group, APIVersion: e.GroupVersion.Version, Resource: e.Resource.Resource, Namespace: namespace,
	})
}

// decode reads an object as the body of a request is, with its defaults.
func (e examined) decode(mediaType string, data []byte) (runtime.Object, error) {
	info, ok := runtime.SerializerInfoForMediaType(e.codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		return nil, fmt.Errorf("nothing reads %s", mediaType)
	}
	gvk := e.GroupVersionKind()
	obj, _, err := e.codecs.DecoderToVersion(info.StrictSerializer, schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}).Decode(data, &gvk, e.New())
	if err != nil && !runtime.IsStrictDecodingError(err) {
		return nil, err
	}
	return obj, nil
}

// encode writes an object as an answer.
func (e examined) encode(mediaType string, obj runtime.Object) ([]byte, error) {
	info, ok := runtime.SerializerInfoForMediaType(e.codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		return nil, fmt.Errorf("nothing writes %s", mediaType)
	}
	return runtime.Encode(e.codecs.EncoderForVersion(info.Serializer, e.GroupVersion), obj)
}

// create prepares and validates obj as the generic store does for a new object.
func (e examined) create(t testing.TB, obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	rest.FillObjectMetaSystemFields(m)
	m.SetCreationTimestamp(metav1.Unix(1700000000, 0)) // which no encoding rounds
	if m.GetName() == "" {
		m.SetName("made")
	}
	if e.Namespaced && m.GetNamespace() == "" {
		m.SetNamespace(fuzzNamespace)
	}
	return rest.BeforeCreate(pure{t, strategy{ObjectTyper: e.scheme, row: e.Resource}}, e.context(), obj)
}

// update prepares and validates obj as an update of old, or of old's status.
func (e examined) update(t testing.TB, obj, old runtime.Object, status bool) error {
	obj, old = obj.DeepCopyObject(), old.DeepCopyObject()
	m, was := obj.(metav1.Object), old.(metav1.Object)
	m.SetName(was.GetName())
	m.SetNamespace(was.GetNamespace())
	m.SetUID(was.GetUID())
	was.SetResourceVersion("1")
	m.SetResourceVersion("1")
	base := strategy{ObjectTyper: e.scheme, row: e.Resource}
	if status {
		return rest.BeforeUpdate(pureStatus{t, statusStrategy{base}}, e.context(), obj, old)
	}
	return rest.BeforeUpdate(pure{t, base}, e.context(), obj, old)
}

// walk takes an object the ways that the server takes one which a client has sent.
func (e examined) walk(t testing.TB, obj runtime.Object) {
	defer watchdog(e.GroupVersionKind())()
	again := obj.DeepCopyObject()
	e.scheme.Default(again)
	same(t, "defaulting twice", obj, again)
	e.trips(t, obj)
	e.show(t, obj)

	_ = e.update(t, obj, e.stored, false) // that it is refused is as good as that it is not
	if e.status {
		_ = e.update(t, obj, e.stored, true)
	}
	created := obj.DeepCopyObject()
	if e.create(t, created) != nil {
		return
	}
	stored := e.trips(t, created)
	e.show(t, stored)
	if err := e.update(t, e.stored, stored, false); err == nil {
		_ = e.update(t, stored, e.stored, false)
	}
	if e.status {
		_ = e.update(t, e.stored, stored, true)
	}
	// What is stored can be written again unchanged, but by what only an older server or another author could have stored.
	_ = e.update(t, stored, stored, false)
}

// show makes what lists and watches need of an object.
func (e examined) show(t testing.TB, obj runtime.Object) {
	before := obj.DeepCopyObject()
	if _, _, err := e.attributes(obj); err != nil {
		t.Errorf("%s: what selectors see: %v", e.GroupVersionKind(), err)
	}
	printer := table.For(schema.GroupKind{Group: e.GroupVersion.Group, Kind: e.Kind})
	list := e.NewList()
	if err := meta.SetList(list, []runtime.Object{obj, obj}); err != nil {
		t.Fatal(err)
	}
	for _, each := range []runtime.Object{obj, list} {
		made, err := printer.ConvertToTable(e.context(), each, nil)
		if err != nil {
			t.Errorf("%s: print: %v", e.GroupVersionKind(), err)
			continue
		}
		for _, row := range made.Rows {
			if len(row.Cells) != len(made.ColumnDefinitions) {
				t.Errorf("%s: %d cells in a row of %d columns", e.GroupVersionKind(), len(row.Cells), len(made.ColumnDefinitions))
			}
			if _, err := json.Marshal(row.Cells); err != nil {
				t.Errorf("%s: print: %v", e.GroupVersionKind(), err)
			}
		}
	}
	_, _ = scaleOf(obj) // most kinds have none
	same(t, "printing", before, obj)
}

// trips encodes and decodes obj, and returns what the storage makes of it.
func (e examined) trips(t testing.TB, obj runtime.Object) runtime.Object {
	data, err := runtime.Encode(e.storage, obj)
	if err != nil {
		t.Fatalf("%s: encode for the storage: %v", e.GroupVersionKind(), err)
	}
	stored, err := runtime.Decode(e.storage, data)
	if err != nil {
		t.Fatalf("%s: decode what the storage has: %v", e.GroupVersionKind(), err)
	}
	// Reading fills in defaults, and like JSON drops fractions of seconds.
	want := obj.DeepCopyObject()
	e.scheme.Default(want)
	sameText(t, "the storage", want, stored)
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeCBOR, runtime.ContentTypeProtobuf} {
		first, err := e.encode(mediaType, obj)
		if err != nil {
			continue // a time or a number that this encoding cannot say
		}
		sent, err := e.decode(mediaType, first)
		if err != nil {
			t.Errorf("%s: decode what was sent as %s: %v", e.GroupVersionKind(), mediaType, err)
			continue
		}
		// Text cannot say fractions of seconds nor broken UTF-8, so that the second trip is what must not change anything.
		second, err := e.encode(mediaType, sent)
		if err != nil {
			t.Errorf("%s: encode again as %s: %v", e.GroupVersionKind(), mediaType, err)
			continue
		}
		again, err := e.decode(mediaType, second)
		if err != nil {
			t.Errorf("%s: decode again from %s: %v", e.GroupVersionKind(), mediaType, err)
			continue
		}
		same(t, mediaType, sent, again)
	}
	return stored
}

// same fails where two objects differ in more than nil and empty.
func same(t testing.TB, what string, want, got runtime.Object) {
	t.Helper()
	want, got = want.DeepCopyObject(), got.DeepCopyObject()
	for _, obj := range []runtime.Object{want, got} {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // some of the ways say it, and some do not
	}
	if !apiequality.Semantic.DeepEqual(want, got) {
		a, _ := json.Marshal(want) // what cannot be encoded shows as a difference all the same
		b, _ := json.Marshal(got)
		t.Errorf("%T: %s changes it: %s", want, what, cmp.Diff(string(a), string(b)))
	}
}

// sameText fails where two objects differ in JSON in more than nil and empty.
func sameText(t testing.TB, what string, want, got runtime.Object) {
	t.Helper()
	read := func(obj runtime.Object) runtime.Object {
		data, err := json.Marshal(obj)
		if err != nil {
			return nil // a time or a number that JSON cannot say
		}
		again := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(runtime.Object)
		if err := json.Unmarshal(data, again); err != nil {
			return nil
		}
		return again
	}
	if a, b := read(want), read(got); a != nil && b != nil {
		same(t, what, a, b)
	}
}

// watchdog ends the process, with the stacks of all goroutines, where what it watches over does not end.
func watchdog(what any) (end func()) {
	timer := time.AfterFunc(tooLong, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("%v: not done after %v", what, tooLong))
	})
	return func() { timer.Stop() }
}

// pure is a strategy that fails the test where its questions change the object.
type pure struct {
	t testing.TB
	strategy
}

func (p pure) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	before := obj.DeepCopyObject()
	defer func() { same(p.t, "validation", before, obj) }()
	errs := p.strategy.Validate(ctx, obj)
	for _, err := range errs {
		_ = err.Error() // which prints the value that is wrong
	}
	return errs
}

func (p pure) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	before, was := obj.DeepCopyObject(), old.DeepCopyObject()
	defer func() {
		same(p.t, "validation of an update", before, obj)
		same(p.t, "validation of an update", was, old)
	}()
	return p.strategy.ValidateUpdate(ctx, obj, old)
}

func (p pure) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	was := old.DeepCopyObject()
	defer func() { same(p.t, "preparing an update", was, old) }()
	p.strategy.PrepareForUpdate(ctx, obj, old)
}

func (p pure) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	before := obj.DeepCopyObject()
	defer func() { same(p.t, "warning", before, obj) }()
	return p.strategy.WarningsOnCreate(ctx, obj)
}

func (p pure) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	before := obj.DeepCopyObject()
	defer func() { same(p.t, "warning of an update", before, obj) }()
	return p.strategy.WarningsOnUpdate(ctx, obj, old)
}

// pureStatus is pure for the status.
type pureStatus struct {
	t testing.TB
	statusStrategy
}

func (p pureStatus) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	was := old.DeepCopyObject()
	defer func() { same(p.t, "preparing an update of the status", was, old) }()
	p.statusStrategy.PrepareForUpdate(ctx, obj, old)
}

func (p pureStatus) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	before, was := obj.DeepCopyObject(), old.DeepCopyObject()
	defer func() {
		same(p.t, "validation of a status", before, obj)
		same(p.t, "validation of a status", was, old)
	}()
	return p.statusStrategy.ValidateUpdate(ctx, obj, old)
}
