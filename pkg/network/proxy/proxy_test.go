// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/nettest"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const (
	nodeName = "here"
	gateway  = "10.200.0.1"
	nodeIP   = "192.0.2.1"
	outside  = "192.0.2.9"
)

// cluster is a node with a bridge and a proxy that is told by a fake API server.
type cluster struct {
	t       testing.TB
	client  *fake.Clientset
	options Options
	bridge  bridge.Options
	node    *nettest.NS
	world   *nettest.NS // another machine
	stop    func()
}

func newCluster(t testing.TB) *cluster {
	nettest.Require(t)
	c := &cluster{t: t, client: fake.NewClientset(), node: nettest.Here(t), world: nettest.Connect(t, nodeIP, outside)}
	o := bridge.Options{
		Name: "hm-test", Table: nft.TableName("test"), PodCIDR: netip.MustParsePrefix("10.200.0.0/24"), MTU: 1500,
		ClusterCIDR: netip.MustParsePrefix("10.200.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.201.0.0/16"),
	}
	if err := bridge.Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bridge.Cleanup(o.Name, o.Table); err != nil {
			t.Error(err)
		}
	})
	c.bridge = o
	c.options = Options{
		NodeName: nodeName, ClusterCIDR: o.ClusterCIDR, ServiceCIDR: o.ServiceCIDR, Table: o.Table,
		Own:    []netip.Addr{netip.MustParseAddr("10.201.0.10")},
		Others: func(conn *nftables.Conn) error { return bridge.QueueRules(conn, o) },
		Lost:   func(ctx context.Context) error { return bridge.Setup(ctx, o) },
	}
	return c
}

// start runs a proxy until stop is called or the test ends.
func (c *cluster) start() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(c.client, 0)
	p, err := New(c.options, factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices(), factory.Core().V1().Nodes())
	if err != nil {
		c.t.Fatal(err)
	}
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	c.stop = func() {
		cancel()
		factory.Shutdown()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		done <- nil
	}
	c.t.Cleanup(c.stop)
	limited, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	if err := p.Ready(limited); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) pod(ip string) *nettest.NS { return nettest.Pod(c.t, "hm-test", ip, gateway) }

// server is a pod that answers on port 8080, TCP and UDP, with its own address as name.
func (c *cluster) server(ip string) *nettest.NS {
	p := c.pod(ip)
	p.ServeTCP(ip+":8080", ip)
	p.ServeUDP(ip+":8080", ip)
	return p
}

// service returns a Service with a TCP and a UDP port 80.
func service(name, clusterIP string, edit func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: clusterIP, ClusterIPs: []string{clusterIP},
			Ports: []corev1.ServicePort{
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)},
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
			},
		},
	}
	if edit != nil {
		edit(&s.Spec)
	}
	return s
}

func ptr[T any](v T) *T { return &v }

// slice returns the EndpointSlice of a service; an address may be followed by "@node", "!" (not ready) or "~"
// (terminating, still serving).
func slice(service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr("tcp"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr[int32](8080)},
			{Name: ptr("udp"), Protocol: ptr(corev1.ProtocolUDP), Port: ptr[int32](8080)},
		},
	}
	for _, a := range addresses {
		e := discoveryv1.Endpoint{NodeName: ptr(nodeName), Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}}
		if strings.HasSuffix(a, "!") {
			e.Conditions.Ready, a = ptr(false), strings.TrimSuffix(a, "!")
		}
		if strings.HasSuffix(a, "~") {
			e.Conditions, a = discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)}, strings.TrimSuffix(a, "~")
		}
		if ip, node, ok := strings.Cut(a, "@"); ok {
			e.NodeName, a = &node, ip
		}
		e.Addresses = []string{a}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// apply creates or updates objects.
