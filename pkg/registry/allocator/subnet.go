// SPDX-License-Identifier: Apache-2.0

package allocator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
)

// Errors of the allocation of an address, in the words of kube-apiserver.
var (
	// ErrAllocated is said of an address that something else has.
	ErrAllocated = errors.New("provided IP is already allocated")
	// ErrMismatchedNetwork is said of an address that no range has.
	ErrMismatchedNetwork = errors.New("the provided network does not match the current range")
	// ErrNotReady is said where there is no range at all.
	ErrNotReady = errors.New("allocator not ready")
)

// Subnet is a range of IPv4 addresses that services get theirs from: those of its prefix but the network's own and the broadcast address.
type Subnet struct {
	Prefix netip.Prefix
	first  uint32
	size   int
	// reserved addresses at the start are handed out by chance only when all others are taken: they are for those who ask for
	// an address by name (KEP-3070).
	reserved int
}

// NewSubnet returns the addresses of prefix, which must be IPv4. Of a prefix of one or two addresses there are none.
func NewSubnet(prefix netip.Prefix) (Subnet, error) {
	if !prefix.Addr().Is4() {
		return Subnet{}, fmt.Errorf("service CIDR %s is not IPv4", prefix)
	}
	prefix = prefix.Masked()
	network := prefix.Addr().As4()
	all := 1 << (32 - prefix.Bits())
	s := Subnet{Prefix: prefix, first: binary.BigEndian.Uint32(network[:]) + 1, size: max(0, all-2)}
	if all > 16 {
		s.reserved = min(max(16, all/16), 256)
	}
	return s, nil
}

// Contains says whether ip is one of the addresses.
func (s Subnet) Contains(ip netip.Addr) bool {
	if !ip.Is4() {
		return false
	}
	bytes := ip.As4()
	n := int64(binary.BigEndian.Uint32(bytes[:])) - int64(s.first)
	return n >= 0 && n < int64(s.size)
}

// Candidates are all the addresses, each once, in the order in which they are to be tried: those that are not reserved, beginning at random, then
// those that are, beginning at random.
func (s Subnet) Candidates() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, part := range [][2]int{{s.reserved, s.size}, {0, s.reserved}} {
			from, n := part[0], part[1]-part[0]
			if n <= 0 {
				continue
			}
			start := rand.IntN(n)
			for i := range n {
				if !yield(s.at(from + (start+i)%n)) {
					return
				}
			}
		}
	}
}

func (s Subnet) at(n int) netip.Addr {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], s.first+uint32(n))
	return netip.AddrFrom4(ip)
}

// NotInRangeError is said of an address that the range does not have.
type NotInRangeError struct {
	IP    netip.Addr
	Range netip.Prefix
}

func (e *NotInRangeError) Error() string {
	return fmt.Sprintf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", e.IP, e.Range)
}
