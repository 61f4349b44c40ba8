// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3/metrics"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/klog/v2"
)

// resultsAhead is how many events of a watch are decoded before somebody takes them. Those behind them wait as etcd has them, which all watches share.
const resultsAhead = 16

// maxWaiting is how many bytes of objects may wait for who watches; many watches share most of them. A watch that is further behind ends, and its client begins
// another where it is: Kubernetes' watch cache does the same, and a client that reads no more would make the server keep all that is written.
const maxWaiting = 32 << 20

// watching is a store whose watches are the hub's. They tell the same as those of the API machinery's own store, which has three goroutines for each and room for
// two hundred events: a watch here has a goroutine only while there is something to tell, so one that waits takes a kilobyte and not
// twenty. What is there when a watch begins is still the inner store's to tell.
//
// Who watches, and wants it, gets a bookmark every BookmarkInterval in which nothing else came, as from Kubernetes' watch cache. Without, the last
// version that a watcher of a quiet resource knows would be forgotten before its watch times out, and it had to list anew each time.
type watching struct {
	storage.Interface
	hub            *hub
	prefix         string // of the paths of all resources
	resourcePrefix string
	resource       schema.GroupResource
	newObject      func() runtime.Object
	codec          runtime.Codec
	versioner      storage.Versioner
	transformer    value.Transformer
}

// Watch implements storage.Interface.
func (s *watching) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	key, err := storage.PrepareKey(s.resourcePrefix, key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	rev, err := s.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	initial := rev == 0
	if opts.SendInitialEvents != nil {
		initial = *opts.SendInitialEvents
	}
	if rev == 0 && !initial {
		if rev, err = s.GetCurrentResourceVersion(ctx); err != nil {
			return nil, err
		}
	}
	w := &watcher{
		store: s, ctx: ctx, key: path.Join("/", s.prefix) + "/" + strings.TrimPrefix(key, "/"), recursive: opts.Recursive, pred: opts.Predicate, all: opts.Predicate.Empty(),
		bookmarks: opts.Predicate.AllowWatchBookmarks, results: make(chan watch.Event, resultsAhead), done: make(chan struct{}),
	}
	w.quiet.Store(true)
	if initial {
		marked := opts.SendInitialEvents != nil && w.bookmarks
		opts.SendInitialEvents, opts.Predicate.AllowWatchBookmarks = &initial, true
		inner, err := s.Interface.Watch(ctx, key, opts)
		if err != nil {
			return nil, err
		}
		w.working = true
		w.endWith(ctx)
		go w.begin(inner, marked)
	} else {
		w.endWith(ctx)
		if err := w.open(int64(rev) + 1); err != nil {
			w.Stop()
			return nil, err
		}
	}
	flowcontrol.WatchInitialized(ctx)
	return w, nil
}

// watcher is one watch.
type watcher struct {
	store     *watching
	ctx       context.Context
	key       string
	recursive bool
	pred      storage.SelectionPredicate
	all       bool // pred is none
	bookmarks bool

	results chan watch.Event
	done    chan struct{} // closed by Stop
	quiet   atomic.Bool   // nothing came since the hub has last looked

	mu      sync.Mutex
	forget  func() bool          // context's interest in the watch
	id      mvcc.WatchID         // the hub's; 0 before it is open
	waiting []mvcc.WatchResponse // not looked at yet
	bytes   int                  // that wait
	working bool                 // a goroutine looks at them
	ended   bool
}

// endWith has the watch end with ctx.
func (w *watcher) endWith(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget = context.AfterFunc(ctx, w.Stop)
}

// open begins to watch from a revision on.
func (w *watcher) open(from int64) error {
	var end []byte
	if w.recursive {
		end = rangeEnd(w.key)
	}
	return w.store.hub.add(w, []byte(w.key), end, from)
}

// opened is told the hub's id, which Stop needs. It is false where Stop was called before.
func (w *watcher) opened(id mvcc.WatchID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = id
	return !w.ended
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface.
func (w *watcher) Stop() {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return
	}
	w.ended = true
	w.waiting = nil
	close(w.done)
	if !w.working {
		close(w.results)
	}
	id := w.id
	w.forget()
	w.mu.Unlock()
	if id != 0 {
		w.store.hub.remove(id)
	}
}

// begin tells what there is, which inner knows and marks the end of, and goes on from there.
func (w *watcher) begin(inner watch.Interface, marked bool) {
	defer w.work()
	defer inner.Stop()
	for {
		var event watch.Event
		select {
		case e, ok := <-inner.ResultChan():
			if !ok {
				w.Stop()
				return
			}
			event = e
		case <-w.done:
			return
		}
		if event.Type != watch.Bookmark {
			if !w.send(event) || event.Type == watch.Error {
				w.Stop()
				return
			}
			continue
		}
		rev, err := w.store.versioner.ObjectResourceVersion(event.Object)
		if err == nil && marked && !w.send(event) {
			return
		}
		if err == nil {
			err = w.open(int64(rev) + 1)
		}
		if err != nil {
			w.fail(err)
		}
		return
	}
}

