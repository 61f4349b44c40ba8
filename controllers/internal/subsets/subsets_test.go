// SPDX-License-Identifier: Apache-2.0

package subsets

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func addr(ip string) corev1.EndpointAddress { return corev1.EndpointAddress{IP: ip} }

func podAddr(ip, uid string) corev1.EndpointAddress {
	return corev1.EndpointAddress{IP: ip, TargetRef: &corev1.ObjectReference{UID: types.UID(uid)}}
}

func list[T any](items ...T) []T { return items }

func TestRepack(t *testing.T) {
	a, b := corev1.EndpointPort{Name: "a", Port: 80, Protocol: "TCP"}, corev1.EndpointPort{Name: "b", Port: 443, Protocol: "TCP"}
	h2 := "h2c"
	app := corev1.EndpointPort{Name: "a", Port: 80, Protocol: "TCP", AppProtocol: &h2}
	for _, tc := range []struct {
		name string
		in   []corev1.EndpointSubset
		want []corev1.EndpointSubset
	}{
		{"nothing", nil, []corev1.EndpointSubset{}},
		{"one port, sorted", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.2")), Ports: list(a)}, {Addresses: list(addr("10.0.0.1")), Ports: list(a)},
		}, []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1"), addr("10.0.0.2")), Ports: list(a)}}},
		{"ports of the same addresses join", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.1")), Ports: list(b)}, {Addresses: list(addr("10.0.0.1")), Ports: list(a)},
		}, []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1")), Ports: list(a, b)}}},
		{"ports of other addresses do not", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.1")), Ports: list(a)}, {Addresses: list(addr("10.0.0.2")), Ports: list(b)},
		}, []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1")), Ports: list(a)}, {Addresses: list(addr("10.0.0.2")), Ports: list(b)}}},
		{"nor where one is not ready", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.1")), Ports: list(a)}, {NotReadyAddresses: list(addr("10.0.0.1")), Ports: list(b)},
		}, []corev1.EndpointSubset{{NotReadyAddresses: list(addr("10.0.0.1")), Ports: list(b)}, {Addresses: list(addr("10.0.0.1")), Ports: list(a)}}},
		{"not ready wins", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.1")), NotReadyAddresses: list(addr("10.0.0.1")), Ports: list(a)},
		}, []corev1.EndpointSubset{{NotReadyAddresses: list(addr("10.0.0.1")), Ports: list(a)}}},
		{"two pods at one address", []corev1.EndpointSubset{
			{Addresses: list(podAddr("10.0.0.1", "y"), podAddr("10.0.0.1", "x")), Ports: list(a)},
		}, []corev1.EndpointSubset{{Addresses: list(podAddr("10.0.0.1", "x"), podAddr("10.0.0.1", "y")), Ports: list(a)}}},
		{"without ports", []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1"))}}, []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1"))}}},
		{"application protocols tell ports apart", []corev1.EndpointSubset{
			{Addresses: list(addr("10.0.0.1")), Ports: list(a)}, {Addresses: list(addr("10.0.0.1")), Ports: list(app)},
		}, []corev1.EndpointSubset{{Addresses: list(addr("10.0.0.1")), Ports: list(a, app)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Repack(tc.in)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("subsets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got, Repack(got)); diff != "" {
				t.Errorf("packing again changed it:\n%s", diff)
			}
		})
	}
}
