// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/pkg/registry/allocator"
)

// memoryBook is an addressBook without a storage. What it says of ranges and addresses can be made to lag behind what is stored.
type memoryBook struct {
	mu      sync.Mutex
	stored  []*networkingv1.ServiceCIDR
	cached  []*networkingv1.ServiceCIDR
	held    map[string]networkingv1.ParentReference
	unknown map[string]bool // addresses that are held without its being known yet
}

func newMemoryBook(cidrs ...*networkingv1.ServiceCIDR) *memoryBook {
	return &memoryBook{stored: cidrs, cached: cidrs, held: map[string]networkingv1.ParentReference{}, unknown: map[string]bool{}}
}

func (b *memoryBook) ranges(_ context.Context, fresh bool) ([]*networkingv1.ServiceCIDR, error) {
	if fresh {
		return slices.Clone(b.stored), nil
	}
	return slices.Clone(b.cached), nil
}

func (b *memoryBook) taken(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.held[name]
	return ok && !b.unknown[name]
}

func (b *memoryBook) create(_ context.Context, address *networkingv1.IPAddress) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.held[address.Name]; ok {
		return allocator.ErrAllocated
	}
	b.held[address.Name] = *address.Spec.ParentRef
	return nil
}

func (b *memoryBook) remove(_ context.Context, name string, parent *networkingv1.ParentReference) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ref, ok := b.held[name]; ok && ref != *parent {
		return fmt.Errorf("%s is of %v", name, ref)
	}
	delete(b.held, name)
	return nil
}

func cidr(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

func notReady(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
	c.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse}}
	return c
}

func deleting(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
	now := metav1.Now()
	c.DeletionTimestamp = &now
	return c
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip}}
}