func (c *cluster) apply(objects ...any) {
	c.t.Helper()
	ctx := context.Background()
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *corev1.Service:
			if _, err = c.client.CoreV1().Services(o.Namespace).Update(ctx, o, metav1.UpdateOptions{}); err != nil {
				_, err = c.client.CoreV1().Services(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
			}
		case *discoveryv1.EndpointSlice:
			if _, err = c.client.DiscoveryV1().EndpointSlices(o.Namespace).Update(ctx, o, metav1.UpdateOptions{}); err != nil {
				_, err = c.client.DiscoveryV1().EndpointSlices(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
			}
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// names asks n times and returns the names that answered, each once.
func names(n int, from *nettest.NS, network, address string) ([]string, error) {
	var found []string
	for range n {
		name, _, err := from.Get(network, address)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}

// expect waits until exactly the names answer.
func expect(t testing.TB, from *nettest.NS, network, address string, want ...string) {
	t.Helper()
	nettest.Eventually(t, func() error {
		got, err := names(12*len(want), from, network, address)
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("%s %s is answered by %v, %v; want %v", network, address, got, err, want)
		}
		return nil
	})
}

func expectRefused(t testing.TB, from *nettest.NS, address string) {
	t.Helper()
	nettest.Eventually(t, func() error {
		name, _, err := from.Get("tcp", address)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%s: got %q, %v; want connection refused", address, name, err)
		}
		return nil
	})
}

func expectTimeout(t testing.TB, from *nettest.NS, address string) {
	t.Helper()
	nettest.Eventually(t, func() error {
		conn, err := from.DialWithin(500*time.Millisecond, "tcp", address)
		if err == nil {
			conn.Close()
		}
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			return fmt.Errorf("%s: error %v, want no answer", address, err)
		}
		return nil
	})
}

// TestClusterIP has rules apply to bridged packets, too (br_netfilter, as on machines with Docker), and not.
func TestClusterIP(t *testing.T) {
	nettest.Require(t)
	const setting = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	for _, value := range []string{"0", "1"} {
		err := os.WriteFile(setting, []byte(value), 0o644)
		if errors.Is(err, os.ErrNotExist) && value == "1" {
			break // this kernel has no br_netfilter: it is as if it were 0
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		t.Run("bridge-nf-call-iptables="+value, func(t *testing.T) { testClusterIP(t, newCluster(t)) })
	}
}

func testClusterIP(t *testing.T, c *cluster) {
	a, b := c.server("10.200.0.2"), c.server("10.200.0.3")
	client := c.pod("10.200.0.4")
	c.node.ServeTCP(nodeIP+":6443", "apiserver")
	kubernetes := service("kubernetes", "10.201.0.1", func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 443}}
	})
	apiserver := slice("kubernetes", nodeIP)
	apiserver.Ports = []discoveryv1.EndpointPort{{Name: ptr("tcp"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr[int32](6443)}}
	c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.2", "10.200.0.3", "10.200.0.9!"), kubernetes, apiserver)
	c.start()

	for _, from := range []*nettest.NS{client, a, b, c.node} {
		for _, network := range []string{"tcp", "udp"} {
			expect(t, from, network, "10.201.0.5:80", "10.200.0.2", "10.200.0.3")
		}
	}
	// Pods keep their address, and meet themselves with the gateway's.
	for range 20 {
		name, seen, err := a.Get("tcp", "10.201.0.5:80")
		want := "10.200.0.2"
		if name == "10.200.0.2" {
			want = gateway
		}
		if err != nil || seen != want {
			t.Fatalf("%s sees client %s, %v; want %s", name, seen, err, want)
		}
	}
	expect(t, client, "tcp", "10.201.0.1:443", "apiserver")
	expect(t, c.node, "tcp", "10.201.0.1:443", "apiserver")
	// Another machine that routes to the node is masqueraded.
	if _, seen, err := c.world.Get("tcp", "10.201.0.5:80"); err != nil || seen != gateway {
		t.Errorf("client outside of the cluster is seen as %s, %v; want %s", seen, err, gateway)
	}
	expectRefused(t, client, "10.201.0.5:81")
	expectRefused(t, c.node, "10.201.0.5:81")
	expectTimeout(t, client, "10.201.0.77:80")
}

