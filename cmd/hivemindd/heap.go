// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go begins a collection when the heap has doubled, which a burst of work on large objects makes a gigabyte of. What Go's memory may grow to
// is bounded instead: below atEase by nothing but that, above it to what was in use after the last collection and a fraction of it. Collections are
// more frequent then: each looks at what is in use once for a fraction of it that is allocated, where Go's default is for as much again.
const (
	atEase   = 224 << 20 // bytes; the pages of the program and of the storage's file come on top
	headroom = 4
)

// boundHeap keeps the bound as collections tell what is in use. It costs nothing between collections. Who sets GOMEMLIMIT or GOGC knows better.
func boundHeap() {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	b := &heapBound{samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}}
	b.set()
	b.arm()
}

type heapBound struct {
	samples []metrics.Sample
	bound   int64
}

// arm has the next collection call set: it finds an object that nobody refers to.
func (b *heapBound) arm() {
	runtime.SetFinalizer(&struct{ b *heapBound }{b}, func(any) {
		b.set()
		b.arm()
	})
}

func (b *heapBound) set() {
	metrics.Read(b.samples)
	value := func(i int) int64 { return int64(b.samples[i].Value.Uint64()) }
	beside := value(1) - value(2) - value(3) - value(4) - value(5) // stacks, and what the runtime itself needs
	bound := boundOf(value(0), beside)
	if bound != b.bound {
		b.bound = bound
		debug.SetMemoryLimit(bound)
	}
}

// boundOf is how much memory Go may have, where live bytes of the heap are in use and others beside it.
func boundOf(live, beside int64) int64 { return max(atEase, live+live/headroom+beside) }
