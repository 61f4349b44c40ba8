// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"errors"
	"io"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// TestEventsLeaveNothing encodes an event as a watch does, in JSON and protobuf: the buffer says what it would say without, and keeps none of it.
func TestEventsLeaveNothing(t *testing.T) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"a": strings.Repeat("x", 1<<20)}}
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(mediaType, func(t *testing.T) {
			info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), mediaType)
			if !ok {
				t.Fatal("no serializer")
			}
			v1 := corev1.SchemeGroupVersion
			var want bytes.Buffer
			if err := scheme.Codecs.EncoderForVersion(info.Serializer, v1).Encode(object, &want); err != nil {
				t.Fatal(err)
			}
			encoder := lightWatches{scheme.Codecs}.EncoderForVersion(info.Serializer, v1)
			memory := &noMemory{t}
			event := &watched{buffer: runtime.NewSpliceBuffer()}
			for range 2 {
				err := encoder.Encode(object, event)
				if allocating, ok := encoder.(runtime.EncoderWithAllocator); ok {
					event.Reset()
					err = errors.Join(err, allocating.EncodeWithAllocator(object, event, memory))
				}
				if err != nil || !bytes.Equal(event.Bytes(), want.Bytes()) {
					t.Errorf("%.100q, want %.100q: %v", event.Bytes(), want.Bytes(), err)
				}
				event.Reset()
			}
			if event.written {
				t.Error("the watch's buffer was written to, and keeps its size")
			}
			var answer bytes.Buffer
			if err := encoder.Encode(object, &answer); err != nil || !bytes.Equal(answer.Bytes(), want.Bytes()) {
				t.Errorf("an answer is %.100q, want %.100q: %v", answer.Bytes(), want.Bytes(), err)
			}
		})
	}
}

type buffer = runtime.Splice // whose name is not that of a method of it

// watched tells whether it was written to.
type watched struct {
	buffer
	written bool
}

func (w *watched) Write(data []byte) (int, error) {
	w.written = true
	return w.buffer.Write(data)
}

// noMemory is memory that a watch must not keep.
type noMemory struct{ t *testing.T }

func (m *noMemory) Allocate(n uint64) []byte {
	m.t.Error("the watch's memory was used")
	return make([]byte, n)
}

// TestApartPanics: what is encoded apart may panic, which whoever recovers for the request has to hear of.
func TestApartPanics(t *testing.T) {
	defer func() {
		if recover() != "in the encoder" {
			t.Error("nothing is recovered")
		}
	}()
	_ = eventEncoder{panicking{}}.Encode(&corev1.ConfigMap{}, runtime.NewSpliceBuffer()) // it panics
}

type panicking struct{}

func (panicking) Encode(runtime.Object, io.Writer) error { panic("in the encoder") }
func (panicking) Identifier() runtime.Identifier         { return "" }

// TestEventsAreEncodedAFewAtATime: watches that hear of an event at once do not have a stack each for it.
func TestEventsAreEncodedAFewAtATime(t *testing.T) {
	var running, most atomic.Int64
	var all sync.WaitGroup
	for range 20 * cap(encoding) {
		all.Go(func() {
			_ = apart(func() error {
				now := running.Add(1)
				for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
				}
				for range 100 {
					goruntime.Gosched() // so that others can begin meanwhile
				}
				running.Add(-1)
				return nil
			})
		})
	}
	all.Wait()
	if got := most.Load(); got < 2 || got > int64(cap(encoding)) {
		t.Errorf("%d were encoded at a time, want more than one and %d at most", got, cap(encoding))
	}
}
