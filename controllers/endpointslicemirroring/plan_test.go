// SPDX-License-Identifier: Apache-2.0

package endpointslicemirroring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func byHand(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "db", UID: "db-uid", Labels: map[string]string{"app": "db"},
			Annotations: map[string]string{"a": "b", corev1.LastAppliedConfigAnnotation: "{}", corev1.EndpointsLastChangeTriggerTime: "x"},
		},
		Subsets: subsets,
	}
}

func subset(port int32, ready, notReady string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "p", Port: port, Protocol: "TCP"}}}
	for _, ip := range strings.Fields(ready) {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range strings.Fields(notReady) {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

// written returns the slices of endpoints as if they had been stored.
func written(endpoints *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	p := plan(endpoints, nil)
	for i, slice := range p.create {
		slice.Name = fmt.Sprintf("db-%d", i)
		slices.Reverse(slice.Endpoints)
	}
	return p.create
}

func show(list []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, slice := range list {
		s := fmt.Sprintf("%s%s:%d", slice.Name, slice.AddressType, *slice.Ports[0].Port)
		for _, e := range slice.Endpoints {
			s += fmt.Sprintf(" %s=%v", e.Addresses[0], *e.Conditions.Ready)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	var many []string
	for i := range 1100 {
		many = append(many, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	relabelled := byHand(subset(80, "10.0.0.1", ""))
	relabelled.Labels["app"] = "other"
	for _, tc := range []struct {
		name                   string
		endpoints              *corev1.Endpoints
		existing               []*discoveryv1.EndpointSlice
		create, update, remove string
		kept                   int
		invalid, skipped       int
	}{
		{name: "nothing", endpoints: byHand()},
		{name: "one a family", endpoints: byHand(subset(80, "10.0.0.1 fd00::1", "10.0.0.2")),
			create: "IPv4:80 10.0.0.1=true 10.0.0.2=false; IPv6:80 fd00::1=true"},
		{name: "unchanged in another order", endpoints: byHand(subset(80, "10.0.0.1 10.0.0.2", "")),
			existing: written(byHand(subset(80, "10.0.0.1 10.0.0.2", ""))), kept: 1},
		{name: "address added", endpoints: byHand(subset(80, "10.0.0.1 10.0.0.2", "")),
			existing: written(byHand(subset(80, "10.0.0.1", ""))), update: "db-0IPv4:80 10.0.0.1=true 10.0.0.2=true"},
		{name: "labels changed", endpoints: relabelled,
			existing: written(byHand(subset(80, "10.0.0.1", ""))), update: "db-0IPv4:80 10.0.0.1=true"},
		{name: "another port recycles the slice", endpoints: byHand(subset(81, "10.0.0.1", "")),
			existing: written(byHand(subset(80, "10.0.0.1", ""))), update: "db-0IPv4:81 10.0.0.1=true"},
		{name: "another family does not", endpoints: byHand(subset(80, "fd00::1", "")),
			existing: written(byHand(subset(80, "10.0.0.1", ""))), create: "IPv6:80 fd00::1=true", remove: "db-0IPv4:80 10.0.0.1=true"},
		{name: "no address left", endpoints: byHand(), existing: written(byHand(subset(80, "10.0.0.1", ""))), remove: "db-0IPv4:80 10.0.0.1=true"},
		{name: "invalid addresses are counted", endpoints: byHand(subset(80, "10.0.0.1 nonsense", "")), create: "IPv4:80 10.0.0.1=true", invalid: 1, skipped: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan(tc.endpoints, tc.existing)
			if create, update, remove := show(p.create), show(p.update), show(p.remove); create != tc.create || update != tc.update || remove != tc.remove ||
				len(p.kept) != tc.kept || p.invalid != tc.invalid || p.skipped != tc.skipped {
				t.Errorf("create %q, update %q, remove %q, kept %d, invalid %d, skipped %d", create, update, remove, len(p.kept), p.invalid, p.skipped)
			}
		})
	}
	p := plan(byHand(subset(80, strings.Join(many, " "), "")), nil)
	if len(p.create) != 1 || len(p.create[0].Endpoints) != perSubset || p.skipped != 100 || p.invalid != 0 {
		t.Errorf("%d slices, %d skipped", len(p.create), p.skipped)
	}
	slice := plan(byHand(subset(80, "10.0.0.1", "")), nil).create[0]
	if len(slice.Annotations) != 1 || slice.Labels["app"] != "db" || slice.Labels[discoveryv1.LabelServiceName] != "db" ||
		slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy || slice.OwnerReferences[0].Kind != "Endpoints" || slice.GenerateName != "db-" {
		t.Errorf("metadata %+v", slice.ObjectMeta)
	}
}
