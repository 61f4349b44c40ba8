// SPDX-License-Identifier: Apache-2.0

// Package allocator chooses the numbers that services need: cluster addresses and node ports.
//
// Which node ports are taken is derived from the stored services when the server starts and kept in memory after, so that a
// crash can neither leak one nor hand one out twice: an allocation costs a map lookup, and memory is one map entry a port
// taken. Who has an address is kept in IPAddress objects; what is here only says which to try, and costs nothing but the trying.
//
// This file holds node ports, subnet.go the addresses.
package allocator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Errors of an allocation, in the words of kube-apiserver.
var (
	ErrPortTaken = errors.New("provided port is already allocated")
	ErrFull      = errors.New("range is full")
)

// Range is a set of consecutive numbers, each free or taken. It is safe for concurrent use.
type Range struct {
	mu    sync.Mutex
	taken map[int]bool
	size  int
	// reserved numbers at the start are handed out by chance only when all others are taken: they are for those who ask
	// for a number by name (KEP-3070, KEP-3668).
	reserved int
}

// NewRange returns a range of size numbers from 0, all free.
func NewRange(size int) *Range {
	return &Range{taken: map[int]bool{}, size: size, reserved: min(max(16, size/16), 256, size/2)}
}

// Take takes n and says whether it was free.
func (r *Range) Take(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[n] {
		return false
	}
	r.taken[n] = true
	return true
}

// Next takes any free number.
func (r *Range) Next() (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.search(r.reserved, r.size); ok {
		return n, true
	}
	return r.search(0, r.reserved)
}

// search looks for a free number in [from, to), beginning at random.
func (r *Range) search(from, to int) (int, bool) {
	if to <= from {
		return 0, false
	}
	start := rand.IntN(to - from)
	for i := range to - from {
		n := from + (start+i)%(to-from)
		if !r.taken[n] {
			r.taken[n] = true
			return n, true
		}
	}
	return 0, false
}

// Free gives n back.
func (r *Range) Free(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.taken, n)
}

// Ports allocates node ports.
type Ports struct {
	first, last int32
	r           *Range
}

// NewPorts returns an allocator for the ports from first to last.
func NewPorts(first, last int32) *Ports {
	return &Ports{first: first, last: last, r: NewRange(int(last - first + 1))}
}

// Take takes the port given.
func (p *Ports) Take(port int32) error {
	if port < p.first || port > p.last {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", p.first, p.last)
	}
	if !p.r.Take(int(port - p.first)) {
		return ErrPortTaken
	}
	return nil
}

// Next takes any free port.
func (p *Ports) Next() (int32, error) {
	n, ok := p.r.Next()
	if !ok {
		return 0, ErrFull
	}
	return p.first + int32(n), nil
}

// Free gives the port back; one that is not of the range is ignored.
func (p *Ports) Free(port int32) {
	if port >= p.first && port <= p.last {
		p.r.Free(int(port - p.first))
	}
}
