// SPDX-License-Identifier: Apache-2.0

package load

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// body notes when the last byte of an answer has come.
type body struct{ last atomic.Pointer[time.Time] }

// end is when the last answer that came whole had come; now, when none has.
func (b *body) end() time.Time {
	if t := b.last.Load(); t != nil {
		return *t
	}
	return time.Now()
}

// watch wraps the transport of a client.
func (b *body) watch(inner http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := inner.RoundTrip(r)
		if err == nil {
			response.Body = &watchedBody{response.Body, b}
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type watchedBody struct {
	io.ReadCloser
	body *body
}

// Read implements io.Reader.
func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err == io.EOF {
		now := time.Now()
		w.body.last.Store(&now)
	}
	return n, err
}
