// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"
)

// newTracked serves handler behind a listener with little room. The header User says who a request is from.
func newTracked(t *testing.T, strangers, known int, handler http.Handler) (*httptest.Server, *trackingListener) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	tracked := trackConnections(server.Listener)
	tracked.maxStrangers, tracked.maxKnown = strangers, known
	inner := tracked.trustKnown(handler)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
		if name := r.Header.Get("User"); name != "" {
			who = &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}
		}
		inner.ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), who)))
	})
	server.Listener = tracked
	server.Start()
	t.Cleanup(server.Close)
	return server, tracked
}

// silent opens a connection and says nothing, and returns once the listener knows of it.
func silent(t *testing.T, l *trackingListener) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	waitUntil(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		newest := l.strangers.Back()
		return newest != nil && newest.Value.(*trackedConn).RemoteAddr().String() == conn.LocalAddr().String()
	})
	return conn
}

func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
	}
}

// closedBy tells whether the server has closed the connection, once it has or after a while.
func closedBy(conn net.Conn, within time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	_, err := conn.Read(make([]byte, 1))
	netErr, ok := err.(net.Error)
	return !ok || !netErr.Timeout()
}

func get(t *testing.T, url, who string, transport http.RoundTripper) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User", who)
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
}

func TestStrangersMakeRoomForEachOther(t *testing.T) {
	server, tracked := newTracked(t, 3, 2, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	first := silent(t, tracked)
	second := silent(t, tracked)
	known := &http.Transport{}
	defer known.CloseIdleConnections()
	get(t, server.URL, "alice", known)
	third := silent(t, tracked)
	fourth := silent(t, tracked)
	if !closedBy(first, 10*time.Second) {
		t.Error("who was a stranger for longest stays")
	}
	for _, other := range []net.Conn{second, third, fourth} {
		if closedBy(other, 20*time.Millisecond) {
			t.Error("a stranger is closed for whom there is room")
		}
	}
	for range 3 {
		silent(t, tracked)
	}
	get(t, server.URL, "alice", known)
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	if tracked.known.Len() != 1 || tracked.strangers.Len() != 3 {
		t.Errorf("%d are known and %d strangers; want 1, who has not had to connect again, and 3", tracked.known.Len(), tracked.strangers.Len())
	}
}

func TestThereIsRoomForSoManyKnown(t *testing.T) {
	server, tracked := newTracked(t, 3, 2, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var transports []*http.Transport
	for range 4 {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		transports = append(transports, transport)
		get(t, server.URL, "alice", transport)
	}
	get(t, server.URL, "", &http.Transport{DisableKeepAlives: true}) // nobody in particular
	counts := func() (int, int) {
		tracked.mu.Lock()
		defer tracked.mu.Unlock()
		return tracked.known.Len(), tracked.strangers.Len()
	}
	waitUntil(t, func() bool { known, strangers := counts(); return known == 2 && strangers == 2 })
	for _, transport := range transports {
		transport.CloseIdleConnections()
	}
	waitUntil(t, func() bool { known, strangers := counts(); return known == 0 && strangers == 0 })
}

// A request that does not last is ended when its client is slow: one that does not send its body, one that does not read its answer.
func TestSlowClientsAreEnded(t *testing.T) {
	failed := make(chan error, 1)
	chain := func(handler http.HandlerFunc) http.Handler {
		isLong := filters.BasicLongRunningRequestCheck(sets.NewString("watch"), nil)
		slow := endSlow(handler, isLong, 100*time.Millisecond)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			slow.ServeHTTP(w, r.WithContext(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{Verb: r.Header.Get("Verb")})))
		})
	}
	read := func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
	}
	write := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return
			}
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		request string
		ends    bool
	}{
		"body":              {read, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345", true},
		"answer":            {write, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		"answer that lasts": {write, "GET / HTTP/1.1\r\nHost: x\r\nVerb: watch\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(chain(c.handler))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			if !c.ends {
				select {
				case err := <-failed:
					t.Errorf("it ends by itself: %v", err)
				case <-time.After(300 * time.Millisecond):
				}
				conn.Close()
			}
			select {
			case err := <-failed:
				if err == nil {
					t.Error("the handler does not see that it has ended")
				}
			case <-ctx.Done():
				t.Fatal("it does not end")
			}
		})
	}
}

// What is left of a body that a handler did not read does not keep a connection for ever either.
func TestSlowBodyOfARefusedRequest(t *testing.T) {
	refuse := endSlow(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }),
		filters.BasicLongRunningRequestCheck(nil, nil), 100*time.Millisecond)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse.ServeHTTP(w, r.WithContext(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{Verb: "create"})))
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection stays open after %q: %v", text, err)
	}
}
