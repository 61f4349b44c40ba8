// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"strings"
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

// What a service has no more is another's once that is written, not before; what an attempt took that came to nothing is free for the next.
func TestUpdatesAreSettledWhenWritten(t *testing.T) {
	newUpdate := func(t *testing.T, n *serviceNumbers, was *corev1.Service) (done func(written bool), attempt func(change func(*corev1.Service))) {
		ctx, done := n.settle(t.Context())
		return done, func(change func(*corev1.Service)) {
			t.Helper()
			svc := was.DeepCopy()
			change(svc)
			finish, err := n.beginUpdate(ctx, svc, was, &metav1.UpdateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			finish(ctx, true)
		}
	}
	external := func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	}
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprintf("written %v", written), func(t *testing.T) {
			n := newNumbers(t)
			svc := nodePorts(30001)
			create(t, n, svc)
			address := svc.Spec.ClusterIP
			holds := func() bool { return n.addresses.book.taken(address) && n.ports.Take(30001) != nil }
			done, attempt := newUpdate(t, n, svc)
			attempt(external)
			if !holds() {
				t.Error("they are given back before the write")
			}
			if done(written); holds() == written {
				t.Errorf("afterwards they are held: %v", !written)
			}
		})
	}
	t.Run("attempts", func(t *testing.T) {
		n := newNumbers(t)
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
		create(t, n, svc)
		exposed := func(svc *corev1.Service) {
			svc.Spec.Type, svc.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30002
		}
		done, attempt := newUpdate(t, n, svc)
		attempt(exposed)
		attempt(exposed)
		done(true)
		if n.ports.Take(30002) == nil {
			t.Error("a port that the service has is free")
		}
		n = newNumbers(t)
		create(t, n, svc.DeepCopy())
		done, attempt = newUpdate(t, n, svc)
		attempt(exposed)
		attempt(exposed)
		done(false)
		if err := n.ports.Take(30002); err != nil {
			t.Errorf("a port that no service got is taken: %v", err)
		}
	})
	t.Run("nothing decided", func(t *testing.T) {
		_, done := newNumbers(t).settle(t.Context())
		done(false) // as where the service is not there
	})
}

// A load balancer that needs no node ports gets none, and has those that it asks for to itself.
func TestLoadBalancersWithoutNodePorts(t *testing.T) {
	balancer := func(ports ...int32) *corev1.Service {
		svc := nodePorts(ports...)
		svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, new(bool)
		return svc
	}
	n := newNumbers(t)
	svc := balancer(30001, 0)
	create(t, n, svc)
	if diff := cmp.Diff([]int32{30001}, numbersOf(svc).ports); diff != "" {
		t.Errorf("node ports, -want +got:\n%s", diff)
	}
	for _, other := range []*corev1.Service{nodePorts(30001), balancer(30001)} {
		if _, err := n.beginCreate(t.Context(), other, &metav1.CreateOptions{}); err == nil {
			t.Errorf("a %s gets a port that another service has", other.Spec.Type)
		}
	}
	n.release(t.Context(), svc, numbersOf(svc))
	create(t, n, nodePorts(30001))
}

// What a load balancer has it keeps when it is told to need no more, and gives back what is taken out of it.
func TestLoadBalancerThatNeedsNoMoreNodePorts(t *testing.T) {
	n := newNumbers(t)
	was := nodePorts(30001, 30002)
	was.Spec.Type = corev1.ServiceTypeLoadBalancer
	create(t, n, was)
	update := func(was *corev1.Service, change func(*corev1.Service), want ...int32) *corev1.Service {
		t.Helper()
		svc := was.DeepCopy()
		change(svc)
		ctx, done := n.settle(t.Context())
		finish, err := n.beginUpdate(ctx, svc, was, &metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		finish(ctx, true)
		done(true)
		if diff := cmp.Diff(want, numbersOf(svc).ports); diff != "" {
			t.Errorf("node ports, -want +got:\n%s", diff)
		}
		return svc
	}
	now := update(was, func(svc *corev1.Service) { svc.Spec.AllocateLoadBalancerNodePorts = new(bool) }, 30001, 30002)
	now = update(now, func(svc *corev1.Service) { svc.Spec.Ports[1].NodePort = 0 }, 30001)
	update(now, func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeClusterIP, nil
	})
	create(t, n, nodePorts(30001, 30002))
}

// Two ports of a new service share a node port where they are one port with two protocols, and not else.
func TestSharedNodePorts(t *testing.T) {
	both := func(ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: ports}}
	}
	asked := both(corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 30002})
	create(t, newNumbers(t), asked)
	if diff := cmp.Diff([]int32{30002}, numbersOf(asked).ports); diff != "" {
		t.Errorf("one asks for it, -want +got:\n%s", diff)
	}
	n := newNumbers(t)
	others := both(corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolTCP, NodePort: 30002}, corev1.ServicePort{Port: 54, Protocol: corev1.ProtocolUDP, NodePort: 30002})
	if _, err := n.beginCreate(t.Context(), others, &metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "spec.ports[1].nodePort: Invalid value: 30002: provided port is already allocated") {
		t.Errorf("two ports that ask for one node port: %v", err)
	}
	create(t, n, nodePorts(30002))
}

func TestProtocolsOfAPortShareItsNodePort(t *testing.T) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{
		{Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 53, Protocol: corev1.ProtocolTCP}}}}
	create(t, newNumbers(t), svc)
	if a, b := svc.Spec.Ports[0].NodePort, svc.Spec.Ports[1].NodePort; a == 0 || a != b {
		t.Errorf("node ports %d and %d", a, b)
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
