// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"io"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/pkg/registry"
)

// lightWatches is a serializer that leaves a watch nothing of the events that it has told. The machinery encodes an event on the watch's goroutine, whose stack
// doubles for that and stays, and into buffers that keep the size of the largest event: a watch that waits again took 11 KB more than one that has told
// nothing, and ten thousand that were told of an object of 1 MiB took twenty gigabytes. Here an event is encoded on a goroutine of its own and into memory of
// its own, which costs a microsecond.
type lightWatches struct{ runtime.NegotiatedSerializer }

// EncoderForVersion implements runtime.NegotiatedSerializer.
func (s lightWatches) EncoderForVersion(serializer runtime.Encoder, gv runtime.GroupVersioner) runtime.Encoder {
	encoder := s.NegotiatedSerializer.EncoderForVersion(serializer, gv)
	if allocating, ok := encoder.(runtime.EncoderWithAllocator); ok {
		return allocatingEncoder{eventEncoder{encoder}, allocating}
	}
	return eventEncoder{encoder}
}

// eventEncoder encodes what is for a watch on a goroutine of its own, and anything else as the encoder within it.
type eventEncoder struct{ encoder runtime.Encoder }

// Encode implements runtime.Encoder. What it writes into is a runtime.Splice where it is for a watch.
func (e eventEncoder) Encode(object runtime.Object, w io.Writer) error {
	event, ok := w.(runtime.Splice)
	if !ok {
		return e.encoder.Encode(object, w)
	}
	own := runtime.NewSpliceBuffer()
	if err := apart(func() error { return e.encoder.Encode(object, own) }); err != nil {
		return err
	}
	event.Splice(own.Bytes())
	return nil
}

// Identifier implements runtime.Encoder.
func (e eventEncoder) Identifier() runtime.Identifier { return e.encoder.Identifier() }

// allocatingEncoder is one that can be given the memory to encode in. A watch would keep it, so it is for answers alone.
type allocatingEncoder struct {
	eventEncoder
	allocating runtime.EncoderWithAllocator
}

// EncodeWithAllocator implements runtime.EncoderWithAllocator.
func (e allocatingEncoder) EncodeWithAllocator(object runtime.Object, w io.Writer, memory runtime.MemoryAllocator) error {
	if _, ok := w.(runtime.Splice); ok {
		return e.Encode(object, w)
	}
	return e.allocating.EncodeWithAllocator(object, w, memory)
}

// encoding has a place for each event that is encoded at a time. More than there are processors would not be faster, and ten thousand watches hear of an
// event at once, each of which would have a stack for it.
var encoding = make(chan struct{}, 16)

// apart calls do, which must not wait for anything, on another goroutine, with a stack that need not grow, and returns what it does. A panic is the caller's.
func apart(do func() error) error {
	encoding <- struct{}{}
	defer func() { <-encoding }()
	type outcome struct {
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	go func() {
		registry.GrowStack()
		var o outcome
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		o.err = do()
	}()
	o := <-done
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

var (
	_ runtime.NegotiatedSerializer = lightWatches{}
	_ runtime.Encoder              = eventEncoder{}
	_ runtime.EncoderWithAllocator = allocatingEncoder{}
)
