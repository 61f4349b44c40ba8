// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// listing is a server of one list, which holds its answers back until it is told, and knows how many are being made.
type listing struct {
	lists   *lists
	handler http.Handler
	begun   chan struct{}
	answer  chan struct{}
}

func newListing(size int) *listing {
	s := &listing{lists: newLists(), begun: make(chan struct{}, 100), answer: make(chan struct{})}
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
	if got := s.lists.weight("/api/v1/configmaps"); got != size {
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
	s.lists.learn("/api/v1/secrets", 10)
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
	l := newLists()
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
	if got := l.weight("/api/v1/events"); got != listBudget {
		t.Errorf("weight %d, want %d", got, listBudget)
	}
}

// Asking for ever other paths does not fill the memory.
func TestListsAreForgotten(t *testing.T) {
	l := newLists()
	for i := range 3 * listsKnown {
		l.learn(strings.Repeat("x", i%7)+string(rune('a'+i)), 1)
		if len(l.sizes) > listsKnown {
			t.Fatalf("%d are remembered", len(l.sizes))
		}
	}
}
