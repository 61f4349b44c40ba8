// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// The machinery's own way to stop waits for every connection to be idle: a client that watches keeps it waiting for a minute, one
// that speaks HTTP/2 for a second, and a terminal (exec) goes on after it. Here requests that would not end by themselves are
// ended, the others finish, and then the connections are closed. With no client connected it takes about 2 ms.

const (
	// finishWithin is how long requests may take that are in flight when the server stops.
	finishWithin = 5 * time.Second
	// deliverWithin is how long the last bytes of a response may take from its handler to the connection.
	deliverWithin = 50 * time.Millisecond
)

// Stop ends the server. It refuses what is new from the moment that it is called.
func (s *Server) Stop(ctx context.Context) error {
	if s.cancel == nil {
		return nil
	}
	s.loopback.Close()
	s.cancel() // the server is not ready any more, which those hear who ask before their other requests are refused
	s.once.Do(func() { close(s.stopping) })
	defer s.control.Counts.Wait()
	s.requests.endLong()
	defer s.listener.closeConnections()
	s.requests.finish(ctx)
	select {
	case err := <-s.done: // every connection was idle
		return err
	case <-time.After(deliverWithin):
		s.listener.closeConnections()
	}
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("requests still run: %w", context.Cause(ctx))
	}
}

// requests knows how many requests are in flight, and ends those that take as long as the client likes: watches, logs that are
// followed.
type requests struct {
	inFlight atomic.Int64 // but for long ones
	stopping context.Context
	endLong  context.CancelFunc
}

func newRequests() *requests {
	r := &requests{}
	r.stopping, r.endLong = context.WithCancel(context.Background())
	return r
}

// track is a filter within the machinery's, which have found out what is asked for.
func (t *requests) track(handler http.Handler, isLong apirequest.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := apirequest.RequestInfoFrom(r.Context()); ok && isLong(r, info) {
			ctx, cancel := context.WithCancel(r.Context())
			stop := context.AfterFunc(t.stopping, cancel)
			r = r.WithContext(ctx)
			defer atEnd(r, func() {
				stop()
				cancel()
			})
		} else {
			t.inFlight.Add(1)
			defer t.inFlight.Add(-1)
		}
		handler.ServeHTTP(w, r)
	})
}

// finish waits for requests to finish, for as long as they may take.
func (t *requests) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for t.inFlight.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
