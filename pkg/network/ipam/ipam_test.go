// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func open(t *testing.T, dir string, cidrs ...string) *Pool {
	t.Helper()
	var subnets []netip.Prefix
	for _, c := range cidrs {
		subnets = append(subnets, netip.MustParsePrefix(c))
	}
	p, err := Open(dir, subnets)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func acquire(t *testing.T, p *Pool, id string) Lease {
	t.Helper()
	l, err := p.Acquire(Lease{ContainerID: id, IfName: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAcquireGoesRoundAndReusesLate(t *testing.T) {
	p := open(t, t.TempDir(), "10.1.0.0/29") // .2 to .6
	for i, want := range []string{"10.1.0.2", "10.1.0.3", "10.1.0.4"} {
		if l := acquire(t, p, fmt.Sprint("c", i)); l.Addresses[0].String() != want {
			t.Fatalf("address %d is %s, want %s", i, l.Addresses[0], want)
		}
	}
	if err := p.Release("c0", "eth0"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"10.1.0.5", "10.1.0.6", "10.1.0.2"} {
		if l := acquire(t, p, fmt.Sprint("d", i)); l.Addresses[0].String() != want {
			t.Errorf("address %d after a release is %s, want %s", i, l.Addresses[0], want)
		}
	}
	if _, err := p.Acquire(Lease{ContainerID: "e", IfName: "eth0"}); !errors.Is(err, ErrExhausted) {
		t.Errorf("full subnet: error %v, want ErrExhausted", err)
	}
}

func TestAcquireIsIdempotentAndSeenByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir, "10.1.0.0/24", "fd00::/64")
	a := acquire(t, p, "c")
	if len(a.Addresses) != 2 || a.Addresses[1] != netip.MustParseAddr("fd00::2") {
		t.Errorf("dual-stack lease is %v", a.Addresses)
	}
	if b := acquire(t, open(t, dir, "10.1.0.0/24", "fd00::/64"), "c"); b.Addresses[0] != a.Addresses[0] {
		t.Errorf("second lease of the same interface is %v, want %v", b.Addresses, a.Addresses)
	}
	if _, ok, err := p.Find("c", "eth0"); !ok || err != nil {
		t.Errorf("Find: %v %v", ok, err)
	}
	for range 2 {
		if err := p.Release("c", "eth0"); err != nil {
			t.Error(err)
		}
	}
	if leases, err := p.Leases(); err != nil || len(leases) != 0 {
		t.Errorf("leases after release: %v %v", leases, err)
	}
}

func TestFullSubnetReclaimsAbandoned(t *testing.T) {
	p := open(t, t.TempDir(), "10.1.0.0/30") // only .2
	netns := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(netns, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Acquire(Lease{ContainerID: "old", IfName: "eth0", Netns: netns}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Acquire(Lease{ContainerID: "new", IfName: "eth0"}); !errors.Is(err, ErrExhausted) {
		t.Fatalf("while the namespace exists: error %v, want ErrExhausted", err)
	}
	if err := os.Remove(netns); err != nil {
		t.Fatal(err)
	}
	acquire(t, p, "new")
}

func TestLeasesOfAnotherBootAreVoid(t *testing.T) {
	dir := t.TempDir()
	torn := filepath.Join(dir, "11111111-2222-3333-4444-555555555555.json")
	if err := os.WriteFile(torn, []byte(`{"leases":[{"cont`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, dir, "10.1.0.0/24")
	acquire(t, p, "c")
	if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leases of an earlier boot are still there: %v", err)
	}
}

func TestConcurrentPoolsNeverShareAnAddress(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	seen := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for i := range 8 {
		p := open(t, dir, "10.1.0.0/24")
		wg.Go(func() {
			for j := range 20 {
				id := fmt.Sprintf("c%d-%d", i, j)
				l, err := p.Acquire(Lease{ContainerID: id, IfName: "eth0"})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if other, ok := seen[l.Addresses[0]]; ok {
					t.Errorf("%s leased to %s and %s", l.Addresses[0], other, id)
				}
				seen[l.Addresses[0]] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestKilledProcessLeavesNothingTorn kills processes that lease and release as fast as they can.
func TestKilledProcessLeavesNothingTorn(t *testing.T) {
	if dir := os.Getenv("IPAM_TEST_CHURN"); dir != "" {
		p := open(t, dir, "10.1.0.0/24")
		for i := 0; ; i++ {
			acquire(t, p, "churn")
			if i == 0 {
				fmt.Println("running")
			}
			if err := p.Release("churn", "eth0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	for range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesNothingTorn$")
		cmd.Env = append(os.Environ(), "IPAM_TEST_CHURN="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil { // it has leased once
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		leases, err := open(t, dir, "10.1.0.0/24").Leases()
		if err != nil {
			t.Fatal(err)
		}
		if len(leases) > 1 {
			t.Fatalf("leases leaked: %v", leases)
		}
	}
}

func TestOpenRefusesUselessSubnets(t *testing.T) {
	for _, cidr := range []string{"10.0.0.0/31", "10.0.0.0/32", "fd00::/127"} {
		if _, err := Open(t.TempDir(), []netip.Prefix{netip.MustParsePrefix(cidr)}); err == nil {
			t.Errorf("%s was accepted", cidr)
		}
	}
	if _, err := Open(t.TempDir(), nil); err == nil {
		t.Error("a pool without subnets was accepted")
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	p, err := Open(b.TempDir(), []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 110 {
		if _, err := p.Acquire(Lease{ContainerID: fmt.Sprint(i), IfName: "eth0"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := p.Acquire(Lease{ContainerID: "c", IfName: "eth0"}); err != nil {
			b.Fatal(err)
		}
		if err := p.Release("c", "eth0"); err != nil {
			b.Fatal(err)
		}
	}
}
