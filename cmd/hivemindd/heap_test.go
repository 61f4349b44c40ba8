// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestBoundOf(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct{ live, beside, want int64 }{
		{0, 0, atEase},
		{40 * mib, 20 * mib, atEase},
		{300 * mib, 30 * mib, 405 * mib},
	} {
		if got := boundOf(tt.live, tt.beside); got != tt.want {
			t.Errorf("%d MiB live and %d beside: %d MiB, want %d", tt.live/mib, tt.beside/mib, got/mib, tt.want/mib)
		}
	}
}

// The bound follows what is in use, up and down.
func TestPercentOf(t *testing.T) {
	for _, tt := range []struct {
		liveMiB int64
		ago     time.Duration
		want    int
	}{
		{23, busy / 10, 300},
		{24, 2 * busy, usualPercent},
		{5, busy / 10, mostPercent},
		{0, 0, mostPercent},
		{60, busy / 10, leastPercent},
		{500, busy / 10, leastPercent},
	} {
		if got := percentOf(tt.liveMiB<<20, tt.ago); got != tt.want {
			t.Errorf("%d MiB live, collected %v ago: %d, want %d", tt.liveMiB, tt.ago, got, tt.want)
		}
	}
}

func TestBoundHeap(t *testing.T) {
	t.Setenv("GOGC", "") // which a person may have set for the tests
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before); debug.SetGCPercent(usualPercent) })
	boundHeap()
	until := func(what string, ok func(bound int64) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(debug.SetMemoryLimit(-1)); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the bound is %d MiB", what, debug.SetMemoryLimit(-1)>>20)
			}
			runtime.GC()
			runtime.Gosched()
		}
	}
	until("at first", func(bound int64) bool { return bound == atEase })
	large := make([]byte, 2*atEase)
	until("with a large heap", func(bound int64) bool { return bound > 2*atEase && bound < math.MaxInt64 })
	runtime.KeepAlive(large)
	large = nil
	until("when it has gone", func(bound int64) bool { return bound == atEase })
}
