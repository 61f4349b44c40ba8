// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

type slicesOf map[string][]*discoveryv1.EndpointSlice

func (s slicesOf) GetEndpointSlices(namespace, name string) ([]*discoveryv1.EndpointSlice, error) {
	return s[namespace+"/"+name], nil
}

func TestServiceResolver(t *testing.T) {
	services := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	service := func(name string, spec corev1.ServiceSpec) {
		if err := services.Add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	https := []corev1.ServicePort{{Name: "https", Port: 443}}
	service("web", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.9", Ports: https})
	service("headless", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone, Ports: https})
	service("empty", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.8", Ports: https})
	service("elsewhere", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "hooks.example.com"})
	name, port, ready, unready := "https", int32(8443), true, false
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.4"}, Conditions: discoveryv1.EndpointConditions{Ready: &unready}},
			{Addresses: []string{"10.1.0.5"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}},
		},
	}
	r := serviceResolver{
		services: corelisters.NewServiceLister(services), slices: slicesOf{"ns/web": {slice}, "ns/headless": {slice}},
		self: &url.URL{Scheme: "https", Host: "127.0.0.1:6443"},
	}
	for _, test := range []struct {
		namespace, name string
		port            int32
		want            string
	}{
		{"ns", "web", 443, "https://10.1.0.5:8443"},
		{"ns", "headless", 443, "https://10.1.0.5:8443"},
		{"ns", "elsewhere", 444, "https://hooks.example.com:444"},
		{"default", "kubernetes", 443, "https://127.0.0.1:6443"},
		{"ns", "web", 80, `no service port 80 found for service "web"`},
		{"ns", "empty", 443, `no endpoints available for service "empty"`},
		{"ns", "nobody", 443, `service "nobody" not found`},
		{"default", "kubernetes", 80, `service "kubernetes" not found`},
	} {
		got := ""
		if location, err := r.ResolveEndpoint(test.namespace, test.name, test.port); err != nil {
			got = err.Error()
		} else {
			got = location.String()
		}
		if got != test.want {
			t.Errorf("%s/%s:%d is at %s, want %s", test.namespace, test.name, test.port, got, test.want)
		}
	}
}
