// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/pkg/network/nettest"
)

func TestHealthCheckNodePort(t *testing.T) {
	c := newCluster(t)
	balancer := func(name, clusterIP string, port int32) *corev1.Service {
		return service(name, clusterIP, func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeLoadBalancer
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.HealthCheckNodePort = port
		})
	}
	// expect waits for an answer of a service on a port.
	expect := func(port int, want string) {
		t.Helper()
		nettest.Eventually(t, func() error {
			got, err := health(port)
			if err != nil || got != want {
				return fmt.Errorf("port %d: got %q, %v; want %q", port, got, err, want)
			}
			return nil
		})
	}
	expectClosed := func(port int) {
		t.Helper()
		nettest.Eventually(t, func() error {
			if got, err := health(port); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("port %d: got %q, %v; want connection refused", port, got, err)
			}
			return nil
		})
	}

	ordinary := service("ordinary", "10.201.0.6", func(s *corev1.ServiceSpec) { s.HealthCheckNodePort = 30002 })
	c.apply(balancer("web", "10.201.0.5", 30001), ordinary, slice("ordinary", "10.200.0.2"))
	c.start()
	expect(30001, "503 default/web 0 true, weight 0")
	expectClosed(30002)
	// Two ports of one address are one endpoint; others are not ready, or elsewhere.
	c.apply(slice("web", "10.200.0.2", "10.200.0.3", "10.200.0.4!", "10.200.0.5~", "10.200.0.6@there"))
	expect(30001, "200 default/web 2 true, weight 2")
	c.apply(slice("web", "10.200.0.6@there"))
	expect(30001, "503 default/web 0 true, weight 0")

	c.apply(balancer("web", "10.201.0.5", 30003))
	expect(30003, "503 default/web 0 true, weight 0")
	expectClosed(30001)
	cluster := balancer("web", "10.201.0.5", 0)
	cluster.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	c.apply(cluster)
	expectClosed(30003)

	c.apply(balancer("web", "10.201.0.5", 30001))
	expect(30001, "503 default/web 0 true, weight 0")
	if err := c.client.CoreV1().Services("default").Delete(context.Background(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expectClosed(30001)
	c.apply(balancer("web", "10.201.0.5", 30001))
	expect(30001, "503 default/web 0 true, weight 0")
	c.stop()
	expectClosed(30001)
}

// health asks as a load balancer does and tells the answer in one line.
func health(port int) (string, error) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(fmt.Sprintf("http://%s:%d/", nodeIP, port))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	var answer struct {
		Service             struct{ Namespace, Name string }
		LocalEndpoints      int
		ServiceProxyHealthy bool
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return "", err
	}
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return "", fmt.Errorf("content type %q", kind)
	}
	return fmt.Sprintf("%d %s/%s %d %v, weight %s", r.StatusCode, answer.Service.Namespace, answer.Service.Name, answer.LocalEndpoints,
		answer.ServiceProxyHealthy, r.Header.Get("X-Load-Balancing-Endpoint-Weight")), nil
}
