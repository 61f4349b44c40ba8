// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/server"
)

// nodeAPIs is where the HTTP APIs of all simulated nodes are served, by one server: not on a port of the machine, which other users and
// other clusters could reach, but on connections within this process. Which node is meant is told by the address that was dialled. All
// else is as on a real node: TLS, the client's certificate, and what its user may do. At rest it costs one goroutine.
type nodeAPIs struct {
	listener *pipeListener
	server   *http.Server

	mu    sync.RWMutex
	nodes map[netip.Addr]*simulatedNode
	done  sync.WaitGroup
}

type dialledNode struct{}

func newNodeAPIs() *nodeAPIs { return &nodeAPIs{listener: newPipeListener()} }

// serve answers for the nodes until stop.
func (a *nodeAPIs) serve(nodes []*simulatedNode, serving tls.Certificate, clientCA *x509.Certificate) {
	a.mu.Lock()
	a.nodes = make(map[netip.Addr]*simulatedNode, len(nodes))
	for _, n := range nodes {
		a.nodes[n.ip] = n
	}
	a.mu.Unlock()
	clients := x509.NewCertPool()
	clients.AddCert(clientCA)
	noise := klog.NewStandardLogger("INFO")
	noise.SetOutput(io.Discard)
	a.server = &http.Server{
		ErrorLog:  noise,
		TLSConfig: server.TLSConfig(func() (*tls.Certificate, error) { return &serving, nil }, clients),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, dialledNode{}, c.LocalAddr().String())
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			address, _ := r.Context().Value(dialledNode{}).(string)
			n, err := a.node(address)
			if err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			n.handler().ServeHTTP(w, r)
		}),
	}
	a.done.Go(func() {
		if err := a.server.ServeTLS(a.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "The nodes' API ended")
		}
	})
}

// node finds the node that has an address.
func (a *nodeAPIs) node(address string) (*simulatedNode, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial node at %s: %w", address, err)
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if n, ok := a.nodes[at.Addr()]; ok {
		return n, nil
	}
	return nil, fmt.Errorf("dial node at %s: no simulated node has this address", address)
}

func (a *nodeAPIs) dial(ctx context.Context, address string) (net.Conn, error) {
	if _, err := a.node(address); err != nil {
		return nil, err
	}
	return a.listener.dial(ctx, address)
}

// stop ends all requests: followed logs and streams would never end by themselves.
func (a *nodeAPIs) stop() error {
	if a.server == nil {
		return nil
	}
	err := a.server.Close()
	a.done.Wait()
	return err
}

// pipeListener accepts connections from within the process.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
	close       sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr("this process") }

// dial returns one end of a connection whose other end knows what address was dialled.
func (l *pipeListener) dial(ctx context.Context, address string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.connections <- dialled{theirs, pipeAddr(address)}:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type dialled struct {
	net.Conn
	at pipeAddr
}

func (d dialled) LocalAddr() net.Addr { return d.at }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }
