// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"sync"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// The machinery bounds how long a client may take for a handshake and a header (32 s) and how long a connection may be idle (90 s). It
// answers a request that does not last after RequestTimeout, but cannot help waiting for a client that sends its body, or reads its answer,
// byte by byte: a goroutine, the memory of the request and its place among those that the server works on would be the client's for as
// long as it likes.

// slowGrace is what such a client has beyond RequestTimeout to hear that it was too slow.
const slowGrace = 5 * time.Second

// endSlow is a filter near the outer end of the chain, where the response is still net/http's own. Requests that last are the client's to
// end.
func endSlow(handler http.Handler, isLong apirequest.LongRunningRequestCheck, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if _, local := w.(*loopbackWriter); local || !ok || isLong(r, info) {
			handler.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			// What the handler leaves of the body net/http reads after it, so this lasts longer than the handler; net/http takes it back
			// before the next request.
			_ = control.SetReadDeadline(time.Now().Add(within))
		}
		var mu sync.Mutex
		served := false
		timer := time.AfterFunc(within, func() {
			mu.Lock()
			defer mu.Unlock()
			if !served {
				_ = control.SetWriteDeadline(time.Now())
			}
		})
		defer func() {
			timer.Stop()
			mu.Lock()
			defer mu.Unlock()
			served = true
		}()
		handler.ServeHTTP(w, r)
	})
}
