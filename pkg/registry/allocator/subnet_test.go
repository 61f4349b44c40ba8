// SPDX-License-Identifier: Apache-2.0

package allocator

import (
	"net/netip"
	"testing"
)

// Sizes and reserved parts are those of KEP-3070.
func TestSubnet(t *testing.T) {
	for _, tt := range []struct {
		prefix         string
		size, reserved int
		first, last    string
	}{
		{"10.43.0.0/16", 65534, 256, "10.43.0.1", "10.43.255.254"},
		{"10.43.7.9/20", 4094, 256, "10.43.0.1", "10.43.15.254"},
		{"10.43.0.0/24", 254, 16, "10.43.0.1", "10.43.0.254"},
		{"10.43.0.0/27", 30, 16, "10.43.0.1", "10.43.0.30"},
		{"10.43.0.16/28", 14, 0, "10.43.0.17", "10.43.0.30"},
		{"255.255.255.252/30", 2, 0, "255.255.255.253", "255.255.255.254"},
		{"10.43.0.0/31", 0, 0, "", ""},
		{"10.43.0.0/32", 0, 0, "", ""},
	} {
		s, err := NewSubnet(netip.MustParsePrefix(tt.prefix))
		if err != nil {
			t.Fatal(err)
		}
		if s.size != tt.size || s.reserved != tt.reserved {
			t.Errorf("%s: %d addresses of which %d are reserved, want %d of which %d", tt.prefix, s.size, s.reserved, tt.size, tt.reserved)
		}
		seen := map[netip.Addr]bool{}
		for ip := range s.Candidates() {
			if seen[ip] || !s.Contains(ip) {
				t.Fatalf("%s: candidate %s; seen before: %t", tt.prefix, ip, seen[ip])
			}
			seen[ip] = true
			low := ip.Less(s.at(s.reserved))
			if left := s.size - len(seen); low != (left < s.reserved) {
				t.Fatalf("%s: candidate %s with %d after it: the first %d are for the end", tt.prefix, ip, left, s.reserved)
			}
		}
		if len(seen) != tt.size {
			t.Errorf("%s: %d candidates, want %d", tt.prefix, len(seen), tt.size)
		}
		if tt.size == 0 {
			continue
		}
		first, last := netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.last)
		if !seen[first] || !seen[last] || s.Contains(first.Prev()) || s.Contains(last.Next()) {
			t.Errorf("%s does not reach from %s to %s", tt.prefix, first, last)
		}
	}
}

func TestSubnetsAreIPv4(t *testing.T) {
	if _, err := NewSubnet(netip.MustParsePrefix("fd00::/112")); err == nil {
		t.Error("a subnet of IPv6 was taken")
	}
	s, err := NewSubnet(netip.MustParsePrefix("10.43.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Contains(netip.MustParseAddr("::ffff:10.43.0.5")) || s.Contains(netip.Addr{}) {
		t.Error("a subnet of IPv4 contains what is not an IPv4 address")
	}
}
