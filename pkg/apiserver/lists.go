// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// What lists may take at once, in bytes of their answers. An answer takes about three times its size while it is made: as the storage has it, as
// objects, and as text. The lists that are small cost nothing and wait for nobody.
const (
	listBudget   = 24 << 20
	smallList    = 256 << 10
	unknownList  = 4 << 20 // one that nobody has asked for yet
	zippedFactor = 8       // how much larger an answer was before it was gzip'd, about
	// listPatience is how long a list waits for others before its client is told to come back, as in kube-apiserver a quarter of the request's time.
	listPatience = 15 * time.Second
	// listsKnown bounds for how many paths the size of the last answer is remembered.
	listsKnown = 4096
)

// lists keeps large lists from being made all at once: a hundred clients that list ten thousand objects would need gigabytes. Kubernetes does the same
// by priority and fairness. Who waits is served in order of arrival.
type lists struct {
	budget *semaphore.Weighted
	mu     sync.Mutex
	sizes  map[string]int64 // of the last answer, by path
}

func newLists() *lists {
	return &lists{budget: semaphore.NewWeighted(listBudget), sizes: map[string]int64{}}
}

// limit has handler make no more lists at once than the budget allows.
func (l *lists) limit(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest || info.Verb != "list" || r.URL.Query().Get("limit") != "" && r.URL.Query().Get("limit") != "0" {
			handler.ServeHTTP(w, r)
			return
		}
		if weight := l.weight(r.URL.Path); weight > smallList {
			ctx, cancel := context.WithTimeout(r.Context(), listPatience)
			err := l.budget.Acquire(ctx, weight)
			cancel()
			if err != nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
				return
			}
			defer l.budget.Release(weight)
		}
		counted := &countingWriter{ResponseWriter: w}
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(counted), r)
		if w.Header().Get("Content-Encoding") == "gzip" {
			counted.bytes *= zippedFactor
		}
		l.learn(r.URL.Path, counted.bytes)
	})
}

// weight is what the list at path is likely to take of the budget.
func (l *lists) weight(path string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, ok := l.sizes[path]
	if !ok {
		return unknownList
	}
	return min(size, listBudget)
}

func (l *lists) learn(path string, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.sizes[path]; !ok && len(l.sizes) >= listsKnown {
		clear(l.sizes)
	}
	l.sizes[path] = size
}

// countingWriter counts what is written.
type countingWriter struct {
	http.ResponseWriter
	bytes int64
}

func (w *countingWriter) Write(data []byte) (int, error) {
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets the machinery find what else the writer can do.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var _ responsewriter.UserProvidedDecorator = (*countingWriter)(nil)