func TestEndpointsComeAndGo(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	c.server("10.200.0.3")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nil))
	c.start()
	for _, from := range []*nettest.NS{client, c.node} {
		expectRefused(t, from, "10.201.0.5:80")
	}
	c.apply(slice("web", "10.200.0.2"))
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2")
	c.apply(slice("web", "10.200.0.2", "10.200.0.3"))
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2", "10.200.0.3")
	c.apply(slice("web", "10.200.0.2~", "10.200.0.3"))
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.3")
	c.apply(slice("web", "10.200.0.2~", "10.200.0.3!"))
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2") // better than none
	c.apply(slice("web"))
	expectRefused(t, client, "10.201.0.5:80")
	c.apply(service("web", "10.201.0.6", nil), slice("web", "10.200.0.3"))
	expect(t, client, "tcp", "10.201.0.6:80", "10.200.0.3")
	expectTimeout(t, client, "10.201.0.5:80")
	if err := c.client.CoreV1().Services("default").Delete(context.Background(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expectTimeout(t, client, "10.201.0.6:80")
	nettest.Eventually(t, func() error { return c.leftOver() })
}

// leftOver tells what of services is in the table.
func (c *cluster) leftOver() error {
	conn, err := nft.Open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	chains, err := conn.ListChains()
	if err != nil {
		return err
	}
	sets, err := conn.GetSets(nft.Table(c.options.Table))
	if err != nil {
		return err
	}
	var names []string
	for _, ch := range chains {
		if strings.HasPrefix(ch.Name, servicePrefix) {
			names = append(names, ch.Name)
		}
	}
	for _, s := range sets {
		if strings.HasPrefix(s.Name, servicePrefix) {
			names = append(names, s.Name)
		}
		if s.Name == addressMap || s.Name == nodePortMap || s.Name == clusterIPSet {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				return err
			}
			if len(elements) > 0 {
				names = append(names, fmt.Sprintf("%d elements of %s", len(elements), s.Name))
			}
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("left of services: %v", names)
	}
	return nil
}

func nodePort(s *corev1.ServiceSpec) {
	s.Type = corev1.ServiceTypeNodePort
	s.Ports[0].NodePort, s.Ports[1].NodePort = 30080, 30080
}

func TestNodePort(t *testing.T) {
	c := newCluster(t)
	a := c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nodePort), slice("web", "10.200.0.2"),
		service("empty", "10.201.0.6", func(s *corev1.ServiceSpec) { nodePort(s); s.Ports = s.Ports[:1]; s.Ports[0].NodePort = 30081 }))
	c.start()
	for _, f := range []struct {
		what, address, client string
		from                  *nettest.NS
	}{
		{"another machine", nodeIP + ":30080", gateway, c.world},
		{"a pod", nodeIP + ":30080", gateway, client},
		{"the endpoint itself", nodeIP + ":30080", gateway, a},
		{"the node", nodeIP + ":30080", gateway, c.node},
		{"the node by loopback", "127.0.0.1:30080", gateway, c.node},
	} {
		for _, network := range []string{"tcp", "udp"} {
			if name, seen, err := f.from.Get(network, f.address); err != nil || name != "10.200.0.2" || seen != f.client {
				t.Errorf("%s, %s: got %q, seen as %q, %v; want to be seen as %q", f.what, network, name, seen, err, f.client)
			}
		}
	}
	expectRefused(t, c.world, nodeIP+":30081")
	expectRefused(t, c.node, "127.0.0.1:30081")
}

func TestTrafficPolicyLocal(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.world.ServeTCP(outside+":8080", "elsewhere")
	c.apply(
		service("both", "10.201.0.5", func(s *corev1.ServiceSpec) {
			nodePort(s)
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}), slice("both", "10.200.0.2", outside+"@there"),
		service("far", "10.201.0.6", func(s *corev1.ServiceSpec) {
			nodePort(s)
			s.Ports = s.Ports[:1]
			s.Ports[0].NodePort = 30082
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
		}), slice("far", outside+"@there"))
	c.start()
	for range 10 { // never elsewhere, and the client keeps its address
		if name, seen, err := c.world.Get("tcp", nodeIP+":30080"); err != nil || name != "10.200.0.2" || seen != outside {
			t.Fatalf("from outside: got %q, seen as %q, %v", name, seen, err)
		}
	}
	expect(t, client, "tcp", nodeIP+":30080", "10.200.0.2", "elsewhere")
	expect(t, c.node, "tcp", nodeIP+":30080", "10.200.0.2", "elsewhere")
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2", "elsewhere")
	expectTimeout(t, client, "10.201.0.6:80")              // endpoints, but none here
	expectTimeout(t, c.world, nodeIP+":30082")             // let the balancer try another node
	expect(t, client, "tcp", nodeIP+":30082", "elsewhere") // in the cluster every endpoint will do
	expect(t, c.node, "tcp", nodeIP+":30082", "elsewhere") // and on the node
}

