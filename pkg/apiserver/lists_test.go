// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"
)

// listing is a server of one list, which holds its answers back until it is told, and knows how many are being made.
type listing struct {
	lists   *lists
	handler http.Handler
	begun   chan struct{}
	answer  chan struct{}
}

// objects are those of a resource, which nobody has counted before the first list of everything.
type objects struct {
	mu      sync.Mutex
	now     storage.Stats
	counted *storage.Stats
}

func (o *objects) Get(string) (storage.Stats, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counted == nil {
		return storage.Stats{}, errors.New("not counted")
	}
	return *o.counted, nil
}

func (o *objects) Now(context.Context, string) (storage.Stats, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counted = &storage.Stats{}
	*o.counted = o.now
	return o.now, nil
}

func newListing(size int) *listing {
	s := &listing{lists: newLists(&objects{}), begun: make(chan struct{}, 100), answer: make(chan struct{})}
	text := strings.Repeat("x", size)
	s.handler = s.lists.limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.begun <- struct{}{}
		<-s.answer
		_, _ = w.Write([]byte(text)) // a recorder does not fail
	}))
	return s
}

func (s *listing) ask(ctx context.Context, verb, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	r = r.WithContext(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{IsResourceRequest: true, Verb: verb, Resource: "configmaps", Path: r.URL.Path}))
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func TestLargeListsWait(t *testing.T) {
	const size = listBudget / 3
	s := newListing(size)
	var first sync.WaitGroup
	first.Go(func() { s.ask(t.Context(), "list", "/api/v1/configmaps") })
	<-s.begun
	s.answer <- struct{}{}
	first.Wait()
	if got := s.lists.weight(t.Context(), &apirequest.RequestInfo{Resource: "configmaps"}, "/api/v1/configmaps"); got != size {
		t.Fatalf("the size of an answer of %d bytes is taken for %d", size, got)
	}

	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if w := s.ask(t.Context(), "list", "/api/v1/configmaps"); w.Code != http.StatusOK || w.Body.Len() != size {
				t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
			}
		})
	}
	for range 3 {
		<-s.begun
	}
	// Three fill the budget: a fourth waits, and one whose client has gone meanwhile is told to come back.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := s.ask(gone, "list", "/api/v1/configmaps"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("one too many: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	// Others do not wait: a page of a list, a watch, a small list.
	s.lists.learn("/api/v1/secrets", 10, true)
	for _, other := range [][2]string{{"list", "/api/v1/configmaps?limit=500"}, {"watch", "/api/v1/configmaps"}, {"list", "/api/v1/secrets"}, {"get", "/api/v1/configmaps"}} {
		all.Go(func() { s.ask(t.Context(), other[0], other[1]) })
		<-s.begun
	}
	if len(s.begun) != 0 {
		t.Errorf("%d lists more than the budget allows", len(s.begun))
	}
	close(s.answer)
	all.Wait()
}

// An answer that is larger than the budget is made, alone; a zipped one is taken for what it was.
func TestHugeLists(t *testing.T) {
	l := newLists(&objects{})
	handler := l.limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(make([]byte, listBudget/zippedFactor+1))
	}))
	s := &listing{lists: l, handler: handler}
	for range 2 {
		if w := s.ask(t.Context(), "list", "/api/v1/events"); w.Code != http.StatusOK {
			t.Errorf("code %d", w.Code)
		}
	}
	if got := l.weight(t.Context(), &apirequest.RequestInfo{Resource: "events"}, "/api/v1/events"); got != listBudget {
		t.Errorf("weight %d, want %d", got, listBudget)
	}
}

// Asking for ever other paths does not fill the memory.
func TestListsAreForgotten(t *testing.T) {
	l := newLists(&objects{})
	for i := range 3 * listsKnown {
		l.learn(strings.Repeat("x", i%7)+string(rune('a'+i)), 1, true)
		if len(l.sizes) > listsKnown {
			t.Fatalf("%d are remembered", len(l.sizes))
		}
	}
}

// What a list is taken for is no less than what there is, and a list that was cut short says nothing.
func TestWeightOfLists(t *testing.T) {
	const path = "/api/v1/configmaps"
	large := storage.Stats{ObjectCount: 1000, EstimatedAverageObjectSizeBytes: 1000}
	whole, part := &apirequest.RequestInfo{Resource: "configmaps"}, &apirequest.RequestInfo{Resource: "configmaps", Namespace: "a"}
	for _, tt := range []struct {
		name  string
		now   storage.Stats
		learn func(*lists)
		info  *apirequest.RequestInfo
		what  string
		want  int64
	}{
		{"nothing is stored", storage.Stats{}, nil, whole, path, 0},
		{"never asked for", large, nil, whole, path, 1_000_000 * textFactor},
		{"more than the budget", storage.Stats{ObjectCount: 1000, EstimatedAverageObjectSizeBytes: 100_000}, nil, whole, path, listBudget},
		{"it was small, and has grown", large, func(l *lists) { l.learn(path, 10, true) }, whole, path, 1_000_000 * textFactor},
		{"it was larger than what is stored", large, func(l *lists) { l.learn(path, 5_000_000, true) }, whole, path, 5_000_000},
		{"a namespace that nobody has asked for", large, nil, part, path, unknownList},
		{"a namespace", large, func(l *lists) { l.learn(path, 10, true) }, part, path, 10},
		{"a selector", large, func(l *lists) { l.learn(path+"?", 10, true) }, whole, path + "?", 10},
		{"who asked has gone", large, func(l *lists) { l.learn(path+"?", 10, false) }, whole, path + "?", unknownList},
		{"who asked has gone, others have not", large, func(l *lists) { l.learn(path+"?", 9, true); l.learn(path+"?", 5, false) }, whole, path + "?", 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLists(&objects{now: tt.now})
			if tt.learn != nil {
				tt.learn(l)
			}
			if got := l.weight(t.Context(), tt.info, tt.what); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// Lists that wait as small ones, because nobody has asked before, hear how large they are from the first of them.
func TestListsThatWaitLearn(t *testing.T) {
	s := newListing(listBudget)
	var all sync.WaitGroup
	for range 3 * listBudget / unknownList {
		all.Go(func() { s.ask(t.Context(), "list", "/api/v1/configmaps?labelSelector=a") })
	}
	for range listBudget / unknownList {
		<-s.begun
	}
	for range listBudget / unknownList {
		s.answer <- struct{}{}
	}
	for range 2 * listBudget / unknownList {
		<-s.begun
		s.answer <- struct{}{}
		if n := len(s.begun); n > 1 {
			t.Errorf("%d lists at once of which each takes the whole budget", n+1)
		}
	}
	all.Wait()
}
