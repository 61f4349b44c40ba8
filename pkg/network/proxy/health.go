// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// healthServers answer load balancers, which ask on a Service's healthCheckNodePort whether this node has an endpoint of
// it (externalTrafficPolicy Local: a node without drops what it is sent). Each such Service costs a listener with its
// goroutine; others cost nothing.
type healthServers struct {
	mu       sync.Mutex
	healthy  bool // whether the rules are as the Services are
	services map[types.NamespacedName]*healthServer
}

// healthServer answers for one Service. Without a server its port is not open yet.
type healthServer struct {
	name   types.NamespacedName
	port   uint16
	local  int
	server *http.Server
}

func newHealthServers() *healthServers {
	return &healthServers{services: map[types.NamespacedName]*healthServer{}}
}

// set has a Service answered for on a port, with the number of its local endpoints; port 0 ends it.
func (h *healthServers) set(ctx context.Context, name types.NamespacedName, port uint16, local int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.services[name]
	if s != nil && s.port != port {
		s.close()
		delete(h.services, name)
		s = nil
	}
	if port == 0 {
		return
	}
	if s == nil {
		s = &healthServer{name: name, port: port}
		h.services[name] = s
	}
	s.local = local
	h.listen(ctx)
}

// keep ends those of Services that are not present.
func (h *healthServers) keep(present map[types.NamespacedName]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, s := range h.services {
		if !present[name] {
			s.close()
			delete(h.services, name)
		}
	}
}

// settle notes whether the rules could be written.
func (h *healthServers) settle(healthy bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.healthy = healthy
}

// retry listens where a port was taken before.
func (h *healthServers) retry(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listen(ctx)
}

// close ends all.
func (h *healthServers) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, s := range h.services {
		s.close()
		delete(h.services, name)
	}
}

// listen opens the ports that are not open.
func (h *healthServers) listen(ctx context.Context) {
	for name, s := range h.services {
		if s.server != nil {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", ":"+strconv.Itoa(int(s.port)))
		if err != nil {
			klog.FromContext(ctx).Error(err, "Failed to start healthcheck", "service", klog.KRef(name.Namespace, name.Name), "port", s.port)
			continue
		}
		s.server = &http.Server{Handler: h.handler(s), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
		go s.server.Serve(l) // until the server is closed
	}
}

// handler answers in the form that kube-proxy does.
func (h *healthServers) handler(s *healthServer) http.Handler {
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		local, healthy := s.local, h.healthy
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
		if local == 0 || !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		_ = e.Encode(struct { // fails if the client has gone
			Service             service `json:"service"`
			LocalEndpoints      int     `json:"localEndpoints"`
			ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
		}{service{s.name.Namespace, s.name.Name}, local, healthy})
	})
}

func (s *healthServer) close() {
	if s.server != nil {
		_ = s.server.Close()
	}
}

// healthCheckPort is where load balancers ask for the Service; 0 if they do not.
func healthCheckPort(svc *corev1.Service) uint16 {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return 0
	}
	return uint16(svc.Spec.HealthCheckNodePort)
}

// readyOn counts the addresses on a node that are ready, each once however many ports it has.
func readyOn(node string, sliceList []*discoveryv1.EndpointSlice) int {
	found := map[netip.Addr]bool{}
	for _, slice := range sliceList {
		for _, e := range slice.Endpoints {
			if value(e.NodeName) != node || (e.Conditions.Ready != nil && !*e.Conditions.Ready) {
				continue
			}
			for _, ip := range addresses(e.Addresses[:min(1, len(e.Addresses))]) {
				found[ip] = true
			}
		}
	}
	return len(found)
}
