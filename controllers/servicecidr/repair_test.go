// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/apis/networking"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func newCIDR(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

// newService is an hour old at noon.
func newService(name string, ips ...string) *v1.Service {
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec:       v1.ServiceSpec{Type: v1.ServiceTypeClusterIP, ClusterIPs: ips},
	}
	if len(ips) > 0 {
		svc.Spec.ClusterIP = ips[0]
	}
	return svc
}

// newAddress is held for a service, and so old at noon.
func newAddress(ip, service string, age time.Duration) *networkingv1.IPAddress {
	address := networking.NewServiceAddress(netip.MustParseAddr(ip), "default", service)
	address.CreationTimestamp = metav1.NewTime(noon.Add(-age))
	return address
}

// newTestRepair returns a controller whose caches hold objs and whose loops do not run.
func newTestRepair(t *testing.T, objs ...runtime.Object) (*Repair, *testcluster.Cluster) {
	t.Helper()
	c := testcluster.New(t, append(objs, newCIDR(DefaultName, "10.43.0.0/16"))...)
	r, err := NewRepair(c.Client, c.Informers.Core().V1().Services(), c.Informers.Networking().V1(), "10.43.0.0/16", c.Events)
	if err != nil {
		t.Fatal(err)
	}
	r.now = func() time.Time { return noon }
	c.Start(func(ctx context.Context) { <-ctx.Done() })
	return r, c
}

// holders are the names of the services that addresses are held for.
func holders(t *testing.T, c *testcluster.Cluster) map[string]string {
	t.Helper()
	list, err := c.Client.NetworkingV1().IPAddresses().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for _, a := range list.Items {
		held[a.Name] = a.Spec.ParentRef.Name
	}
	return held
}

func TestRepairOfService(t *testing.T) {
	byGateway := newAddress("10.43.0.5", "web", time.Hour)
	byGateway.Spec.ParentRef.Group, byGateway.Spec.ParentRef.Resource = "gateway.networking.k8s.io", "gateways"
	unlabelled := newAddress("10.43.0.5", "web", time.Hour)
	unlabelled.Labels = nil
	external := newService("web")
	external.Spec.Type = v1.ServiceTypeExternalName
	const repairing = "Warning ClusterIPNotAllocated the ClusterIP [IPv4]: 10.43.0.5 for Service default/web has a wrong reference; repairing"
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		held    map[string]string
		events  []string
		later   bool
	}{
		{name: "as it should be", objects: []runtime.Object{newService("web", "10.43.0.5"), newAddress("10.43.0.5", "web", time.Hour)}, held: map[string]string{"10.43.0.5": "web"}},
		{name: "not held", objects: []runtime.Object{newService("web", "10.43.0.5")}, held: map[string]string{"10.43.0.5": "web"},
			events: []string{"Warning ClusterIPNotAllocated Cluster IP [IPv4]: 10.43.0.5 is not allocated; repairing"}},
		{name: "of no range", objects: []runtime.Object{newService("web", "10.99.0.5")}, held: map[string]string{},
			events: []string{"Warning ClusterIPOutOfRange Cluster IP [IPv4]: 10.99.0.5 is not within any configured Service CIDR; please recreate service"}},
		{name: "no address", objects: []runtime.Object{newService("web", "ten")}, held: map[string]string{},
			events: []string{"Warning ClusterIPNotValid Cluster IP ten is not a valid IP; please recreate Service"}},
		{name: "held for something else", objects: []runtime.Object{newService("web", "10.43.0.5"), byGateway}, held: map[string]string{"10.43.0.5": "web"}, events: []string{repairing}},
		{name: "held for a service that is gone", objects: []runtime.Object{newService("web", "10.43.0.5"), newAddress("10.43.0.5", "old", time.Hour)},
			held: map[string]string{"10.43.0.5": "web"}, events: []string{repairing}},
		{name: "of two services", objects: []runtime.Object{newService("web", "10.43.0.5"), newService("other", "10.43.0.5"), newAddress("10.43.0.5", "other", time.Hour)},
			held:   map[string]string{"10.43.0.5": "other"},
			events: []string{"Warning ClusterIPAlreadyAllocated Cluster IP [IPv4]:10.43.0.5 was assigned to multiple services; please recreate service"}},
		{name: "held for a service that has another", objects: []runtime.Object{newService("web", "10.43.0.5"), newService("other", "10.43.0.6"), newAddress("10.43.0.5", "other", time.Hour)},
			held: map[string]string{"10.43.0.5": "other"}, later: true},
		{name: "without labels", objects: []runtime.Object{newService("web", "10.43.0.5"), unlabelled}, held: map[string]string{"10.43.0.5": "web"}},
		{name: "headless", objects: []runtime.Object{newService("web", v1.ClusterIPNone)}, held: map[string]string{}},
		{name: "external", objects: []runtime.Object{external}, held: map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newTestRepair(t, tt.objects...)
			err := r.syncService(t.Context(), "default/web")
			var after loop.RetryAfter
			if later := errors.As(err, &after); later != tt.later || err != nil && !later {
				t.Fatalf("sync: %v", err)
			}
			if diff := cmp.Diff(tt.held, holders(t, c)); diff != "" {
				t.Errorf("addresses -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.events, c.Events.Lines()); diff != "" {
				t.Errorf("events -want +got:\n%s", diff)
			}
			for ip, name := range tt.held {
				a, err := c.Client.NetworkingV1().IPAddresses().Get(t.Context(), ip, metav1.GetOptions{})
				if want := networking.NewServiceAddress(netip.MustParseAddr(ip), "default", name); err != nil || name == "web" && !cmp.Equal(want.Labels, a.Labels) {
					t.Errorf("labels of %s are %v: %v", ip, a.Labels, err)
				}
			}
		})
	}
}

