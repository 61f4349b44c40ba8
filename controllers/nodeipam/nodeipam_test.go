// SPDX-License-Identifier: Apache-2.0

package nodeipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func newNode(name string, cidrs ...string) *v1.Node {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if n.Spec.PodCIDRs = cidrs; len(cidrs) > 0 {
		n.Spec.PodCIDR = cidrs[0]
	}
	return n
}

func start(t *testing.T, cidr string, objects ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objects...)
	controller, err := New(c.Client, c.Informers.Core().V1().Nodes(), c.Events, netip.MustParsePrefix(cidr), 24)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

// TestGivesAddresses gives new nodes what those that were there before a restart do not have.
func TestGivesAddresses(t *testing.T) {
	c := start(t, "10.42.0.0/16", newNode("a", "10.42.0.0/24"), newNode("b"), newNode("c", "10.42.2.0/24"), newNode("d"))
	c.Eventually("addresses", func() error {
		list, err := c.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, n := range list.Items {
			if n.Spec.PodCIDR == "" || !slices.Equal(n.Spec.PodCIDRs, []string{n.Spec.PodCIDR}) {
				return fmt.Errorf("node %s has %q, %q", n.Name, n.Spec.PodCIDR, n.Spec.PodCIDRs)
			}
			got = append(got, n.Spec.PodCIDR)
		}
		slices.Sort(got)
		if want := []string{"10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"}; !slices.Equal(got, want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

// TestFull tells a node that there is nothing left, and gives it what another leaves.
func TestFull(t *testing.T) {
	c := start(t, "10.42.0.0/24", newNode("a", "10.42.0.0/24"), newNode("b"))
	c.Eventually("event", func() error {
		if want := "Normal CIDRNotAvailable Node b status is now: CIDRNotAvailable"; !slices.Contains(c.Events.Lines(), want) {
			return fmt.Errorf("events %q", c.Events.Lines())
		}
		return nil
	})
	if err := c.Client.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("address", func() error {
		n, err := c.Client.CoreV1().Nodes().Get(t.Context(), "b", metav1.GetOptions{})
		if err != nil || n.Spec.PodCIDR != "10.42.0.0/24" {
			return fmt.Errorf("b has %q: %w", n.Spec.PodCIDR, err)
		}
		return nil
	})
}

func TestPool(t *testing.T) {
	for _, test := range []struct {
		name string
		cidr string
		size int
		kept []string
		want string // what the next node gets
		err  error
	}{
		{"first", "10.42.0.0/16", 24, nil, "10.42.0.0/24", nil},
		{"first gap", "10.42.0.0/16", 24, []string{"10.42.0.0/24", "10.42.2.0/24"}, "10.42.1.0/24", nil},
		{"around one of another size", "10.42.0.0/16", 24, []string{"10.42.0.0/22"}, "10.42.4.0/24", nil},
		{"outside ones do not matter", "10.42.0.0/16", 24, []string{"10.99.0.0/24"}, "10.42.0.0/24", nil},
		{"full", "10.42.0.0/23", 24, []string{"10.42.0.0/24", "10.42.1.0/24"}, "", errFull},
		{"IPv6", "fd00:42::/48", 64, []string{"fd00:42::/64"}, "fd00:42:0:1::/64", nil},
		{"not on a byte", "10.42.0.0/20", 23, []string{"10.42.0.0/23"}, "10.42.2.0/23", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := newPool(netip.MustParsePrefix(test.cidr), test.size)
			if err != nil {
				t.Fatal(err)
			}
			for i, kept := range test.kept {
				if err := p.keep(netip.MustParsePrefix(kept), fmt.Sprint("n", i)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := p.take("new")
			if !errors.Is(err, test.err) || (err == nil && got.String() != test.want) {
				t.Errorf("got %s, %v, want %s, %v", got, err, test.want, test.err)
			}
		})
	}
	if _, err := newPool(netip.MustParsePrefix("10.42.0.0/25"), 24); err == nil {
		t.Error("parts larger than the whole were allowed")
	}
}
