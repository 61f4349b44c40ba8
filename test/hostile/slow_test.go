// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/load"
)

const (
	// slowEach is how many connections there are of each kind of slow client, and slowParallel how many are opened at once.
	slowEach, slowParallel = 1000, 64
	// slowRoom is how many connections a server may keep of those who have not said who they are.
	slowRoom = 512
	// slowMemory is what the server may take, in MiB.
	slowMemory = 400
	// slowPatience is how long any step may take.
	slowPatience = 30 * time.Second
)

// slowServer is a cluster whose server is slow clients' victim.
type slowServer struct {
	address string
	pid     int
	admin   *rest.Config
	// nobody and known are how TLS clients connect, without and with a certificate; modern is nobody who speaks HTTP/2.
	nobody, modern, known *tls.Config
}

// TestSlowClients has thousands of connections open at once whose clients do not go on: with their handshake, their header, their body, or at
// all. The server answers others meanwhile, and keeps its memory.
func TestSlowClients(t *testing.T) {
	s := startSlowServer(t)
	ctx, stop := context.WithCancel(t.Context())
	var bystanders sync.WaitGroup
	defer bystanders.Wait()
	defer stop()
	answered := [2]atomic.Int64{}
	for i, config := range []*rest.Config{s.admin, freshConnections(s.admin)} {
		client := kubernetes.NewForConfigOrDie(config)
		bystanders.Go(func() {
			for ctx.Err() == nil {
				within, cancel := context.WithTimeout(ctx, slowPatience)
				_, err := client.CoreV1().Namespaces().List(within, metav1.ListOptions{})
				cancel()
				if err != nil && ctx.Err() == nil {
					t.Errorf("another client is not answered: %v", err)
					return
				}
				answered[i].Add(1)
			}
		})
	}

	var open slowConnections
	defer open.close()
	strangers := int64(0)
	header := "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	for _, kind := range []struct {
		name     string
		tls      *tls.Config
		say      string
		n        int
		stranger bool
	}{
		{"nothing", nil, "", slowEach, true},
		{"half a handshake", nil, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", slowEach, true},
		{"nothing after the handshake", s.nobody, "", slowEach, true},
		{"half a header", s.nobody, header[:60], slowEach, true},
		{"half a request", s.nobody, header + "\r\n{", slowEach, true},
		{"nothing after HTTP/2's preface", s.modern, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", slowEach, true},
		{"half a request of somebody known", s.known, header + "\r\n{", slowEach / 5, false},
	} {
		if err := open.add(t.Context(), s.address, kind.tls, kind.say, kind.n, kind.stranger); err != nil {
			t.Fatalf("%s: %v", kind.name, err)
		}
		if kind.stranger {
			strangers += int64(kind.n)
		}
		use, err := load.Measure(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d × %s: %.0f MiB", kind.n, kind.name, use.RSS)
		if use.RSS > slowMemory {
			t.Errorf("with %d × %s the server takes %.0f MiB; it may take %d", kind.n, kind.name, use.RSS, slowMemory)
		}
	}
	deadline := time.After(slowPatience)
	for want := strangers - slowRoom; open.ended.Load() < want; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("the server has closed %d connections of strangers; it must close %d", open.ended.Load(), want)
		}
	}
	if n := open.lost.Load(); n > 0 {
		t.Errorf("%d connections were closed of somebody known", n)
	}
	before := [2]int64{answered[0].Load(), answered[1].Load()}
	for answered[0].Load() == before[0] || answered[1].Load() == before[1] { // with all of them there
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("another client is not answered")
		}
	}
	stop()
	bystanders.Wait()
	t.Logf("answered meanwhile: %d requests of one connection, %d of a connection each", answered[0].Load(), answered[1].Load())
}

// startSlowServer starts a server that ends with the test.
func startSlowServer(t *testing.T) *slowServer {
	t.Helper()
	c, err := cluster.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := c.Verb(context.Background(), "reset", "--yes"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if out, err := c.Up(t.Context(), "--roles", "server", "--merge-kubeconfig=false"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := &slowServer{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Config.API.Port))}
	if s.admin, err = clientcmd.BuildConfigFromFlags("", c.Config.AdminKubeconfig()); err != nil {
		t.Fatal(err)
	}
	s.admin.QPS = -1
	if s.known, err = rest.TLSConfigFor(s.admin); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.admin.CAData)
	s.nobody = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	s.modern = s.nobody.Clone()
	s.modern.NextProtos = []string{"h2"}
	s.known.ServerName = "127.0.0.1"
	s.known.NextProtos = nil
	s.pid = daemon(t, c)
	return s
}

// daemon is the process that runs c.
func daemon(t *testing.T, c *cluster.Cluster) int {
	t.Helper()
	out, err := c.Verb(t.Context(), "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Processes []struct {
			Name string
			PIDs []int
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Processes {
		if p.Name == "hivemindd" && len(p.PIDs) == 1 {
			return p.PIDs[0]
		}
	}
	t.Fatalf("hivemindd does not run: %s", out)
	return 0
}

// freshConnections is a client that connects anew for every request.
func freshConnections(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.WrapTransport = func(inner http.RoundTripper) http.RoundTripper {
		if transport, ok := inner.(*http.Transport); ok {
			transport = transport.Clone()
			transport.DisableKeepAlives = true
			return transport
		}
		return inner
	}
	return config
}

// slowConnections are connections that slow clients hold.
type slowConnections struct {
	mu  sync.Mutex
	all []net.Conn
	// ended is how many of strangers the server has closed, lost how many of others.
	ended, lost atomic.Int64
	closing     atomic.Bool
	readers     sync.WaitGroup
}

// add opens n connections which say that, and nothing more. A server may close what it likes of strangers, also while they introduce themselves.
func (o *slowConnections) add(ctx context.Context, address string, config *tls.Config, say string, n int, strangers bool) error {
	ctx, cancel := context.WithTimeout(ctx, slowPatience)
	defer cancel()
	errs := make(chan error, n)
	slots := make(chan struct{}, slowParallel)
	for range n {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs <- o.open(ctx, address, config, say, strangers)
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func (o *slowConnections) open(ctx context.Context, address string, config *tls.Config, say string, stranger bool) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	if config != nil {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			if stranger && ctx.Err() == nil {
				o.ended.Add(1)
				return nil
			}
			return fmt.Errorf("shake hands: %w", err)
		}
		conn = secure
	}
	_, _ = io.WriteString(conn, say) // whether it is closed shows below
	o.mu.Lock()
	o.all = append(o.all, conn)
	o.mu.Unlock()
	o.readers.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		switch {
		case o.closing.Load():
		case stranger:
			o.ended.Add(1)
		default:
			o.lost.Add(1)
		}
	})
	return nil
}

func (o *slowConnections) close() {
	o.closing.Store(true)
	o.mu.Lock()
	for _, conn := range o.all {
		conn.Close()
	}
	o.mu.Unlock()
	o.readers.Wait()
}