func TestExternalAndBalancerIPs(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	web := service("web", "10.201.0.5", func(s *corev1.ServiceSpec) {
		s.Type = corev1.ServiceTypeLoadBalancer
		s.ExternalIPs = []string{"198.51.100.1"}
		s.LoadBalancerSourceRanges = []string{"203.0.113.0/24"}
	})
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.2"}, {IP: "198.51.100.3", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}}
	c.apply(web, slice("web", "10.200.0.2"))
	c.start()
	expect(t, c.world, "tcp", "198.51.100.1:80", "10.200.0.2")
	expectTimeout(t, c.world, "198.51.100.2:80")
	open := web.DeepCopy()
	open.Spec.LoadBalancerSourceRanges = []string{"203.0.113.0/24", "192.0.2.0/24"}
	c.apply(open)
	expect(t, c.world, "tcp", "198.51.100.2:80", "10.200.0.2")
	if conn, err := c.world.DialWithin(500*time.Millisecond, "tcp", "198.51.100.3:80"); err == nil {
		conn.Close()
		t.Error("an address of a balancer that proxies is answered")
	}
	// A second Service with the same external address waits until the first gives it up.
	c.apply(service("rival", "10.201.0.6", func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"198.51.100.1"} }), slice("rival", "10.200.0.3"))
	c.server("10.200.0.3")
	expect(t, c.world, "tcp", "10.201.0.6:80", "10.200.0.3")
	expect(t, c.world, "tcp", "198.51.100.1:80", "10.200.0.2")
	if err := c.client.CoreV1().Services("default").Delete(context.Background(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, c.world, "tcp", "198.51.100.1:80", "10.200.0.3")
}

func TestSessionAffinity(t *testing.T) {
	c := newCluster(t)
	pods := []string{"10.200.0.2", "10.200.0.3", "10.200.0.5", "10.200.0.6"}
	for _, ip := range pods {
		c.server(ip)
	}
	client := c.pod("10.200.0.4")
	sticky := func(seconds int32) *corev1.Service {
		return service("web", "10.201.0.5", func(s *corev1.ServiceSpec) {
			s.SessionAffinity = corev1.ServiceAffinityClientIP
			s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		})
	}
	c.apply(sticky(100), slice("web", pods...))
	c.start()
	chosen := func() string {
		t.Helper()
		got, err := names(30, client, "tcp", "10.201.0.5:80")
		if err != nil || len(got) != 1 {
			t.Fatalf("answered by %v, %v; want one endpoint", got, err)
		}
		return got[0]
	}
	first := chosen()

	// A restart of the proxy, and an endpoint that comes, leave clients where they are.
	c.stop()
	c.start()
	if again := chosen(); again != first {
		t.Errorf("after a restart %s answers, before %s did", again, first)
	}
	c.server("10.200.0.7")
	c.apply(slice("web", append(pods, "10.200.0.7")...))
	if again := chosen(); again != first {
		t.Errorf("after an endpoint came %s answers, before %s did", again, first)
	}
	// One that goes is left.
	rest := slices.DeleteFunc(slices.Clone(pods), func(ip string) bool { return ip == first })
	c.apply(slice("web", rest...))
	nettest.Eventually(t, func() error {
		if name, _, err := client.Get("tcp", "10.201.0.5:80"); err != nil || name == first {
			return fmt.Errorf("answered by %s, which is gone; %v", name, err)
		}
		return nil
	})
	chosen()
	// After the timeout, a client is free.
	c.apply(sticky(1))
	nettest.Eventually(t, func() error {
		seen := map[string]bool{}
		deadline := time.After(4 * time.Second)
		for len(seen) < 2 {
			name, _, err := client.Get("tcp", "10.201.0.5:80")
			if err != nil {
				return err
			}
			seen[name] = true
			select {
			case <-deadline:
				return fmt.Errorf("only %v answered in 4 s", seen)
			case <-time.After(1200 * time.Millisecond):
			}
		}
		return nil
	})
}

func TestUDPFlowsFollowEndpoints(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	c.server("10.200.0.3")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nodePort), slice("web", "10.200.0.2"))
	c.start()
	for _, f := range []struct {
		from    *nettest.NS
		address string
	}{{client, "10.201.0.5:80"}, {c.world, nodeIP + ":30080"}} {
		conn, err := f.from.Dial("udp", f.address) // one client port for all
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask := func(want string) {
			t.Helper()
			nettest.Eventually(t, func() error {
				if name, _, err := nettest.Ask(conn, "udp"); err != nil || name != want {
					return fmt.Errorf("%s is answered by %q, %v; want %s", f.address, name, err, want)
				}
				return nil
			})
		}
		c.apply(slice("web", "10.200.0.2"))
		ask("10.200.0.2")
		c.apply(slice("web", "10.200.0.3"))
		ask("10.200.0.3")
	}
}

