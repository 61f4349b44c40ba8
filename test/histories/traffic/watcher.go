// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

// watcher watches a resource as long as clients write to it, through breaks that it makes itself, that the server makes, and restarts.
type watcher struct {
	client
	kind    *kind
	name    string // the only object it watches; "" for all
	initial bool   // begins with initial events, not with a list
	steady  bool   // breaks off only when the server does
	// ending ends when watches are to see no more than the last change.
	ending context.Context

	watch *judge.Watch // nil before it has begun, and when its last version has expired
	last  int64
}

// errExpired is what an honest server says of a version that is too old to go on from.
var errExpired = errors.New("the version has expired")

// run watches until the watch has reached a version that until sends, or ctx ends.
func (w *watcher) run(ctx context.Context, until func() int64) {
	defer w.close()
	for ctx.Err() == nil {
		end := until()
		if end > 0 && w.last >= end {
			return
		}
		err := w.begin(ctx)
		if err == nil {
			err = w.stream(ctx, end)
		}
		var status *statusError
		switch {
		case err == nil, errors.As(err, new(broken)):
		case errors.Is(err, errAway):
			idle(ctx.Done(), awayFor)
		case errors.Is(err, errExpired), errors.As(err, &status) && status.Code == http.StatusGone:
			w.record.refused("watch: " + err.Error())
			w.watch = nil
		case errors.As(err, &status) && (status.Code >= 500 || status.Reason == metav1.StatusReasonTooManyRequests || status.Reason == metav1.StatusReasonNotFound):
			w.record.refused("watch: " + err.Error())
			idle(ctx.Done(), awayFor)
		default:
			w.record.unexpected(fmt.Errorf("watch of %s: %w", judge.Key{Resource: w.kind.resource, Name: w.name}, err))
			idle(ctx.Done(), awayFor)
		}
	}
}

// begin lists what there is, unless the watch has begun or begins with initial events.
func (w *watcher) begin(ctx context.Context) error {
	if w.watch != nil || w.initial {
		return nil
	}
	l := &judge.List{Client: w.id, Resource: w.kind.resource, Call: w.record.now()}
	if _, err := w.page(ctx, w.kind, l, nil); err != nil {
		return err
	}
	w.record.list(l)
	watch := &judge.Watch{Client: w.id, Resource: w.kind.resource, Name: w.name, From: l.Version, Listed: true}
	for _, o := range l.Items {
		if w.name == "" || o.Name == w.name {
			watch.State = append(watch.State, o)
		}
	}
	w.start(watch)
	return nil
}

func (w *watcher) start(watch *judge.Watch) {
	w.watch, w.last = watch, watch.From
	w.record.watch(watch)
}

// stream watches from the last version on until the connection ends.
func (w *watcher) stream(ctx context.Context, end int64) error {
	query := url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(3 + w.random.IntN(10))}}
	if w.name != "" {
		query.Set("fieldSelector", "metadata.name="+w.name)
	}
	if w.watch != nil {
		query.Set("resourceVersion", strconv.FormatInt(w.last, 10))
	} else {
		query.Set("sendInitialEvents", "true")
		query.Set("resourceVersionMatch", string(judge.NotOlderThan))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if end == 0 {
		defer context.AfterFunc(w.ending, cancel)()
	}
	if !w.steady && w.random.IntN(2) == 0 {
		defer time.AfterFunc(time.Duration(w.random.IntN(4000))*time.Millisecond, cancel).Stop()
	}
	response, err := w.open(ctx, http.MethodGet, w.kind.path(""), query, "", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := json.NewDecoder(response.Body)
	var initial []*judge.Object
	for {
		var e wireEvent
		if err := lines.Decode(&e); err != nil {
			return broken{err} // also where the server ends the watch
		}
		if initial, err = w.see(e, initial); err != nil {
			return err
		}
		if end > 0 && w.last >= end {
			return nil
		}
	}
}

// see records an event. While the watch has not begun, it collects initial events.
func (w *watcher) see(e wireEvent, initial []*judge.Object) ([]*judge.Object, error) {
	if e.Type == "ERROR" {
		var status metav1.Status
		if err := json.Unmarshal(e.Object, &status); err != nil {
			return nil, err
		}
		if status.Code == http.StatusGone {
			return nil, fmt.Errorf("%w: %s", errExpired, status.Message)
		}
		return nil, &statusError{status}
	}
	var out wire
	if err := json.Unmarshal(e.Object, &out); err != nil {
		return nil, err
	}
	o, err := out.object(w.kind)
	if err != nil {
		return nil, err
	}
	t, ok := map[string]judge.EventType{"ADDED": judge.Added, "MODIFIED": judge.Modified, "DELETED": judge.Deleted, "BOOKMARK": judge.Bookmark}[e.Type]
	if !ok {
		return nil, fmt.Errorf("an event has type %q", e.Type)
	}
	if t == judge.Bookmark {
		o = judge.Object{Version: o.Version}
	}
	if w.watch == nil {
		switch {
		case t == judge.Added:
			return append(initial, w.record.keep(o)), nil
		case t != judge.Bookmark || out.Metadata.Annotations[metav1.InitialEventsAnnotationKey] != "true":
			return nil, fmt.Errorf("%s of %s before the bookmark that ends the initial events", t, o)
		}
		w.start(&judge.Watch{Client: w.id, Resource: w.kind.resource, Name: w.name, From: o.Version, Listed: true, State: initial})
		return nil, nil
	}
	w.record.event(w.watch, t, o)
	w.last = max(w.last, o.Version)
	return nil, nil
}

// newWatchers are those of one resource: one that sees all, and is broken off by the server alone; one that breaks off itself; one that begins with
// initial events; one of a single object.
func newWatchers(ending context.Context, server *Server, record *Record, k *kind, names []string, seed uint64, id int) []*watcher {
	var all []*watcher
	for i, w := range []watcher{{steady: true}, {}, {initial: true}, {name: names[0]}} {
		w.client = client{connection: server.connect(), id: id + i, record: record, random: rand.New(rand.NewPCG(seed, uint64(id+i))), names: names}
		w.kind, w.ending = k, ending
		all = append(all, &w)
	}
	return all
}