// deliver takes what the hub has. It does not wait.
func (w *watcher) deliver(r mvcc.WatchResponse) {
	if len(r.Events) > 0 {
		w.quiet.Store(false)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	for _, e := range r.Events {
		w.bytes += len(e.Kv.Value)
	}
	if w.bytes > maxWaiting {
		klog.V(2).InfoS("Watch ended", "resource", w.store.resource, "reason", "its client reads too slowly")
		w.waiting = nil
		go w.Stop() // which waits for who delivers
		return
	}
	w.waiting = append(w.waiting, r)
	if !w.working {
		w.working = true
		go w.work()
	}
}

// work tells what waits, until nothing does.
func (w *watcher) work() {
	for {
		w.mu.Lock()
		batch := w.waiting
		w.waiting, w.bytes = nil, 0
		if len(batch) == 0 || w.ended {
			w.working = false
			if w.ended {
				close(w.results)
			}
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for _, r := range batch {
			if err := w.tell(r); err != nil {
				w.fail(err)
				break
			}
		}
	}
}

// tell tells what a response of etcd's says.
func (w *watcher) tell(r mvcc.WatchResponse) error {
	if r.CompactRevision != 0 {
		return rpctypes.ErrCompacted
	}
	if len(r.Events) == 0 {
		metrics.RecordEtcdBookmark(w.store.resource)
		object := w.store.newObject()
		if err := w.store.versioner.UpdateObject(object, uint64(r.Revision)); err != nil {
			return fmt.Errorf("set the resource version of a bookmark: %w", err)
		}
		w.send(watch.Event{Type: watch.Bookmark, Object: object})
		return nil
	}
	for _, e := range r.Events {
		metrics.RecordEtcdEvent(w.store.resource)
		event, err := w.eventOf(e)
		if err != nil {
			return err
		}
		if event.Type != "" && !w.send(event) {
			return nil
		}
	}
	return nil
}

// eventOf is what a change is to this watch: nothing, where neither the object before nor that after it is selected.
func (w *watcher) eventOf(e *mvccpb.Event) (watch.Event, error) {
	deleted, created := e.Type == mvccpb.Event_DELETE, e.Type == mvccpb.Event_PUT && e.Kv.CreateRevision == e.Kv.ModRevision
	var now, before runtime.Object
	var err error
	if !deleted {
		if now, err = w.decode(e.Kv.Key, e.Kv.Value, e.Kv.ModRevision); err != nil {
			return watch.Event{}, err
		}
		if w.all {
			if created {
				return watch.Event{Type: watch.Added, Object: now}, nil
			}
			return watch.Event{Type: watch.Modified, Object: now}, nil
		}
	}
	if !created {
		value, err := w.store.hub.before(w.ctx, e.Kv.Key, e.Kv.ModRevision)
		if errors.Is(err, rpctypes.ErrCompacted) {
			return watch.Event{}, err
		}
		if err != nil {
			return watch.Event{}, fmt.Errorf("read %s as it was before revision %d: %w", e.Kv.Key, e.Kv.ModRevision, err)
		}
		// What is deleted has the resource version at which it was.
		if before, err = w.decode(e.Kv.Key, value, e.Kv.ModRevision); err != nil {
			return watch.Event{}, err
		}
	}
	is, was := now != nil && w.selects(now), before != nil && w.selects(before)
	switch {
	case is && was:
		return watch.Event{Type: watch.Modified, Object: now}, nil
	case is:
		return watch.Event{Type: watch.Added, Object: now}, nil
	case was:
		return watch.Event{Type: watch.Deleted, Object: before}, nil
	}
	return watch.Event{}, nil
}

func (w *watcher) decode(key, data []byte, rev int64) (runtime.Object, error) {
	data, _, err := w.store.transformer.TransformFromStorage(w.ctx, data, value.DefaultContext(key))
	if err != nil {
		return nil, err
	}
	object, err := runtime.Decode(w.store.codec, data)
	if err != nil {
		return nil, err
	}
	if err := w.store.versioner.UpdateObject(object, uint64(rev)); err != nil {
		return nil, fmt.Errorf("set the resource version of %s: %w", key, err)
	}
	return object, nil
}

func (w *watcher) selects(object runtime.Object) bool {
	if w.all {
		return true
	}
	matches, err := w.pred.Matches(object)
	return err == nil && matches
}

// send waits until the event is taken, or there is room. It is false when the watch has ended.
func (w *watcher) send(event watch.Event) bool {
	select {
	case w.results <- event:
		return true
	case <-w.done:
		return false
	}
}

// fail ends the watch with an error.
func (w *watcher) fail(err error) {
	if err == rpctypes.ErrCompacted { //nolint:errorlint // as etcd's watches end, and no other error
		err = apierrors.NewResourceExpired("The resourceVersion for the provided watch is too old.")
		klog.V(2).InfoS("Watch ended", "resource", w.store.resource, "reason", err)
	} else if w.ctx.Err() == nil {
		klog.ErrorS(err, "Watch ended", "resource", w.store.resource)
	}
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // what wraps one is internal, as in the machinery
	if !ok {
		status = apierrors.NewInternalError(err)
	}
	told := status.Status()
	w.send(watch.Event{Type: watch.Error, Object: &told})
	w.Stop()
}