func TestRestartAndLossOfTheTable(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.2"), service("old", "10.201.0.6", nil), slice("old", "10.200.0.2"))
	c.start()
	conn, err := client.Dial("tcp", "10.201.0.5:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c.stop()
	// Without the proxy all goes on; what changed meanwhile is made good at its start, without a gap.
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2")
	if err := c.client.CoreV1().Services("default").Delete(context.Background(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	halt := make(chan struct{})
	go func() {
		for {
			select {
			case <-halt:
				failed <- nil
				return
			default:
			}
			if _, _, err := client.Get("tcp", "10.201.0.5:80"); err != nil {
				failed <- err
				return
			}
		}
	}()
	for range 5 {
		c.start()
		c.stop()
	}
	close(halt)
	if err := <-failed; err != nil {
		t.Errorf("while the proxy was started again: %v", err)
	}
	if _, _, err := nettest.Ask(conn, "tcp"); err != nil {
		t.Errorf("a connection of before the restart: %v", err)
	}
	c.start()
	expectTimeout(t, client, "10.201.0.6:80")

	// Somebody flushes the ruleset; the next change finds out, and the node's own rules are laid anew, too.
	if err := Cleanup(c.options.Table); err != nil {
		t.Fatal(err)
	}
	c.apply(service("new", "10.201.0.7", nil), slice("new", "10.200.0.2"))
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.2")
	expect(t, client, "tcp", "10.201.0.7:80", "10.200.0.2")
	c.world.ServeTCP(outside+":80", "world")
	if _, seen, err := client.Get("tcp", outside+":80"); err != nil || seen != nodeIP {
		t.Errorf("a pod is seen outside as %s, %v; want %s", seen, err, nodeIP)
	}
}

func TestOwnAddressIsLeftAlone(t *testing.T) {
	c := newCluster(t)
	client := c.pod("10.200.0.4")
	if err := bridge.AddAddress("hm-test", netip.MustParseAddr("10.201.0.10")); err != nil {
		t.Fatal(err)
	}
	c.node.ServeTCP("10.201.0.10:53", "dns")
	c.apply(service("kube-dns", "10.201.0.10", nil)) // without endpoints: the node is the server
	c.start()
	expect(t, client, "tcp", "10.201.0.10:53", "dns")
	expect(t, c.node, "tcp", "10.201.0.10:53", "dns")
	expectRefused(t, client, "10.201.0.10:80")
}

// BenchmarkConnect compares a pod's address with a cluster IP, among a thousand services: connect and read the answer.
func BenchmarkConnect(b *testing.B) {
	c := newCluster(b)
	c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.2"))
	for i := range 1000 {
		name := fmt.Sprint("s", i)
		c.apply(service(name, fmt.Sprintf("10.201.%d.%d", 1+i/250, 1+i%250), nil), slice(name, "10.200.0.2"))
	}
	c.start()
	for _, address := range []string{"10.200.0.2:8080", "10.201.0.5:80"} {
		b.Run("open/"+address, func(b *testing.B) {
			err := client.Do(func() error {
				for b.Loop() {
					conn, err := net.Dial("tcp", address)
					if err != nil {
						return err
					}
					if _, _, err := nettest.Ask(conn, "tcp"); err != nil {
						return err
					}
					conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
		b.Run("echo/"+address, func(b *testing.B) {
			conn, err := client.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			if _, _, err := nettest.Ask(conn, "tcp"); err != nil {
				b.Fatal(err)
			}
			_ = conn.SetDeadline(time.Time{})
			buf := make([]byte, 1)
			for b.Loop() {
				if _, err := conn.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWrite measures transactions: all services at once, and one of them.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		c := newCluster(b)
		t, err := openTable(c.options)
		if err != nil {
			b.Fatal(err)
		}
		var all []objects
		port := func(i, endpoint int) objects {
			return objectsOf(&servicePort{
				name: fmt.Sprint("s", i), protocol: 6, port: 80, clusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 201, byte(i >> 8), byte(i)})},
				all: []netip.AddrPort{netip.MustParseAddrPort("10.200.0.1:80"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200, 0, byte(endpoint)}), 80)},
			}, c.options.ClusterCIDR)
		}
		for i := range n {
			all = append(all, port(i, 2))
		}
		b.Run(fmt.Sprint("all/", n), func(b *testing.B) {
			for b.Loop() {
				if err := t.reset(context.Background(), all); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("one-of/", n), func(b *testing.B) {
			old := all[0]
			for i := 0; b.Loop(); i++ {
				now := port(0, 2+i%100)
				if err := t.replace(old, now); err != nil {
					b.Fatal(err)
				}
				old = now
			}
		})
		t.close()
		if err := Cleanup(c.options.Table); err != nil {
			b.Fatal(err)
		}
	}
}
