// SPDX-License-Identifier: Apache-2.0

package networking

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
)

func TestGivesAddress(t *testing.T) {
	cidr := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.43.0.0/29", "fd00::/125"}}}
	for addr, want := range map[string]bool{
		"10.43.0.0": false, "10.43.0.1": true, "10.43.0.6": true, "10.43.0.7": false, "10.43.0.8": false, "10.42.255.255": false,
		"fd00::": false, "fd00::1": true, "fd00::7": true, "fd00::8": false,
	} {
		if got := GivesAddress(cidr, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	all := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"255.255.255.248/29"}}}
	if GivesAddress(all, netip.MustParseAddr("255.255.255.255")) || !GivesAddress(all, netip.MustParseAddr("255.255.255.254")) {
		t.Error("the end of all addresses is not that of its prefix")
	}
}

func TestNewServiceAddress(t *testing.T) {
	got := NewServiceAddress(netip.MustParseAddr("fd00::5"), "default", "web")
	want := map[string]string{"ipaddress.kubernetes.io/ip-family": "IPv6", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
	if diff := cmp.Diff(want, got.Labels); diff != "" || got.Name != "fd00::5" {
		t.Errorf("%s, labels -want +got:\n%s", got.Name, diff)
	}
	if errs := ValidateIPAddress(got); len(errs) > 0 {
		t.Error(errs)
	}
}
