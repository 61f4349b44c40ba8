// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"net"
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
