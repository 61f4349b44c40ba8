// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPlainOnLoopback(t *testing.T) {
	var got string
	handler := plainOnLoopback(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Accept-Encoding") }))
	tcp := func(address string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		name   string
		local  net.Addr
		remote string
		want   string
	}{
		{"loopback", connAddr{tcp("127.0.0.1:6443"), nil}, "127.0.0.1:50000", ""},
		{"the node's address", connAddr{tcp("192.0.2.1:6443"), nil}, "192.0.2.1:50000", ""},
		{"IPv6", connAddr{tcp("[::1]:6443"), nil}, "[::1]:50000", ""},
		{"another machine", connAddr{tcp("192.0.2.1:6443"), nil}, "192.0.2.2:50000", "gzip"},
		{"within the process", nil, "", "gzip"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/api", nil)
		r.RemoteAddr = c.remote
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		r.Header.Set("Accept-Encoding", "gzip")
		if handler.ServeHTTP(nil, r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestPlainOverTLS holds that a real connection tells where its ends are.
func TestPlainOverTLS(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewUnstartedServer(plainOnLoopback(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Accept-Encoding") })))
	server.Listener = trackConnections(server.Listener)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if accepted := <-got; accepted != "" {
		t.Errorf("a client on this machine is answered in %s", accepted)
	}
}
