// SPDX-License-Identifier: Apache-2.0

package allocator

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
)

func TestAddresses(t *testing.T) {
	a, err := NewAddresses(netip.MustParsePrefix("10.43.0.0/29"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ip, want string }{
		{"10.43.0.1", ""},
		{"10.43.0.1", "provided IP is already allocated"},
		{"10.43.0.0", "the provided IP (10.43.0.0) is not in the valid range. The range of valid IPs is 10.43.0.0/29"},
		{"10.43.0.7", "the provided IP (10.43.0.7) is not in the valid range. The range of valid IPs is 10.43.0.0/29"},
		{"10.43.0.8", "the provided IP (10.43.0.8) is not in the valid range. The range of valid IPs is 10.43.0.0/29"},
		{"fd00::1", "the provided IP (fd00::1) is not in the valid range. The range of valid IPs is 10.43.0.0/29"},
	} {
		got := ""
		if err := a.Take(tt.ip); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("Take(%s) = %q, want %q", tt.ip, got, tt.want)
		}
	}
	seen := map[string]bool{"10.43.0.1": true}
	for range 5 {
		ip, err := a.Next()
		if err != nil || seen[ip] || !netip.MustParsePrefix("10.43.0.0/29").Contains(netip.MustParseAddr(ip)) {
			t.Fatalf("Next() = %q, %v after %v", ip, err, seen)
		}
		seen[ip] = true
	}
	if _, err := a.Next(); !errors.Is(err, ErrFull) {
		t.Errorf("Next() of a full range: %v", err)
	}
	a.Free("10.43.0.3")
	if ip, err := a.Next(); err != nil || ip != "10.43.0.3" {
		t.Errorf("Next() after Free = %q, %v", ip, err)
	}
}

func TestAddressesRefusesRanges(t *testing.T) {
	for _, cidr := range []string{"10.43.0.0/30", "fd00::/108"} {
		if _, err := NewAddresses(netip.MustParsePrefix(cidr)); err == nil {
			t.Errorf("NewAddresses(%s) succeeded", cidr)
		}
	}
}

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
