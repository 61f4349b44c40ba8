// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// hub hands what changes in etcd to those who watch (watching.go). It is one stream of etcd's and one goroutine for all of them; a watch costs an entry in
// etcd's list and in the hub's, half a kilobyte. etcd's client, which is made for a network, has a goroutine, a queue and a context for each.
type hub struct {
	store  mvcc.WatchableKV
	stream mvcc.WatchStream
	tick   *time.Ticker     // of BookmarkInterval
	done   chan struct{}    // closed when nothing is handed on any more
	told   atomic.Int64     // the latest revision that was handed on; reads wait until they see it (reads.go)
	fence  mvcc.WatchStream // with no watches; see settle

	mu   sync.Mutex
	last mvcc.WatchID
	open map[mvcc.WatchID]*watcher // nil when closed
}

func newHub(store mvcc.WatchableKV) *hub {
	h := &hub{store: store, stream: store.NewWatchStream(), fence: store.NewWatchStream(), tick: time.NewTicker(BookmarkInterval), done: make(chan struct{}), open: map[mvcc.WatchID]*watcher{}}
	go h.run()
	return h
}

// add begins to hand w what happens to the keys from key up to end, or to key alone where end is nil, from a revision on.
func (h *hub) add(w *watcher, key, end []byte, from int64) error {
	h.mu.Lock()
	if h.open == nil {
		h.mu.Unlock()
		return errors.New("the storage has stopped")
	}
	h.last++
	id := h.last
	h.open[id] = w
	h.mu.Unlock()
	if _, err := h.stream.Watch(context.Background(), id, key, end, from); err != nil {
		h.remove(id)
		return err
	}
	if !w.opened(id) {
		h.remove(id) // it ended meanwhile
	}
	return nil
}

// remove ends that. It waits for the hub, so the hub must not call it.
func (h *hub) remove(id mvcc.WatchID) {
	h.mu.Lock()
	delete(h.open, id)
	h.mu.Unlock()
	_ = h.stream.Cancel(id) // an error says that there is none
}

// settle returns when what has been told can be read. etcd does the one and then the other under a lock of its watches, which asking a stream with no watches
// for progress waits for, and does nothing else.
func (h *hub) settle() { h.fence.RequestProgressAll() }

// before returns what a key had before a revision; rpctypes.ErrCompacted says that it is not known any more.
func (h *hub) before(ctx context.Context, key []byte, rev int64) ([]byte, error) {
	found, err := h.store.Range(ctx, key, nil, mvcc.RangeOptions{Rev: rev - 1})
	if errors.Is(err, mvcc.ErrCompacted) || err == nil && len(found.KVs) == 0 {
		return nil, rpctypes.ErrCompacted
	}
	if err != nil {
		return nil, err
	}
	return found.KVs[0].Value, nil
}

// run hands on what etcd tells until the stream is closed.
func (h *hub) run() {
	defer close(h.done)
	defer h.tick.Stop()
	for {
		select {
		case r, ok := <-h.stream.Chan():
			if !ok {
				return
			}
			h.deliver(r)
		case <-h.tick.C:
			for _, id := range h.quiet() {
				h.stream.RequestProgress(id)
				// The answer is in the channel, or the watch still reads what is older. What does not fit in there is lost.
				for len(h.stream.Chan()) > 0 {
					h.deliver(<-h.stream.Chan())
				}
			}
		}
	}
}

func (h *hub) deliver(r mvcc.WatchResponse) {
	h.mu.Lock()
	w := h.open[r.WatchID]
	h.mu.Unlock()
	if r.Revision > h.told.Load() { // nobody else writes it
		h.told.Store(r.Revision)
	}
	if w != nil {
		w.deliver(r)
	}
}

// quiet returns the watches to which nothing has been handed since it was called last, of those that want to be told of it.
func (h *hub) quiet() []mvcc.WatchID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []mvcc.WatchID
	for id, w := range h.open {
		if w.bookmarks && w.quiet.Swap(true) {
			ids = append(ids, id)
		}
	}
	return ids
}

// close ends all watches.
func (h *hub) close() {
	h.mu.Lock()
	open := h.open
	h.open = nil
	h.mu.Unlock()
	for _, w := range open {
		w.Stop()
	}
	h.stream.Close()
	h.fence.Close()
	<-h.done
}

// rangeEnd is where the keys end that begin with prefix.
func rangeEnd(prefix string) []byte { return []byte(clientv3.GetPrefixRangeEnd(prefix)) }
