// SPDX-License-Identifier: Apache-2.0

package allocator

import (
	"errors"
	"sync"
	"testing"
)

// Numbers for those who ask by name are handed out by chance only when nothing else is left.
func TestLowNumbersAreKept(t *testing.T) {
	r := NewRange(64)
	for range 64 - r.reserved {
		if n, ok := r.Next(); !ok || n < r.reserved {
			t.Fatalf("Next() = %d, %v while others are free", n, ok)
		}
	}
	if n, ok := r.Next(); !ok || n >= r.reserved {
		t.Fatalf("Next() = %d, %v when the upper part is taken", n, ok)
	}
}

func TestPorts(t *testing.T) {
	p := NewPorts(30000, 30001)
	if err := p.Take(29999); err == nil || err.Error() != "provided port is not in the valid range. The range of valid ports is 30000-30001" {
		t.Errorf("Take(29999): %v", err)
	}
	if err := p.Take(30000); err != nil {
		t.Fatal(err)
	}
	if err := p.Take(30000); !errors.Is(err, ErrPortTaken) {
		t.Errorf("Take twice: %v", err)
	}
	if n, err := p.Next(); err != nil || n != 30001 {
		t.Errorf("Next() = %d, %v", n, err)
	}
	p.Free(30000)
	if n, err := p.Next(); err != nil || n != 30000 {
		t.Errorf("Next() after Free = %d, %v", n, err)
	}
}

func TestNoNumberTwice(t *testing.T) {
	r := NewRange(400)
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[int]bool{}
	for range 8 {
		wg.Go(func() {
			for range 50 {
				n, ok := r.Next()
				mu.Lock()
				if !ok || seen[n] {
					t.Errorf("Next() = %d, %v", n, ok)
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
