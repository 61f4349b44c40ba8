// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newNumbers(t *testing.T) *serviceNumbers {
	t.Helper()
	n := newServiceNumbers(30000, 30002)
	n.addresses.book = newMemoryBook(cidr("kubernetes", "10.43.0.0/24"))
	return n
}

// create is what a successful creation does.
func create(t *testing.T, n *serviceNumbers, svc *corev1.Service) {
	t.Helper()
	finish, err := n.beginCreate(t.Context(), svc, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	finish(t.Context(), true)
}

func nodePorts(ports ...int32) *corev1.Service {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}}
	for i, p := range ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Port: int32(80 + i), NodePort: p, Protocol: corev1.ProtocolTCP})
	}
	return svc
}

func TestFailedWriteGivesBack(t *testing.T) {
	n := newNumbers(t)
	create(t, n, nodePorts(30001))
	// The second port is taken, so the first must be free again, and the address too.
	svc := nodePorts(30000, 30001)
	svc.Spec.ClusterIP = "10.43.0.9"
	if _, err := n.beginCreate(t.Context(), svc, &metav1.CreateOptions{}); err == nil {
		t.Fatal("a port was handed out twice")
	}
	again := nodePorts(30000)
	again.Spec.ClusterIP = "10.43.0.9"
	finish, err := n.beginCreate(t.Context(), again, &metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("what a refused service had taken is not free: %v", err)
	}
	finish(t.Context(), false) // as when the storage refuses it
	create(t, n, nodePorts(30000))
}

func TestProtocolsOfAPortShareItsNodePort(t *testing.T) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{
		{Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 53, Protocol: corev1.ProtocolTCP}}}}
	create(t, newNumbers(t), svc)
	if a, b := svc.Spec.Ports[0].NodePort, svc.Spec.Ports[1].NodePort; a == 0 || a != b {
		t.Errorf("node ports %d and %d", a, b)
	}
}

// A load balancer that wants no node ports holds those that it names all the same.
func TestNamedPortsOfABalancerAreHeld(t *testing.T) {
	n, none := newNumbers(t), false
	svc := nodePorts(30001, 0)
	svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, &none
	create(t, n, svc)
	if a, b := svc.Spec.Ports[0].NodePort, svc.Spec.Ports[1].NodePort; a != 30001 || b != 0 {
		t.Errorf("node ports %d and %d", a, b)
	}
	if _, err := n.beginCreate(t.Context(), nodePorts(30001), &metav1.CreateOptions{}); err == nil {
		t.Error("a port was handed out twice")
	}
}

func TestHeadlessFamilies(t *testing.T) {
	for _, tt := range []struct {
		name     string
		selector map[string]string
		families []corev1.IPFamily
		policy   corev1.IPFamilyPolicy
	}{
		{"selecting", map[string]string{"a": "b"}, []corev1.IPFamily{corev1.IPv4Protocol}, corev1.IPFamilyPolicySingleStack},
		{"selecting nothing", nil, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, corev1.IPFamilyPolicyRequireDualStack},
	} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "None", Selector: tt.selector}}
		create(t, newNumbers(t), svc)
		if diff := cmp.Diff(tt.families, svc.Spec.IPFamilies); diff != "" || *svc.Spec.IPFamilyPolicy != tt.policy {
			t.Errorf("%s: policy %s, families -want +got:\n%s", tt.name, *svc.Spec.IPFamilyPolicy, diff)
		}
	}
}

func TestDualStackIsRefused(t *testing.T) {
	policy := corev1.IPFamilyPolicyRequireDualStack
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, IPFamilyPolicy: &policy}}
	_, err := newNumbers(t).beginCreate(t.Context(), svc, &metav1.CreateOptions{})
	if want := `Service "s" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services`; text(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Changes of the type take and give back what the new type needs.
func TestTypeChanges(t *testing.T) {
	n := newNumbers(t)
	svc := nodePorts(0)
	create(t, n, svc)
	port, ip := svc.Spec.Ports[0].NodePort, svc.Spec.ClusterIP
	if port == 0 || ip == "" {
		t.Fatalf("created %+v", svc.Spec)
	}
	change := func(was *corev1.Service, edit func(*corev1.Service)) *corev1.Service {
		t.Helper()
		now := was.DeepCopy()
		edit(now)
		finish, err := n.beginUpdate(t.Context(), now, was, &metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		finish(t.Context(), true)
		return now
	}
	plain := change(svc, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	if plain.Spec.Ports[0].NodePort != 0 || plain.Spec.ClusterIP != ip {
		t.Errorf("as ClusterIP: %+v", plain.Spec)
	}
	create(t, n, nodePorts(port)) // it is free again
	external := change(plain, func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	})
	if external.Spec.ClusterIP != "" || external.Spec.ClusterIPs != nil {
		t.Errorf("as ExternalName: %+v", external.Spec)
	}
	if n.addresses.book.taken(ip) {
		t.Error("the address of what became an ExternalName is not free")
	}
	back := change(external, func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeClusterIP, "" })
	if back.Spec.ClusterIP == "" || !n.addresses.book.taken(back.Spec.ClusterIP) {
		t.Errorf("as ClusterIP again: %+v", back.Spec)
	}
}
