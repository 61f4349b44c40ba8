// SPDX-License-Identifier: Apache-2.0

//go:build containers

package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/containerd/containerdtest"
)

// TestRealContainers calls every stream and log of the API as kubectl does, by way of client-go, on real containers.
func TestRealContainers(t *testing.T) {
	n := containerdtest.Start(t)
	sandbox, config := n.Pod(t, "p", "u1")
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	first := n.Container(t, sandbox, config, "c", 0, nil, "say", "one", "two", "three")
	n.Ended(t, first)
	n.Container(t, sandbox, config, "c", 1, nil, "drip")
	n.Ended(t, n.Container(t, sandbox, config, "both", 0, nil, "say", "out", "err-out"))
	n.Container(t, sandbox, config, "echo", 0, nil, "echo", fmt.Sprintf("127.0.0.1:%d", port))
	n.Container(t, sandbox, config, "cat", 0, func(c *runtimeapi.ContainerConfig) { c.Stdin, c.StdinOnce = true, true }, "cat")

	pod := testPod()
	pod.Spec.Containers = []v1.Container{{Name: "c"}, {Name: "both"}, {Name: "echo"}, {Name: "cat", Stdin: true}}
	ca := newAuthority(t)
	base := startServer(t, ca, Options{Client: fake.NewClientset(), Pods: onePod{pod}, Runtime: n.Runtime, Stats: fixedStats{}})
	cert := ca.issue("kube-apiserver", x509.ExtKeyUsageClientAuth, "system:masters")
	client := clientConfig(t, ca, base, cert)
	transport, err := rest.TransportFor(client)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Transport: transport}
	get := func(path string) (int, string) {
		resp, err := web.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	t.Run("logs", func(t *testing.T) {
		for path, want := range map[string]string{
			"/containerLogs/default/p/c?previous=true":              "one\ntwo\nthree\n",
			"/containerLogs/default/p/c?previous=true&tailLines=1":  "three\n",
			"/containerLogs/default/p/c?previous=true&limitBytes=5": "one\nt",
			"/containerLogs/default/p/both?stream=Stderr":           "err-out\n",
			"/containerLogs/default/p/both?stream=Stdout":           "out\n",
		} {
			if code, body := get(path); code != 200 || body != want {
				t.Errorf("%s: %d %q, want %q", path, code, body, want)
			}
		}
		if code, body := get("/containerLogs/default/p/nope"); code != 404 || !strings.Contains(body, `container "nope" not found in pod "p"`) {
			t.Errorf("no such container: %d %s", code, body)
		}
		if code, body := get("/containerLogs/default/q/c"); code != 404 || !strings.Contains(body, `pod "q" does not exist`) {
			t.Errorf("no such pod: %d %s", code, body)
		}
		_, body := get("/containerLogs/default/p/c?tailLines=1&timestamps=true")
		at, _, _ := strings.Cut(body, " ")
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			t.Errorf("timestamp in %q: %v", body, err)
		}
	})

	t.Run("followed log", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", base+"/containerLogs/default/p/c?follow=true&tailLines=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		s := bufio.NewScanner(resp.Body)
		var seen []string
		for len(seen) < 5 && s.Scan() {
			seen = append(seen, s.Text())
		}
		if len(seen) != 5 || !strings.HasPrefix(seen[4], "line ") {
			t.Errorf("followed %q, %v", seen, s.Err())
		}
	})

	executors := map[string]func(u *url.URL) (remotecommand.Executor, error){
		"spdy": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(client, "POST", u)
		},
		"websocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(client, "GET", u.String())
		},
	}
	stream := func(t *testing.T, kind, path string, opts remotecommand.StreamOptions) error {
		t.Helper()
		u, err := url.Parse(base + path)
		if err != nil {
			t.Fatal(err)
		}
		e, err := executors[kind](u)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return e.StreamWithContext(ctx, opts)
	}
	for kind := range executors {
		t.Run("exec by "+kind, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if err := stream(t, kind, "/exec/default/p/c?command=/toolbox&command=say&command=hello&command=err-world&output=1&error=1", remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut}); err != nil {
				t.Fatal(err)
			}
			if out.String() != "hello\n" || errOut.String() != "err-world\n" {
				t.Errorf("stdout %q, stderr %q", out.String(), errOut.String())
			}
			var echoed bytes.Buffer
			big := strings.Repeat("0123456789abcdef", 1<<14)
			if err := stream(t, kind, "/exec/default/p/u1/c?command=/toolbox&command=cat&input=1&output=1", remotecommand.StreamOptions{Stdin: strings.NewReader(big), Stdout: &echoed}); err != nil {
				t.Fatal(err)
			}
			if echoed.String() != big {
				t.Errorf("%d bytes came back of %d", echoed.Len(), len(big))
			}
			err := stream(t, kind, "/exec/default/p/c?command=/toolbox&command=exit&command=7&output=1", remotecommand.StreamOptions{Stdout: io.Discard})
			var code exec.CodeExitError
			if !errors.As(err, &code) || code.Code != 7 {
				t.Errorf("exit 7 became %v", err)
			}
			if err := stream(t, kind, "/exec/default/p/nope?command=x&output=1", remotecommand.StreamOptions{Stdout: io.Discard}); err == nil {
				t.Error("a container that is not there was entered")
			}
		})
	}
	t.Run("attach", func(t *testing.T) {
		var out bytes.Buffer
		if err := stream(t, "spdy", "/attach/default/p/cat?input=1&output=1", remotecommand.StreamOptions{Stdin: strings.NewReader("ping\n"), Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "ping\n" {
			t.Errorf("attached stdout %q", out.String())
		}
	})
	t.Run("run", func(t *testing.T) {
		resp, err := web.Post(base+"/run/default/p/c?cmd="+url.QueryEscape("/toolbox say hi"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hi\n" {
			t.Errorf("run: %q, %v", body, err)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		u, err := url.Parse(base + "/portForward/default/p")
		if err != nil {
			t.Fatal(err)
		}
		spdyTransport, upgrader, err := spdy.RoundTripperFor(client)
		if err != nil {
			t.Fatal(err)
		}
		tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, client)
		if err != nil {
			t.Fatal(err)
		}
		forward := func(name string, f func(stop, ready chan struct{}) (*portforward.PortForwarder, error)) {
			stop, ready := make(chan struct{}), make(chan struct{})
			pf, err := f(stop, ready)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- pf.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-failed:
				t.Fatalf("%s: %v", name, err)
			}
			ports, err := pf.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(conn, "hello")
			answer, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || answer != "HELLO\n" {
				t.Errorf("%s: answer %q, %v", name, answer, err)
			}
			_ = conn.Close()
			close(stop)
			if err := <-failed; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		want := []string{fmt.Sprintf("0:%d", port)}
		forward("spdy", func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: spdyTransport}, "POST", u), want, stop, ready, io.Discard, io.Discard)
		})
		forward("websocket tunnel", func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.New(tunnel, want, stop, ready, io.Discard, io.Discard)
		})
	})
	t.Run("running pods", func(t *testing.T) {
		if code, body := get("/runningpods/"); code != 200 || !strings.Contains(body, `"name":"p"`) || !strings.Contains(body, `"name":"echo"`) {
			t.Errorf("%d %s", code, body)
		}
	})
}

func clientConfig(t *testing.T, ca *authority, base string, cert tls.Certificate) *rest.Config {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return &rest.Config{Host: base, TLSClientConfig: rest.TLSClientConfig{
		CAData: block("CERTIFICATE", ca.cert.Raw), CertData: block("CERTIFICATE", cert.Certificate[0]), KeyData: block("PRIVATE KEY", key)}}
}
