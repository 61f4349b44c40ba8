// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"container/list"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// A connection costs some 40 kB, whether its client goes on with its handshake, its header, its request, or not. One on which nobody has
// said who they are is a stranger's. There is room for so many of these, and when one more comes, the one that is a stranger's for
// longest has to go: whoever has something to ask has asked long before that, and who holds many connections loses their own. The
// others are as many as clients of a thousand nodes have; when there are more, newcomers stay among strangers.
const (
	maxStrangers = 512
	maxKnown     = 4096
)

// trackingListener knows which of its connections are open, and whose.
type trackingListener struct {
	net.Listener
	maxStrangers, maxKnown int

	mu sync.Mutex
	// strangers and known are of *trackedConn, the oldest first.
	strangers, known list.List
}

func trackConnections(l net.Listener) *trackingListener {
	return &trackingListener{Listener: l, maxStrangers: maxStrangers, maxKnown: maxKnown}
}

// Accept implements net.Listener.
func (l *trackingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, listener: l}
	if evicted := l.add(c); evicted != nil {
		_ = evicted.Close() // its reader hears of it
	}
	return c, nil
}

// add adds a stranger, and returns the one who has to go for it, if there is no room.
func (l *trackingListener) add(c *trackedConn) (evicted *trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strangers.Len() >= l.maxStrangers {
		evicted = l.strangers.Front().Value.(*trackedConn)
	}
	c.place = l.strangers.PushBack(c)
	return evicted
}

// closeConnections closes all connections that are open.
func (l *trackingListener) closeConnections() {
	l.mu.Lock()
	var open []*trackedConn
	for _, all := range []*list.List{&l.strangers, &l.known} {
		for place := all.Front(); place != nil; place = place.Next() {
			open = append(open, place.Value.(*trackedConn))
		}
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // its reader hears of it
	}
}

// trustKnown is a filter behind authentication: the connections of those who have said who they are are no strangers'.
func (l *trackingListener) trustKnown(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if address, ok := r.Context().Value(http.LocalAddrContextKey).(connAddr); ok && !address.conn.trusted.Load() {
			if who, ok := apirequest.UserFrom(r.Context()); ok && !slices.Contains(who.GetGroups(), user.AllUnauthenticated) {
				address.conn.trust()
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// trackedConn is a connection that its listener knows of.
type trackedConn struct {
	net.Conn
	listener *trackingListener
	trusted  atomic.Bool

	// place is where the connection is in one of the listener's lists, nil when it is closed. The listener's lock guards it.
	place *list.Element
}

// connAddr is the address that a connection was made to, by which a request finds its connection: net/http puts it into its context.
type connAddr struct {
	net.Addr
	conn *trackedConn
}

// LocalAddr implements net.Conn.
func (c *trackedConn) LocalAddr() net.Addr { return connAddr{c.Conn.LocalAddr(), c} }

// trust takes the connection from among strangers, if there is room.
func (c *trackedConn) trust() {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place == nil || c.trusted.Load() || l.known.Len() >= l.maxKnown {
		return
	}
	l.strangers.Remove(c.place)
	c.place = l.known.PushBack(c)
	c.trusted.Store(true)
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	l := c.listener
	l.mu.Lock()
	if c.place != nil {
		if c.trusted.Load() {
			l.known.Remove(c.place)
		} else {
			l.strangers.Remove(c.place)
		}
		c.place = nil
	}
	l.mu.Unlock()
	return c.Conn.Close()
}
