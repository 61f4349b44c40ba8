// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	"k8s.io/apiserver/pkg/storage"
)

// What lists may take at once, in bytes of their answers. An answer takes about three times its size while it is made: as the storage has it, as
// objects, and as text. The lists that are small cost nothing and wait for nobody.
const (
	listBudget   = 24 << 20
	smallList    = 256 << 10
	unknownList  = 4 << 20 // one that nobody has asked for yet, at most, where it is of one namespace
	textFactor   = 2       // how much larger an answer is than what is stored, about
	zippedFactor = 8       // how much larger an answer was before it was gzip'd, about
	// listPatience is how long a list waits for others before its client is told to come back, as in kube-apiserver a quarter of the request's time.
	listPatience = 15 * time.Second
	// listsKnown bounds for how many lists the size of the last answer is remembered.
	listsKnown = 4096
)

// lists keeps large lists from being made all at once: a hundred clients that list ten thousand objects would need gigabytes. Kubernetes does the same
// by priority and fairness. Who waits is served in order of arrival.
type lists struct {
	budget *semaphore.Weighted
	stored stored
	mu     sync.Mutex
	sizes  map[string]int64 // of the last answer, by what was asked for
}

// stored tells how many objects there are of a resource, and how large they are: as of the last minute, or of now.
type stored interface {
	Get(resource string) (storage.Stats, error)
	Now(ctx context.Context, resource string) (storage.Stats, error)
}

func newLists(s stored) *lists {
	return &lists{budget: semaphore.NewWeighted(listBudget), stored: s, sizes: map[string]int64{}}
}

// limit has handler make no more lists at once than the budget allows.
func (l *lists) limit(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest || info.Verb != "list" || r.URL.Query().Get("limit") != "" && r.URL.Query().Get("limit") != "0" {
			handler.ServeHTTP(w, r)
			return
		}
		what := asked(r)
		weight, err := l.acquire(r.Context(), info, what)
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
			return
		}
		defer l.budget.Release(weight)
		counted := &countingWriter{ResponseWriter: w}
		handler.ServeHTTP(responsewriter.WrapForHTTP1Or2(counted), r)
		if w.Header().Get("Content-Encoding") == "gzip" {
			counted.bytes *= zippedFactor
		}
		l.learn(what, counted.bytes, r.Context().Err() == nil)
	})
}

// asked is what a list is asked for: with a selector the same path has a smaller answer.
func asked(r *http.Request) string {
	if query := r.URL.Query(); query.Get("labelSelector") != "" || query.Get("fieldSelector") != "" {
		return r.URL.Path + "?"
	}
	return r.URL.Path
}

// acquire waits for the list's part of the budget and returns it, for the caller to release. A small list has none. While it waits those before
// it may tell how large it is.
func (l *lists) acquire(ctx context.Context, info *apirequest.RequestInfo, what string) (int64, error) {
	weight := l.weight(ctx, info, what)
	if weight <= smallList {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	for {
		if err := l.budget.Acquire(ctx, weight); err != nil {
			return 0, err
		}
		now := l.weight(ctx, info, what)
		if now <= weight {
			return weight, nil
		}
		l.budget.Release(weight)
		weight = now
	}
}

// weight is what a list is likely to take of the budget: what it took last, but for one of everything, which may have grown since, no less than what is
// stored by now.
func (l *lists) weight(ctx context.Context, info *apirequest.RequestInfo, what string) int64 {
	l.mu.Lock()
	size, known := l.sizes[what]
	l.mu.Unlock()
	resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}.String()
	everything := info.Namespace == "" && !strings.HasSuffix(what, "?")
	switch {
	case everything && size < listBudget:
		if stats, err := l.stored.Now(ctx, resource); err == nil {
			size = max(size, sizeOf(stats))
		} else if !known {
			size = unknownList
		}
	case !known:
		size = unknownList
		if stats, err := l.stored.Get(resource); err == nil {
			size = min(size, sizeOf(stats))
		}
	}
	return min(size, listBudget)
}

func sizeOf(s storage.Stats) int64 {
	return s.ObjectCount * s.EstimatedAverageObjectSizeBytes * textFactor
}

// learn remembers how large an answer was. One that was not read to its end is as large at least.
func (l *lists) learn(what string, size int64, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.sizes[what]
	if !whole {
		size = max(size, last)
		if !ok {
			return
		}
	}
	if !ok && len(l.sizes) >= listsKnown {
		clear(l.sizes)
	}
	l.sizes[what] = size
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
