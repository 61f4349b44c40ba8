// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

// Loopback lets parts of this process be clients of the API server without a socket: a request is a function call through the
// whole handler chain. Each client acts as a user of its own, so that roles bind controllers as they bind everyone else.
type Loopback struct {
	handler atomic.Pointer[http.Handler]
}

// SetHandler says where requests go; until then they fail.
func (l *Loopback) SetHandler(h http.Handler) { l.handler.Store(&h) }

// Close has requests fail again. It is called before the server refuses them: a client that is told to come back later, as the
// server's answer is then, would wait for that.
func (l *Loopback) Close() { l.handler.Store(nil) }

// Config is what client-go needs to be a client that acts as who. It speaks protobuf and is not throttled.
func (l *Loopback) Config(who user.Info) *rest.Config {
	return &rest.Config{
		Host:      "http://loopback",
		Transport: &loopbackTransport{l, who},
		QPS:       -1,
		UserAgent: "hivemindd",
		// Warnings are for people; what this process uses it uses knowingly.
		WarningHandler: rest.NoWarnings{},
		ContentConfig:  rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
	}
}

// JSONConfig is Config for clients of custom resources, which have no protobuf.
func (l *Loopback) JSONConfig(who user.Info) *rest.Config {
	c := l.Config(who)
	c.ContentConfig = rest.ContentConfig{}
	return c
}

// loopbackUser is the key of the user in the context of a loopback request. Only this file can make one, so no request from
// outside carries it.
type loopbackUser struct{}

// authenticateLoopback is an authenticator.Request for loopback clients.
func authenticateLoopback(audiences authenticator.Audiences) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		who, ok := r.Context().Value(loopbackUser{}).(user.Info)
		if !ok {
			return nil, false, nil
		}
		return &authenticator.Response{User: who, Audiences: audiences}, true, nil
	})
}

type loopbackTransport struct {
	loopback *Loopback
	who      user.Info
}

var errNotServing = errors.New("the API server does not serve")

// RoundTrip runs the handler in a goroutine of its own and returns once it has written its header. Where the client goes before
// the response has ended, a stream ends; any other request is finished, which takes a millisecond, for nobody: to cut it short
// would be no faster, and have the API machinery complain of every controller that stops.
func (t *loopbackTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := t.loopback.handler.Load()
	if handler == nil {
		return nil, errNotServing
	}
	ctx, cancel := context.WithCancel(r.Context())
	stream := isStream(r)
	// The client may be part of a request itself. What that one's context says, of its user and its audit event, is not for this one.
	own, end := context.Background(), func() {}
	if stream {
		own, end = context.WithCancel(own)
		context.AfterFunc(ctx, end)
	}
	inner := r.Clone(context.WithValue(own, loopbackUser{}, t.who))
	inner.RequestURI = r.URL.RequestURI()
	inner.RemoteAddr = "127.0.0.1:0"
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	w := &loopbackWriter{header: http.Header{}, wrote: make(chan struct{}), gone: ctx.Done(), stream: stream}
	w.more = sync.NewCond(&w.mu)
	stop := context.AfterFunc(ctx, w.wake)
	go func() {
		defer end()
		defer stop()
		defer w.finish()
		(*handler).ServeHTTP(w, inner)
	}()
	select {
	case <-w.wrote:
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(ctx)
	}
	if w.status == http.StatusServiceUnavailable && t.loopback.handler.Load() == nil {
		cancel()
		return nil, errNotServing
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Request: r, Body: &loopbackBody{w, cancel},
	}, nil
}

// isStream tells whether the response goes on for as long as the client likes.
func isStream(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("watch") || query.Has("follow")
}

// maxUnread is how much a handler may be ahead of its reader.
const maxUnread = 1 << 20

// loopbackWriter is both ends of a response: the handler writes it, the client reads it.
type loopbackWriter struct {
	header http.Header
	sent   http.Header
	status int
	wrote  chan struct{} // closed when the header is written
	gone   <-chan struct{}
	stream bool

	mu     sync.Mutex
	more   *sync.Cond
	unread []byte
	done   bool
	failed error
}

func (w *loopbackWriter) Header() http.Header { return w.header }

func (w *loopbackWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *loopbackWriter) writeHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status, w.sent = status, w.header.Clone()
	close(w.wrote)
}

func (w *loopbackWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	for len(w.unread) > maxUnread && !w.cancelled() {
		w.more.Wait()
	}
	if w.cancelled() {
		if w.stream {
			return 0, context.Canceled
		}
		return len(p), nil
	}
	w.unread = append(w.unread, p...)
	w.more.Broadcast()
	return len(p), nil
}

// Flush implements http.Flusher: what is written is already there to be read.
func (w *loopbackWriter) Flush() { w.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier, which the API machinery's response wrappers ask for.
func (w *loopbackWriter) CloseNotify() <-chan bool {
	closed := make(chan bool, 1)
	if !w.stream {
		return closed
	}
	go func() {
		<-w.gone
		closed <- true
	}()
	return closed
}

func (w *loopbackWriter) cancelled() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

func (w *loopbackWriter) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.more.Broadcast()
}

// finish ends the response. A handler that panicked to abort it (http.ErrAbortHandler) leaves the reader an error.
func (w *loopbackWriter) finish() {
	aborted := recover()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if aborted != nil {
		w.failed = io.ErrUnexpectedEOF
		w.writeHeader(http.StatusInternalServerError)
	}
	w.writeHeader(http.StatusOK)
	w.more.Broadcast()
}

type loopbackBody struct {
	w      *loopbackWriter
	cancel context.CancelFunc
}

func (b *loopbackBody) Read(p []byte) (int, error) {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.unread) == 0 && !w.done && !w.cancelled() {
		w.more.Wait()
	}
	if len(w.unread) > 0 {
		n := copy(p, w.unread)
		w.unread = w.unread[n:]
		if len(w.unread) == 0 {
			w.unread = nil
		}
		w.more.Broadcast()
		return n, nil
	}
	if w.failed != nil {
		return 0, w.failed
	}
	if !w.done {
		return 0, context.Canceled
	}
	return 0, io.EOF
}

func (b *loopbackBody) Close() error {
	b.cancel()
	return nil
}
