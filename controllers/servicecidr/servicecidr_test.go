// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

// newTestController returns a controller whose caches hold objs and whose loop does not run.
func newTestController(t *testing.T, objs ...runtime.Object) (*Controller, *testcluster.Cluster) {
	t.Helper()
	c := testcluster.New(t, objs...)
	ranges := c.Informers.Networking().V1()
	controller, err := New(c.Client, ranges.ServiceCIDRs(), ranges.IPAddresses(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	controller.now = func() time.Time { return noon }
	c.Start(func(ctx context.Context) { <-ctx.Done() })
	return controller, c
}

func get(t *testing.T, c *testcluster.Cluster, name string) *networkingv1.ServiceCIDR {
	t.Helper()
	cidr, err := c.Client.NetworkingV1().ServiceCIDRs().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cidr
}

func TestNewRange(t *testing.T) {
	controller, c := newTestController(t, newCIDR("more", "10.44.0.0/24"))
	if err := controller.sync(t.Context(), "more"); err != nil {
		t.Fatal(err)
	}
	cidr := get(t, c, "more")
	if !slices.Contains(cidr.Finalizers, protection) {
		t.Errorf("finalizers %v", cidr.Finalizers)
	}
	ready := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.Message != "Kubernetes Service CIDR is ready" || ready.LastTransitionTime.IsZero() {
		t.Errorf("condition %+v", ready)
	}
}

// A range that is being deleted goes when no address needs it, and when every allocator has heard of it.
func TestDeletionOfRange(t *testing.T) {
	deleted := func(ago time.Duration) *networkingv1.ServiceCIDR {
		cidr := newCIDR("more", "10.44.0.0/24")
		at := metav1.NewTime(noon.Add(-ago))
		cidr.Finalizers, cidr.DeletionTimestamp = []string{protection, "example.com/other"}, &at
		return cidr
	}
	foreign := newAddress("10.44.0.5", "web", time.Hour)
	foreign.Labels = nil
	for _, tt := range []struct {
		name    string
		objects []runtime.Object
		blocked bool
		later   time.Duration
	}{
		{name: "unused", objects: []runtime.Object{deleted(time.Minute)}},
		{name: "unused, a moment ago", objects: []runtime.Object{deleted(4 * time.Second)}, later: 6 * time.Second},
		{name: "in use", objects: []runtime.Object{deleted(time.Minute), newAddress("10.44.0.5", "web", time.Hour)}, blocked: true},
		{name: "in use elsewhere", objects: []runtime.Object{deleted(time.Minute), newAddress("10.43.0.5", "web", time.Hour)}},
		{name: "in use by others", objects: []runtime.Object{deleted(time.Minute), foreign}},
		{name: "in use, within a wider range", objects: []runtime.Object{deleted(time.Minute), newAddress("10.44.0.5", "web", time.Hour), newCIDR("wide", "10.44.0.0/16")}},
		{name: "in use, of the same prefix as another", objects: []runtime.Object{deleted(time.Minute), newAddress("10.44.0.5", "web", time.Hour), newCIDR("same", "10.44.0.0/24")}},
		{name: "in use, in a part that another has", objects: []runtime.Object{deleted(time.Minute), newAddress("10.44.0.5", "web", time.Hour), newCIDR("part", "10.44.0.0/28")}},
		{name: "in use, in a part that no other has", objects: []runtime.Object{deleted(time.Minute), newAddress("10.44.0.35", "web", time.Hour), newCIDR("part", "10.44.0.0/28")}, blocked: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			controller, c := newTestController(t, tt.objects...)
			err := controller.sync(t.Context(), "more")
			var after loop.RetryAfter
			if errors.As(err, &after); time.Duration(after) != tt.later || err != nil && after == 0 {
				t.Fatalf("sync: %v, want one after %s", err, tt.later)
			}
			cidr := get(t, c, "more")
			if held := slices.Contains(cidr.Finalizers, protection); held != (tt.blocked || tt.later > 0) || !slices.Contains(cidr.Finalizers, "example.com/other") {
				t.Errorf("finalizers %v", cidr.Finalizers)
			}
			ready := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
			if (ready != nil) != tt.blocked || tt.blocked && (ready.Status != metav1.ConditionFalse || ready.Reason != networkingv1.ServiceCIDRReasonTerminating) {
				t.Errorf("condition %+v", ready)
			}
		})
	}
}

// The last address that goes lets the range go.
func TestRangeGoesWithItsAddresses(t *testing.T) {
	cidr := newCIDR("more", "10.44.0.0/24")
	at := metav1.NewTime(time.Now().Add(-time.Minute))
	cidr.Finalizers, cidr.DeletionTimestamp = []string{protection}, &at
	c := testcluster.New(t, cidr, newAddress("10.44.0.5", "web", time.Hour))
	ranges := c.Informers.Networking().V1()
	controller, err := New(c.Client, ranges.ServiceCIDRs(), ranges.IPAddresses(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	c.Eventually("what holds the range is told", func() error {
		if ready := meta.FindStatusCondition(get(t, c, "more").Status.Conditions, networkingv1.ServiceCIDRConditionReady); ready == nil {
			return errors.New("no condition")
		}
		return nil
	})
	if err := c.Client.NetworkingV1().IPAddresses().Delete(t.Context(), "10.44.0.5", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("its protection ends", func() error {
		if finalizers := get(t, c, "more").Finalizers; len(finalizers) > 0 {
			return fmt.Errorf("finalizers %v", finalizers)
		}
		return nil
	})
}

func TestEnsureDefault(t *testing.T) {
	held := newCIDR(DefaultName, "10.42.0.0/16")
	held.Finalizers = []string{protection}
	judged := newCIDR(DefaultName, "10.43.0.0/16")
	judged.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: "Judged"}}
	for _, tt := range []struct {
		name   string
		before []runtime.Object
		reason string
		status metav1.ConditionStatus
	}{
		{name: "new cluster", status: metav1.ConditionTrue},
		{name: "there", before: []runtime.Object{newCIDR(DefaultName, "10.43.0.0/16")}, status: metav1.ConditionTrue},
		{name: "there and judged", before: []runtime.Object{judged}, status: metav1.ConditionFalse, reason: "Judged"},
		{name: "of another prefix", before: []runtime.Object{held}, status: metav1.ConditionTrue},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testcluster.New(t, tt.before...)
			if err := EnsureDefault(t.Context(), c.Client, "10.43.0.0/16"); err != nil {
				t.Fatal(err)
			}
			cidr := get(t, c, DefaultName)
			ready := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
			if !slices.Equal(cidr.Spec.CIDRs, []string{"10.43.0.0/16"}) || ready == nil || ready.Status != tt.status || ready.Reason != tt.reason {
				t.Errorf("%v, condition %+v", cidr.Spec.CIDRs, ready)
			}
		})
	}
}
