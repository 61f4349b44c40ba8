// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// idlers open watches, read the header of the answer and nothing more, while objects change.
func idlers(t *testing.T, s *suite) {
	n := 1000
	if *full {
		n = 5000
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// A connection takes a hundred streams.
	var clients []*http.Client
	for range n/100 + 1 {
		clients = append(clients, s.client(t))
	}
	var mu sync.Mutex
	var open []io.Closer
	each(t, n, 32, func(_ context.Context, i int) error {
		url := s.admin.Host + configMaps + "?watch=1&allowWatchBookmarks=true"
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := clients[i/100].Do(request)
		if err != nil {
			return err
		}
		mu.Lock()
		open = append(open, answer.Body)
		mu.Unlock()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("watch: %s", answer.Status)
		}
		return nil
	})
	client := kubernetes.NewForConfigOrDie(s.admin)
	large := map[string]string{"a": strings.Repeat("x", 4096)}
	for i := range 20 {
		name := fmt.Sprintf("seen-%d", i)
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: large}, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	memory, err := ReadMemory(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with %d watches that nobody reads: %.0f MiB", len(open), memory.Now)
	cancel()
	for _, body := range open {
		body.Close()
	}
}

// crowd opens watches, some on each connection: one where they are those of the agents and controllers of a large cluster, and a hundred where they are a few
// clients' that want to know everything. All of them must hear of what happens then.
func crowd(few, many, onEach int) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		n := few
		if *full {
			n = many
		}
		config, err := rest.TLSConfigFor(s.admin)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		open, transports := make([]io.ReadCloser, n), make([]*http.Transport, n/onEach)
		for i := range transports {
			transports[i] = &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
			defer transports[i].CloseIdleConnections()
		}
		each(t, n, 32, func(_ context.Context, i int) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin.Host+configMaps+"?watch=1&labelSelector=for=crowd", nil)
			if err != nil {
				return err
			}
			answer, err := transports[i/onEach].RoundTrip(request)
			if err != nil {
				return err
			}
			open[i] = answer.Body
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("watch: %s", answer.Status)
			}
			return nil
		})
		memory, err := ReadMemory(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("with %d watches on %d connections: %.0f MiB", n, len(transports), memory.Now)
		maps := kubernetes.NewForConfigOrDie(s.admin).CoreV1().ConfigMaps("default")
		told := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "told", Labels: map[string]string{"for": "crowd"}}}
		if _, err := maps.Create(ctx, told, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		each(t, n, 32, func(_ context.Context, i int) error {
			event := struct{ Type string }{}
			if err := json.NewDecoder(open[i]).Decode(&event); err != nil || event.Type != "ADDED" {
				return fmt.Errorf("watch %d has %q: %w", i, event.Type, err)
			}
			return nil
		})
		if memory, err = ReadMemory(s.pid); err != nil {
			t.Fatal(err)
		}
		t.Logf("when all have heard of something: %.0f MiB", memory.Now)
		for _, body := range open {
			body.Close()
		}
		if err := maps.Delete(ctx, told.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// listers list everything, all at once.
func listers(t *testing.T, s *suite) {
	n, clients := 300, 100
	if *full {
		n = 3000
	}
	client := kubernetes.NewForConfigOrDie(s.admin)
	each(t, n, 8, func(ctx context.Context, i int) error {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("listed-%d", i)}, Data: map[string]string{"a": noise(8192)},
		}, metav1.CreateOptions{})
		return err
	})
	readers := make([]*http.Client, clients)
	for i := range readers {
		readers[i] = s.client(t)
	}
	each(t, clients, clients, func(ctx context.Context, i int) error {
		for _, path := range []string{"/api/v1/configmaps", "/api/v1/secrets", "/api/v1/events", "/apis/rbac.authorization.k8s.io/v1/clusterroles"} {
			if err := patiently(ctx, readers[i], s.admin.Host+path); err != nil {
				return err
			}
		}
		return nil
	})
	if err := client.CoreV1().ConfigMaps("default").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// noise is text that hardly compresses.
func noise(n int) string {
	data := make([]byte, n*3/4)
	_, _ = rand.Read(data) // it does not fail
	return base64.StdEncoding.EncodeToString(data)
}

// patiently reads, and comes back when the server says that it has too much to do, as every honest client does.
func patiently(ctx context.Context, client *http.Client, url string) error {
	for {
		err := read(ctx, client, url)
		if err == nil || !strings.HasSuffix(err.Error(), "429 Too Many Requests") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// strangers log in with tokens and certificates that are none, again and again.
func strangers(t *testing.T, s *suite) {
	n := 1000
	if *full {
		n = 50_000
	}
	segment := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	issuer := `{"iss":"https://kubernetes.default.svc.cluster.local","sub":"system:serviceaccount:kube-system:default","aud":["https://kubernetes.default.svc.cluster.local"]}`
	tokens := []string{
		"x", "..", strings.Repeat("a", 200_000), strings.Repeat(".", 1000),
		segment(`{"alg":"none"}`) + "." + segment(issuer) + ".",
		segment(`{"alg":"ES256","kid":"`+strings.Repeat("k", 1000)+`"}`) + "." + segment(issuer) + "." + segment(strings.Repeat("s", 64)),
		segment(`{"alg":"HS256"}`) + "." + segment(issuer) + "." + segment("s"),
		segment(`{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}`) + "." + segment(issuer) + "." + segment(strings.Repeat("s", 64)),
		segment(strings.Repeat(`{"a":`, 20_000)) + "." + segment(strings.Repeat(`[`, 20_000)) + ".x",
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	each(t, n, 16, func(ctx context.Context, i int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin.Host+configMaps, nil)
		if err != nil {
			return err
		}
		token, want := tokens[i%len(tokens)], http.StatusUnauthorized
		request.Header.Set("Authorization", "Bearer "+token+strings.Repeat("=", i%3))
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != want {
			return fmt.Errorf("with the token %.60q: %s, want %d", token, answer.Status, want)
		}
		return nil
	})
}

// stallers ask for streams into pods of a node whose agent takes connections and says nothing.
func stallers(t *testing.T, s *suite) {
	client := kubernetes.NewForConfigOrDie(s.admin)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}} // where no controller makes it
	if _, err := client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections that nobody has accepted go with it
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "silent"}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(silent.Addr().(*net.TCPAddr).Port)}},
	}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stall"}, Spec: corev1.PodSpec{
		NodeName: node.Name, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(s.admin)
	config.TLSClientConfig.NextProtos = []string{"http/1.1"} // which alone has upgrades
	stalled, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.CloseIdleConnections()
	// The server gives the agent ten seconds; these clients go before that.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	paths := []string{"exec?command=sh&stdin=1&container=c", "attach?stdin=1&container=c", "portforward?ports=80"}
	each(t, 150, 150, func(_ context.Context, i int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.admin.Host+"/api/v1/namespaces/default/pods/stall/"+paths[i%len(paths)], nil)
		if err != nil {
			return err
		}
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "SPDY/3.1")
		answer, err := stalled.Do(request)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err == nil {
			answer.Body.Close()
			err = fmt.Errorf("%s: %s", request.URL, answer.Status)
		}
		return fmt.Errorf("a stream that cannot begin: %w", err)
	})
	now := int64(0)
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "stall", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Error(err)
	}
	if err := client.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
