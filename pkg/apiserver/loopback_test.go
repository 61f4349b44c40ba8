// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

func loopbackTo(h http.HandlerFunc) http.RoundTripper {
	l := &Loopback{}
	l.SetHandler(h)
	return l.Config(&user.DefaultInfo{Name: "tester"}).Transport
}

func request(t *testing.T, ctx context.Context, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://loopback/path?q=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoopbackRoundTrip(t *testing.T) {
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := authenticateLoopback(nil).AuthenticateRequest(r)
		if err != nil || !ok {
			t.Errorf("request is not known as a loopback one: %v, %v", ok, err)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-User", who.User.GetName())
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "header after WriteHeader")
		fmt.Fprintf(w, "%s %s", r.RequestURI, body)
	})
	response, err := transport.RoundTrip(request(t, t.Context(), "hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "/path?q=1 hello" {
		t.Errorf("body %q, %v", body, err)
	}
	if response.StatusCode != http.StatusTeapot || response.Header.Get("X-User") != "tester" || response.Header.Get("X-Late") != "" {
		t.Errorf("status %d, header %v", response.StatusCode, response.Header)
	}
}

func TestOnlyLoopbackRequestsAreTrusted(t *testing.T) {
	r := request(t, t.Context(), "")
	r.Header.Set("X-Remote-User", "system:admin")
	if _, ok, _ := authenticateLoopback(nil).AuthenticateRequest(r); ok {
		t.Error("a request from outside passes for a loopback one")
	}
}

func TestLoopbackStreams(t *testing.T) {
	next := make(chan string)
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		for line := range next {
			io.WriteString(w, line)
		}
	})
	response, err := transport.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 16)
	for _, line := range []string{"one", "two"} {
		next <- line
		n, err := response.Body.Read(buffer)
		if err != nil || string(buffer[:n]) != line {
			t.Fatalf("read %q, %v; want %q", buffer[:n], err, line)
		}
	}
	close(next)
	if _, err := response.Body.Read(buffer); !errors.Is(err, io.EOF) {
		t.Errorf("end of stream: %v", err)
	}
}

func TestLoopbackCloseEndsHandler(t *testing.T) {
	ended := make(chan struct{})
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		gone := w.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // the API machinery asks for it
		w.WriteHeader(http.StatusOK)
		<-gone
		<-r.Context().Done()
	})
	watch := request(t, t.Context(), "")
	watch.URL.RawQuery = "watch=true"
	response, err := transport.RoundTrip(watch)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler does not hear that its client has gone")
	}
}

// A request that is no stream is finished when its client has gone, and does not see that it has.
func TestLoopbackFinishesRequests(t *testing.T) {
	begun, finished := make(chan struct{}), make(chan error, 1)
	ctx, leave := context.WithCancel(t.Context())
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-ctx.Done()
		_, err := w.Write(make([]byte, 2*maxUnread))
		if err == nil {
			_, err = w.Write([]byte("more than a reader that has gone would be waited for"))
		}
		finished <- errors.Join(err, r.Context().Err())
	})
	go func() {
		<-begun
		leave()
	}()
	if _, err := transport.RoundTrip(request(t, ctx, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone gets %v", err)
	}
	select {
	case err := <-finished:
		if err != nil {
			t.Errorf("the handler got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the handler does not finish")
	}
}

func TestLoopbackWriterWaitsForReader(t *testing.T) {
	wrote := make(chan int, 100)
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, maxUnread)
		for i := range 4 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			wrote <- i
		}
	})
	response, err := transport.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil || n != 4*maxUnread {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if len(wrote) != 4 {
		t.Errorf("%d of 4 writes succeeded", len(wrote))
	}
}

func TestLoopbackAbortIsAnError(t *testing.T) {
	transport := loopbackTo(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})
	response, err := transport.RoundTrip(request(t, t.Context(), ""))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err == nil || string(body) != "half" {
		t.Errorf("read %q, %v; want an error after half", body, err)
	}
}

func TestLoopbackBeforeAndAfterServing(t *testing.T) {
	l := &Loopback{}
	transport := l.Config(&user.DefaultInfo{}).Transport
	if _, err := transport.RoundTrip(request(t, t.Context(), "")); !errors.Is(err, errNotServing) {
		t.Errorf("before: %v", err)
	}
	l.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		l.Close() // while this request is under way
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	for _, when := range []string{"when it stops", "after"} {
		if _, err := transport.RoundTrip(request(t, t.Context(), "")); !errors.Is(err, errNotServing) {
			t.Errorf("%s: %v", when, err)
		}
	}
}

func TestListen(t *testing.T) {
	l, err := Listen(0, "127.0.0.1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	response, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// TestLoopbackWithinARequest: a request that is made while another is served has nothing of it.
func TestLoopbackWithinARequest(t *testing.T) {
	type key struct{}
	for _, path := range []string{"/plain", "/long?watch=true"} {
		l := &Loopback{}
		l.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if v := r.Context().Value(key{}); v != nil {
				t.Errorf("%s: the context has %v", path, v)
			}
			if who, ok := r.Context().Value(loopbackUser{}).(user.Info); !ok || who.GetName() != "inner" {
				t.Errorf("%s: the user is %v", path, who)
			}
		}))
		ctx := context.WithValue(context.WithValue(t.Context(), loopbackUser{}, user.Info(&user.DefaultInfo{Name: "outer"})), key{}, "outer")
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://loopback"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := l.Config(&user.DefaultInfo{Name: "inner"}).Transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Error(err)
		}
		response.Body.Close()
	}
}