// A service that the API server knows no more is not repaired, though the cache is behind.
func TestRepairOfServiceThatWent(t *testing.T) {
	r, c := newTestRepair(t)
	if err := c.Informers.Core().V1().Services().Informer().GetIndexer().Add(newService("web", "10.43.0.5")); err != nil {
		t.Fatal(err)
	}
	if err := r.syncService(t.Context(), "default/web"); err != nil {
		t.Fatal(err)
	}
	if held, events := holders(t, c), c.Events.Lines(); len(held)+len(events) > 0 {
		t.Errorf("made %v and said %q", held, events)
	}
}

func TestRepairOfAddress(t *testing.T) {
	gateway := newAddress("10.43.0.5", "web", time.Hour)
	gateway.Spec.ParentRef.Group, gateway.Spec.ParentRef.Resource = "g", "gateways"
	foreign := gateway.DeepCopy()
	foreign.Labels = nil
	external := newService("web")
	external.Spec.Type = v1.ServiceTypeExternalName
	const wrong = "Warning IPAddressWrongReference IPAddress: 10.43.0.5 for Service default/web has a wrong reference; cleaning up"
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		freed   bool
		later   time.Duration
		events  []string
	}{
		{name: "as it should be", objects: []runtime.Object{newService("web", "10.43.0.5"), newAddress("10.43.0.5", "web", time.Hour)}},
		{name: "of a service in creation", objects: []runtime.Object{newAddress("10.43.0.5", "web", 20*time.Second)}, later: 40*time.Second + time.Millisecond},
		{name: "leaked", objects: []runtime.Object{newAddress("10.43.0.5", "web", 61*time.Second)}, freed: true,
			events: []string{"Warning IPAddressNotAllocated IPAddress: 10.43.0.5 for Service default/web appears to have leaked: cleaning up"}},
		{name: "of a service that has another", objects: []runtime.Object{newService("web", "10.43.0.6"), newAddress("10.43.0.5", "web", 10*time.Second)}, freed: true, events: []string{wrong}},
		{name: "of a creation that failed a moment ago", objects: []runtime.Object{newService("web", "10.43.0.6"), newAddress("10.43.0.5", "web", time.Second)}, later: inRevert},
		{name: "of an external service that is about to have it", objects: []runtime.Object{external, newAddress("10.43.0.5", "web", 20*time.Second)}, later: 40 * time.Second},
		{name: "of an external service that had it", objects: []runtime.Object{external, newAddress("10.43.0.5", "web", time.Hour)}, freed: true, events: []string{wrong}},
		{name: "of no service", objects: []runtime.Object{gateway}, freed: true,
			events: []string{"Warning IPAddressNotAllocated IPAddress 10.43.0.5 appears to have been modified, not referencing a Service &ParentReference{Group:g,Resource:gateways,Namespace:default,Name:web,}: cleaning up"}},
		{name: "of another manager", objects: []runtime.Object{foreign}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := newTestRepair(t, tt.objects...)
			err := r.syncAddress(t.Context(), "10.43.0.5")
			var after loop.RetryAfter
			if errors.As(err, &after); time.Duration(after) != tt.later || err != nil && after == 0 {
				t.Fatalf("sync: %v, want one after %s", err, tt.later)
			}
			if _, has := holders(t, c)["10.43.0.5"]; has == tt.freed {
				t.Errorf("the address is there: %t", has)
			}
			if diff := cmp.Diff(tt.events, c.Events.Lines()); diff != "" {
				t.Errorf("events -want +got:\n%s", diff)
			}
		})
	}
}

// What a person deletes is made again: addresses in use, and the default range.
func TestRepairOfDeletions(t *testing.T) {
	c := testcluster.New(t, newService("web", "10.43.0.5"), newAddress("10.43.0.5", "web", time.Hour), newCIDR(DefaultName, "10.43.0.0/16"))
	r, err := NewRepair(c.Client, c.Informers.Core().V1().Services(), c.Informers.Networking().V1(), "10.43.0.0/16", c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { r.Run(ctx, 1) })
	ranges := c.Client.NetworkingV1()
	if err := ranges.IPAddresses().Delete(t.Context(), "10.43.0.5", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the address is held again", func() error {
		_, err := ranges.IPAddresses().Get(t.Context(), "10.43.0.5", metav1.GetOptions{})
		return err
	})
	if err := ranges.ServiceCIDRs().Delete(t.Context(), DefaultName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the default range is there again", func() error {
		cidr, err := ranges.ServiceCIDRs().Get(t.Context(), DefaultName, metav1.GetOptions{})
		if err == nil && !slices.Equal(cidr.Spec.CIDRs, []string{"10.43.0.0/16"}) {
			return errors.New("it is of another prefix")
		}
		return err
	})
}
