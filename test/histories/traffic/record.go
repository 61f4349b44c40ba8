// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

// Record collects what clients see. It may be used from many goroutines.
type Record struct {
	began time.Time

	mu       sync.Mutex
	history  judge.History
	objects  map[judge.Object]*judge.Object // each distinct one once
	deaths   []int64                        // times at which the server was dead
	refusals map[string]int                 // answers by what they say
	newest   map[string]int64               // version of each resource that was seen
	strange  []error                        // answers that no request here should get
	pauses   int64                          // longest time that a request took
}

// NewRecord begins a record.
func NewRecord() *Record {
	r := &Record{began: time.Now(), objects: map[judge.Object]*judge.Object{}, refusals: map[string]int{}, newest: map[string]int64{}}
	r.history.HasGeneration = map[string]bool{}
	for _, k := range kinds {
		r.history.HasGeneration[k.resource] = k.hasGeneration
	}
	return r
}

// now is the time of the record, in nanoseconds. The clock is monotonic.
func (r *Record) now() int64 { return int64(time.Since(r.began)) }

// Died notes that the server is dead and nothing listens yet: what it has not answered so far has happened by now, or never will.
func (r *Record) Died() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaths = append(r.deaths, r.now())
}

func (r *Record) request(q judge.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Requests = append(r.history.Requests, q)
	r.seen(q.Resource, q.Got.Version)
}

func (r *Record) list(l *judge.List) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Lists = append(r.history.Lists, l)
	r.seen(l.Resource, l.Version)
}

// watch begins what a watcher sees from a version on.
func (r *Record) watch(w *judge.Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Watches = append(r.history.Watches, w)
}

// event adds to a watch that has begun.
func (r *Record) event(w *judge.Watch, t judge.EventType, o judge.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Events = append(w.Events, judge.Event{Type: t, Object: r.intern(o)})
	r.seen(w.Resource, o.Version)
}

func (r *Record) seen(resource string, version int64) {
	r.newest[resource] = max(r.newest[resource], version)
}

// version is the newest of a resource that anyone has seen.
func (r *Record) version(resource string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest[resource]
}

func (r *Record) keep(o judge.Object) *judge.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.intern(o)
}

func (r *Record) intern(o judge.Object) *judge.Object {
	if kept := r.objects[o]; kept != nil {
		return kept
	}
	r.objects[o] = &o
	return &o
}

// refused counts an answer that is no success.
func (r *Record) refused(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusals[text]++
}

// unexpected keeps an answer that is wrong whatever the history; the first of many are enough.
func (r *Record) unexpected(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.strange) < 20 {
		r.strange = append(r.strange, err)
	}
}

// took notes how long a request had to wait for its answer.
func (r *Record) took(call int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pauses = max(r.pauses, r.now()-call)
}

// Refusals are the answers so far that were no success, and how often each came; they begin anew.
func (r *Record) Refusals() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.refusals
	r.refusals = map[string]int{}
	return was
}

// Longest is how long the slowest request since the last call took.
func (r *Record) Longest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.pauses
	r.pauses = 0
	return time.Duration(was)
}

// Counts says how much was recorded.
type Counts struct {
	Requests, Acknowledged, Unanswered, Lists, Watches, Events int
}

func (c Counts) String() string {
	return fmt.Sprintf("%d requests (%d acknowledged writes, %d unanswered), %d lists, %d watches with %d events",
		c.Requests, c.Acknowledged, c.Unanswered, c.Lists, c.Watches, c.Events)
}

// Counts counts what was recorded so far.
func (r *Record) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := Counts{Requests: len(r.history.Requests), Lists: len(r.history.Lists), Watches: len(r.history.Watches)}
	for _, q := range r.history.Requests {
		switch {
		case q.Outcome == judge.Unknown:
			c.Unanswered++
		case q.Outcome == judge.OK && q.Verb != judge.Get:
			c.Acknowledged++
		}
	}
	for _, w := range r.history.Watches {
		c.Events += len(w.Events)
	}
	return c
}

// Judge says what is wrong with all that was recorded. Nothing may be recorded any more.
func (r *Record) Judge() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := r.now()
	for i := range r.history.Requests {
		q := &r.history.Requests[i]
		if q.Outcome != judge.Unknown || q.Settled {
			continue
		}
		// The server may be at it still when the connection breaks, and is not when it is dead. A connection that broke later may have been to the next.
		i, _ := slices.BinarySearch(r.deaths, q.Return)
		if q.Return = end; i < len(r.deaths) {
			q.Return = r.deaths[i]
		}
	}
	return append(r.strange, judge.Errors(&r.history)...)
}

// Write writes all that was recorded, one line each request, list and event, for a person to read.
func (r *Record) Write(out io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := bufio.NewWriter(out)
	for _, q := range r.history.Requests {
		fmt.Fprintln(w, q)
	}
	for _, l := range r.history.Lists {
		fmt.Fprintln(w, l)
		for _, o := range l.Items {
			fmt.Fprintln(w, "  ", o)
		}
	}
	for _, watch := range r.history.Watches {
		fmt.Fprintln(w, watch)
		for _, e := range watch.Events {
			fmt.Fprintln(w, "  ", e.Type, e.Object)
		}
	}
	return w.Flush()
}
