// SPDX-License-Identifier: Apache-2.0

// Package ipam hands out pod addresses of one node and remembers to whom.
//
// The leases of a network are one small file, replaced atomically under a file lock, so that a process killed at any
// point leaves either the old or the new state. The file is named by the boot ID: network namespaces do not outlive a
// boot, so leases of an earlier one are void and are never even parsed (a power cut may have torn them). Hence no
// fsync is needed, and an address costs one read and one write of about 100 bytes a lease: well under a millisecond
// for a /24.
//
// Addresses are handed out in a circle, so one that was released is used again as late as possible: connections and
// caches elsewhere that still name it have time to die.
package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrExhausted is returned by Acquire when a subnet has no free address left.
var ErrExhausted = errors.New("no free address")

// Lease is what one interface of one container holds.
type Lease struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
	// Netns is the path of the container's network namespace; once it is gone the lease holds nothing.
	Netns string `json:"netns,omitempty"`
	// Addresses has one address for each of the pool's subnets, in their order.
	Addresses []netip.Addr `json:"addresses"`
	// PortMappings are the ports of the node that lead to Addresses.
	PortMappings []PortMapping `json:"portMappings,omitempty"`
}

// PortMapping is a port of the node that leads to a port of the container (the portMappings convention of CNI).
type PortMapping struct {
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort"`
	Protocol      string `json:"protocol"` // tcp, udp or sctp
	HostIP        string `json:"hostIP,omitempty"`
}

// Pool is the addresses of a node in one network. It may be used by several processes at once.
type Pool struct {
	dir     string
	subnets []netip.Prefix
	bootID  string
}

// state is what the file holds.
type state struct {
	// Last has, for each subnet, the address that was handed out last.
	Last   []netip.Addr `json:"last,omitempty"`
	Leases []Lease      `json:"leases"`
}

// Open returns the pool whose leases are kept in dir, which is created if need be. A pool has one subnet for each IP
// family; of each, the network address, the gateway (the first address) and IPv4's broadcast address are never leased.
func Open(dir string, subnets []netip.Prefix) (*Pool, error) {
	if len(subnets) == 0 {
		return nil, errors.New("open address pool: no subnet")
	}
	for _, s := range subnets {
		if !s.IsValid() || s.Addr().BitLen()-s.Bits() < 2 {
			return nil, fmt.Errorf("open address pool: subnet %s has no room for pods", s)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open address pool: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("open address pool: %w", err)
	}
	return &Pool{dir: dir, subnets: subnets, bootID: strings.TrimSpace(string(boot))}, nil
}

// Gateway returns the address of the node in a subnet: the first one after the network address.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// HardwareAddr is derived from the IP address, so that when an address is used again no neighbour remembers a wrong one.
// IPv6 addresses give their last four bytes.
func HardwareAddr(ip netip.Addr) net.HardwareAddr {
	b := ip.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, b[len(b)-4:]...)
}

// Acquire leases an address of every subnet to the interface, or returns what the interface already holds. Where a
// subnet is full, leases whose network namespace no longer exists are released first.
func (p *Pool) Acquire(lease Lease) (Lease, error) {
	err := p.update(func(s *state) (bool, error) {
		for _, l := range s.Leases {
			if l.ContainerID == lease.ContainerID && l.IfName == lease.IfName {
				lease = l
				return false, nil
			}
		}
		addresses, err := p.next(s)
		if errors.Is(err, ErrExhausted) {
			s.Leases = keep(s.Leases, func(l Lease) bool { return !abandoned(l) })
			addresses, err = p.next(s)
		}
		if err != nil {
			return false, err
		}
		lease.Addresses = addresses
		s.Last = addresses
		s.Leases = append(s.Leases, lease)
		return true, nil
	})
	if err != nil {
		return Lease{}, fmt.Errorf("lease address to container %s: %w", lease.ContainerID, err)
	}
	return lease, nil
}

// Find returns what the interface holds; false if nothing.
func (p *Pool) Find(containerID, ifName string) (Lease, bool, error) {
	leases, err := p.Leases()
	if err != nil {
		return Lease{}, false, err
	}
	for _, l := range leases {
		if l.ContainerID == containerID && l.IfName == ifName {
			return l, true, nil
		}
	}
	return Lease{}, false, nil
}

// Leases returns all leases.
func (p *Pool) Leases() ([]Lease, error) {
	var leases []Lease
	err := p.update(func(s *state) (bool, error) {
		leases = s.Leases
		return false, nil
	})
	return leases, err
}

// Release ends the lease of the interface; it is no error if there is none.
func (p *Pool) Release(containerID, ifName string) error {
	err := p.update(func(s *state) (bool, error) {
		before := len(s.Leases)
		s.Leases = keep(s.Leases, func(l Lease) bool { return l.ContainerID != containerID || l.IfName != ifName })
		return len(s.Leases) != before, nil
	})
	if err != nil {
		return fmt.Errorf("release address of container %s: %w", containerID, err)
	}
	return nil
}

// update runs change on the state under the lock, and stores the state if change says so.
func (p *Pool) update(change func(*state) (bool, error)) error {
	lock, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // ends the lock, as the end of the process does
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	name := filepath.Join(p.dir, p.bootID+".json")
	var s state
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := p.forgetOtherBoots(); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("leases in %s are unreadable (stop all pods, then remove the file): %w", name, err)
		}
	}
	changed, err := change(&s)
	if err != nil || !changed {
		return err
	}
	if data, err = json.Marshal(&s); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// forgetOtherBoots removes what earlier boots of the machine left.
func (p *Pool) forgetOtherBoots() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.Contains(e.Name(), ".json") || strings.HasPrefix(e.Name(), p.bootID) {
			continue
		}
		if err := os.Remove(filepath.Join(p.dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// next picks a free address of each subnet.
func (p *Pool) next(s *state) ([]netip.Addr, error) {
	used := make(map[netip.Addr]struct{}, len(s.Leases)*len(p.subnets))
	for _, l := range s.Leases {
		for _, a := range l.Addresses {
			used[a] = struct{}{}
		}
	}
	addresses := make([]netip.Addr, len(p.subnets))
	for i, subnet := range p.subnets {
		last := Gateway(subnet)
		for _, a := range s.Last {
			if subnet.Contains(a) {
				last = a
			}
		}
		a, ok := nextIn(subnet, last, used)
		if !ok {
			return nil, fmt.Errorf("%w in %s: %d are leased", ErrExhausted, subnet, len(s.Leases))
		}
		addresses[i] = a
	}
	return addresses, nil
}

// nextIn returns the first free address after last, going round once.
func nextIn(subnet netip.Prefix, last netip.Addr, used map[netip.Addr]struct{}) (netip.Addr, bool) {
	gateway := Gateway(subnet)
	a := last
	// Among one more address than are used, one is free: so IPv6's huge subnets end as soon as IPv4's.
	for range len(used) + 2 {
		a = a.Next()
		if !a.IsValid() || !subnet.Contains(a) || (a.Is4() && !subnet.Contains(a.Next())) {
			a = gateway.Next()
		}
		if _, taken := used[a]; !taken && a != gateway {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// abandoned tells whether the lease's network namespace is gone. A namespace exists before its lease does.
func abandoned(l Lease) bool {
	if l.Netns == "" {
		return false
	}
	_, err := os.Stat(l.Netns)
	return errors.Is(err, os.ErrNotExist)
}

func keep(leases []Lease, want func(Lease) bool) []Lease {
	kept := leases[:0]
	for _, l := range leases {
		if want(l) {
			kept = append(kept, l)
		}
	}
	return kept
}