// The errors are those of kube-apiserver, which in a dry run asks one range and does not ask what is free.
func TestAddressesByName(t *testing.T) {
	const invalid = `Service "s" is invalid: spec.clusterIPs: Invalid value: ["%s"]: failed to allocate IP %[1]s: %s`
	def := cidr("kubernetes", "10.43.0.0/24")
	for _, tt := range []struct {
		name   string
		ranges []*networkingv1.ServiceCIDR
		ip     string
		dryRun bool
		want   string // the error
	}{
		{name: "free", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.9"},
		{name: "taken", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.5", want: "provided IP is already allocated"},
		{name: "of no range", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.44.0.9", want: "the provided network does not match the current range"},
		{name: "of the network", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.0", want: "the provided network does not match the current range"},
		{name: "broadcast", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.255", want: "the provided network does not match the current range"},
		{name: "of the second range", ranges: []*networkingv1.ServiceCIDR{def, cidr("more", "10.44.0.0/24")}, ip: "10.44.0.9"},
		{name: "of a range beside one of IPv6", ranges: []*networkingv1.ServiceCIDR{cidr("both", "fd00::/112", "10.44.0.0/24")}, ip: "10.44.0.9"},
		{name: "of a range that goes", ranges: []*networkingv1.ServiceCIDR{def, deleting(cidr("more", "10.44.0.0/24"))}, ip: "10.44.0.9",
			want: "the provided network does not match the current range"},
		{name: "of a range that is not ready", ranges: []*networkingv1.ServiceCIDR{def, notReady(cidr("more", "10.44.0.0/24"))}, ip: "10.44.0.9",
			want: "the provided network does not match the current range"},
		{name: "of two ranges of which one goes", ranges: []*networkingv1.ServiceCIDR{deleting(cidr("wide", "10.43.0.0/16")), def}, ip: "10.43.0.9"},
		{name: "without ranges", ip: "10.43.0.9", want: "the provided network does not match the current range"},
		{name: "dry run", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.9", dryRun: true},
		{name: "dry run, taken", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.43.0.5", dryRun: true},
		{name: "dry run, of no range", ranges: []*networkingv1.ServiceCIDR{def}, ip: "10.44.0.9", dryRun: true,
			want: "the provided IP (10.44.0.9) is not in the valid range. The range of valid IPs is 10.43.0.0/24"},
		{name: "dry run without ranges", ip: "10.43.0.9", dryRun: true, want: "allocator not ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			book := newMemoryBook(tt.ranges...)
			book.held["10.43.0.5"] = *parentOf(service("other", ""))
			before := maps.Clone(book.held)
			n := newServiceNumbers(30000, 30002)
			n.addresses.book = book
			options := &metav1.CreateOptions{}
			if tt.dryRun {
				options.DryRun = []string{metav1.DryRunAll}
			}
			svc := service("s", tt.ip)
			finish, err := n.beginCreate(t.Context(), svc, options)
			want := tt.want
			if want != "" {
				want = fmt.Sprintf(invalid, tt.ip, want)
			}
			if text(err) != want {
				t.Fatalf("got  %v\nwant %s", err, want)
			}
			if err == nil {
				finish(t.Context(), true)
			}
			if err == nil && !tt.dryRun {
				before[tt.ip] = *parentOf(svc)
			}
			if diff := cmp.Diff(before, book.held); diff != "" {
				t.Errorf("addresses that are held -want +got:\n%s", diff)
			}
		})
	}
}

// One range after the other is used up, then the answer is that nothing is left.
func TestAddressesByChance(t *testing.T) {
	n := newServiceNumbers(30000, 30002)
	book := newMemoryBook(cidr("a", "10.43.0.0/30"), deleting(cidr("b", "10.44.0.0/30")), cidr("c", "10.45.0.0/30"))
	n.addresses.book = book
	for i := range 4 {
		svc := service(fmt.Sprint("s", i), "")
		create(t, n, svc)
		if prefix := []string{"10.43.", "10.43.", "10.45.", "10.45."}[i]; !strings.HasPrefix(svc.Spec.ClusterIP, prefix) {
			t.Errorf("address %d is %s", i, svc.Spec.ClusterIP)
		}
	}
	_, err := n.beginCreate(t.Context(), service("one-more", ""), &metav1.CreateOptions{})
	if want := `Internal error occurred: failed to allocate a serviceIP for Service "one-more": range is full`; text(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A server that is behind others finds out by what it writes.
func TestAddressesThatOthersTook(t *testing.T) {
	n := newServiceNumbers(30000, 30002)
	book := newMemoryBook(cidr("a", "10.43.0.0/30"))
	n.addresses.book = book
	book.held["10.43.0.1"], book.unknown["10.43.0.1"] = *parentOf(service("other", "")), true
	svc := service("s", "")
	create(t, n, svc)
	if svc.Spec.ClusterIP != "10.43.0.2" {
		t.Errorf("got %s, want the one that is free", svc.Spec.ClusterIP)
	}
}

// A range serves as soon as it is stored.
func TestRangeThatIsNew(t *testing.T) {
	n := newServiceNumbers(30000, 30002)
	book := newMemoryBook(cidr("kubernetes", "10.43.0.0/24"))
	n.addresses.book = book
	book.stored = append(book.stored, cidr("more", "10.44.0.0/24"))
	create(t, n, service("s", "10.44.0.9"))
	book.cached = nil
	create(t, n, service("t", ""))
	book.stored = []*networkingv1.ServiceCIDR{cidr("full", "10.45.0.0/32"), cidr("new", "10.46.0.0/30")}
	book.cached = book.stored[:1]
	svc := service("u", "")
	create(t, n, svc)
	if !strings.HasPrefix(svc.Spec.ClusterIP, "10.46.0.") {
		t.Errorf("%s is not of the new range", svc.Spec.ClusterIP)
	}
}

// What a service holds is not given back in the name of another.
func TestReleaseOfAnothersAddress(t *testing.T) {
	n := newServiceNumbers(30000, 30002)
	book := newMemoryBook(cidr("kubernetes", "10.43.0.0/24"))
	n.addresses.book = book
	create(t, n, service("s", "10.43.0.9"))
	n.release(t.Context(), service("t", ""), numbers{ips: []string{"10.43.0.9"}})
	if !book.taken("10.43.0.9") {
		t.Error("the address of another service was given back")
	}
}

func TestNoAddressTwice(t *testing.T) {
	n := newServiceNumbers(30000, 30002)
	n.addresses.book = newMemoryBook(cidr("kubernetes", "10.43.0.0/24"))
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 30 {
				svc := service(fmt.Sprint("s-", worker, "-", i), "")
				finish, err := n.beginCreate(t.Context(), svc, &metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				finish(t.Context(), true)
				mu.Lock()
				if seen[svc.Spec.ClusterIP] {
					t.Errorf("%s was given twice", svc.Spec.ClusterIP)
				}
				seen[svc.Spec.ClusterIP] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestAddressesWithout(t *testing.T) {
	external := *service("external", "")
	external.Spec.Type = corev1.ServiceTypeExternalName
	held := func(svc *corev1.Service, ips ...string) corev1.Service {
		svc.Spec.ClusterIPs = ips
		return *svc
	}
	missing := addressesWithout([]corev1.Service{
		external, held(service("headless", "None"), "None"), held(service("known", "10.43.0.1"), "10.43.0.1"),
		held(service("lacks", "10.43.0.2"), "10.43.0.2"), held(service("double", "10.43.0.2"), "10.43.0.2"), held(service("six", "fd00::5"), "fd00::5"),
	}, func(name string) bool { return name == "10.43.0.1" })
	got := map[string]string{}
	for _, a := range missing {
		got[a.Name] = a.Labels[networkingv1.LabelIPAddressFamily] + " " + a.Spec.ParentRef.Name
	}
	if diff := cmp.Diff(map[string]string{"10.43.0.2": "IPv4 lacks", "fd00::5": "IPv6 six"}, got); diff != "" {
		t.Errorf("IPAddresses to make -want +got:\n%s", diff)
	}
}
