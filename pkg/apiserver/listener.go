// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// Listen opens port on each of hosts and returns them as one listener, so that the server listens on loopback and on the
// node's address and nowhere else. Hosts may repeat.
func Listen(port int, hosts ...string) (net.Listener, error) {
	l := &listeners{accepted: make(chan accepted), closed: make(chan struct{})}
	seen := map[string]bool{}
	for _, host := range hosts {
		if seen[host] {
			continue
		}
		seen[host] = true
		one, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for API requests: %w", err), l.Close())
		}
		l.all = append(l.all, one)
	}
	for _, one := range l.all {
		go l.serve(one)
	}
	return l, nil
}

type accepted struct {
	conn net.Conn
	err  error
}

type listeners struct {
	all      []net.Listener
	accepted chan accepted
	closed   chan struct{}
	once     sync.Once
}

func (l *listeners) serve(one net.Listener) {
	for {
		conn, err := one.Accept()
		select {
		case l.accepted <- accepted{conn, err}:
		case <-l.closed:
			if err == nil {
				conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (l *listeners) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listeners) Close() error {
	var errs []error
	l.once.Do(func() {
		close(l.closed)
		for _, one := range l.all {
			errs = append(errs, one.Close())
		}
	})
	return errors.Join(errs...)
}

func (l *listeners) Addr() net.Addr { return l.all[0].Addr() }

// trackingListener knows which of its connections are open.
type trackingListener struct {
	net.Listener

	mu   sync.Mutex
	open map[*trackedConn]struct{}
}

func trackConnections(l net.Listener) *trackingListener {
	return &trackingListener{Listener: l, open: map[*trackedConn]struct{}{}}
}

func (l *trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	return c, nil
}

// closeConnections closes all connections that are open.
func (l *trackingListener) closeConnections() {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // its reader hears of it
	}
}

type trackedConn struct {
	net.Conn
	listener *trackingListener
}

func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// trustKnown is a filter for requests of which is known who sent them.
func (l *trackingListener) trustKnown(handler http.Handler) http.Handler { return handler }
