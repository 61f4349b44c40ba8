// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
)

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHTTP(t *testing.T) {
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "kube-probe/1.37" || r.Header.Get("X-Test") != "yes" || r.Host != "named.test" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	handler.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	handler.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.test/", http.StatusFound)
	})
	handler.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	headers := []v1.HTTPHeader{{Name: "X-Test", Value: "yes"}, {Name: "Host", Value: "named.test"}}
	for _, c := range []struct {
		name, server, path string
		scheme             v1.URIScheme
		want               probe.Outcome
		output             string
	}{
		{"ok", plain.URL, "/ok", "", probe.Success, ""},
		{"ok over TLS", secure.URL, "/ok", v1.URISchemeHTTPS, probe.Success, ""},
		{"error", plain.URL, "/bad", "", probe.Failure, "HTTP probe failed with statuscode: 500"},
		{"missing", plain.URL, "/none?x=1", "", probe.Failure, "HTTP probe failed with statuscode: 404"},
		{"redirect away", plain.URL, "/away", "", probe.Warning, "Probe terminated redirects"},
		{"redirect here", plain.URL, "/here", "", probe.Failure, "HTTP probe failed with statuscode: 500"},
		{"nothing listens", "http://127.0.0.1:1", "/", "", probe.Failure, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := url.Parse(c.server)
			if err != nil {
				t.Fatal(err)
			}
			container := &v1.Container{Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(portOf(t, target.Host))}}}
			spec := &v1.Probe{TimeoutSeconds: 5, ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: c.path, Port: intstr.FromString("web"), Scheme: c.scheme, HTTPHeaders: headers}}}
			got, output, err := probe.New(nil, "1.37").Probe(context.Background(), spec, container, "", "127.0.0.1")
			if err != nil || got != c.want || !strings.Contains(output, c.output) {
				t.Errorf("outcome %v, %q, %v", got, output, err)
			}
		})
	}
}

func TestUnknownPort(t *testing.T) {
	spec := &v1.Probe{ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("none")}}}
	if _, _, err := probe.New(nil, "1.37").Probe(context.Background(), spec, &v1.Container{}, "", "127.0.0.1"); err == nil {
		t.Error("a port that does not exist was probed")
	}
}

func TestTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, listener.Addr().String())
	spec := &v1.Probe{TimeoutSeconds: 5, ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}}
	for _, want := range []probe.Outcome{probe.Success, probe.Failure} {
		if got, output, err := probe.New(nil, "1.37").Probe(context.Background(), spec, &v1.Container{}, "", "127.0.0.1"); err != nil || got != want {
			t.Errorf("outcome %v, %q, %v; want %v", got, output, err, want)
		}
		listener.Close()
	}
}

func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, state := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	state.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	go func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	}()
	defer server.Stop()
	port := int32(portOf(t, listener.Addr().String()))
	for _, c := range []struct {
		service string
		port    int32
		want    probe.Outcome
		output  string
	}{
		{"", port, probe.Success, "service healthy"},
		{"down", port, probe.Failure, `service unhealthy (responded with "NOT_SERVING")`},
		{"unknown", port, probe.Failure, "health rpc probe failed"},
		{"", 1, probe.Failure, "failed to connect service"},
	} {
		spec := &v1.Probe{TimeoutSeconds: 5, ProbeHandler: v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: c.port, Service: &c.service}}}
		got, output, err := probe.New(nil, "1.37").Probe(context.Background(), spec, &v1.Container{}, "", "127.0.0.1")
		if err != nil || got != c.want || !strings.Contains(output, c.output) {
			t.Errorf("service %q: outcome %v, %q, %v", c.service, got, output, err)
		}
	}
}

func TestExec(t *testing.T) {
	runtime := simulated.New(simulated.Options{Exec: func(_ string, command []string) (string, int) {
		if command[1] == "broken" {
			return "why", 3
		}
		return "fine", 0
	}})
	ctx := context.Background()
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{}}
	sandbox, err := runtime.RunPodSandbox(ctx, config, "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := runtime.CreateContainer(ctx, sandbox, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{}}, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.StartContainer(ctx, id); err != nil {
		t.Fatal(err)
	}
	container := &v1.Container{Env: []v1.EnvVar{{Name: "HOW", Value: "broken"}}}
	for arg, want := range map[string]probe.Outcome{"x": probe.Success, "$(HOW)": probe.Failure} {
		spec := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"check", arg}}}}
		if got, output, err := probe.New(runtime, "1.37").Probe(ctx, spec, container, id, ""); err != nil || got != want {
			t.Errorf("%s: outcome %v, %q, %v", arg, got, output, err)
		}
	}
	spec := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"check", "x"}}}}
	if _, _, err := probe.New(runtime, "1.37").Probe(ctx, spec, container, "none", ""); err == nil {
		t.Error("a container that does not exist was probed")
	}
}

func TestHookFallsBackToHTTP(t *testing.T) {
	called := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.Header.Get("Authorization") }))
	defer server.Close()
	p := probe.New(nil, "1.37")
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	action := &v1.HTTPGetAction{Scheme: v1.URISchemeHTTPS, Port: intstr.FromInt32(int32(portOf(t, target.Host))), HTTPHeaders: []v1.HTTPHeader{{Name: "Authorization", Value: "secret"}}}
	request, err := p.Request(ctx, action, &v1.Container{}, "127.0.0.1", "lifecycle")
	if err != nil {
		t.Fatal(err)
	}
	fellBack, err := p.Do(request)
	if err != nil || !fellBack {
		t.Fatalf("fell back: %v, %v", fellBack, err)
	}
	if got := <-called; got != "" {
		t.Errorf("credentials %q were sent in the clear", got)
	}
}
