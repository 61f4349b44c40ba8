// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
