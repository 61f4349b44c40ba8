// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go begins a collection when the heap has doubled, which a burst of work on large objects makes a gigabyte of. What Go's memory may grow to
// is bounded instead: below atEase by nothing but that, above it to what was in use after the last collection and a fraction of it. Collections are
// more frequent then: each looks at what is in use once for a fraction of it that is allocated, where Go's default is for as much again.
//
// A small heap doubles a dozen times a second under load, and a sixth of the CPU time goes into collections. So while they follow each other within
// busy, the heap may grow to atWork, which a load soon needs anyway for what it stores.
const (
	atEase   = 224 << 20 // bytes; the pages of the program and of the storage's file come on top
	headroom = 4

	atWork = 92 << 20 // bytes of the heap
	busy   = time.Second

	// By which the heap grows between collections.
	usualPercent = 100 // Go's own
	leastPercent = 90  // while busy
	mostPercent  = 400
)

// boundHeap keeps the bounds as collections tell what is in use. It costs nothing between collections. Who sets GOMEMLIMIT or GOGC knows better.
func boundHeap() {
	if os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" {
		return
	}
	b := &heapBound{percent: usualPercent, samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}}
	b.set()
	b.arm()
}

type heapBound struct {
	samples []metrics.Sample
	bound   int64
	percent int
	last    time.Time // when set was called
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
	now := time.Now()
	percent := percentOf(value(0), now.Sub(b.last))
	b.last = now
	// A change stops all goroutines for a moment.
	if percent != b.percent && (percent == usualPercent || percent == leastPercent || max(percent, b.percent)-min(percent, b.percent) > usualPercent/10) {
		b.percent = percent
		debug.SetGCPercent(percent)
	}
}

// boundOf is how much memory Go may have, where live bytes of the heap are in use and others beside it.
func boundOf(live, beside int64) int64 { return max(atEase, live+live/headroom+beside) }

// percentOf is by how much the heap may grow, where live bytes of it are in use and the last collection was so long ago.
func percentOf(live int64, ago time.Duration) int {
	if ago > busy {
		return usualPercent
	}
	return int(min(max(atWork*100/max(live, 1)-100, leastPercent), mostPercent))
}
