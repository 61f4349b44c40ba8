// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// watched is a store of ConfigMaps and what a test does to it.
type watched struct {
	*testing.T
	etcd  *Etcd
	store storage.Interface
	last  corev1.ConfigMap // as it was written last
}

func newWatched(t *testing.T) *watched {
	e := start(t, filepath.Join(t.TempDir(), "etcd"))
	return &watched{T: t, etcd: e, store: maps(t, e)}
}

func (t *watched) create(name, app string) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}}}
	if err := t.store.Create(t.Context(), "/configmaps/default/"+name, object, &t.last, 0); err != nil {
		t.Fatal(err)
	}
}

func (t *watched) label(name, app string) {
	t.Helper()
	err := t.store.GuaranteedUpdate(t.Context(), "/configmaps/default/"+name, &t.last, false, nil, func(o apiruntime.Object, _ storage.ResponseMeta) (apiruntime.Object, *uint64, error) {
		o.(*corev1.ConfigMap).Labels = map[string]string{"app": app}
		return o, nil, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func (t *watched) delete(name string) {
	t.Helper()
	if err := t.store.Delete(t.Context(), "/configmaps/default/"+name, &t.last, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (t *watched) watch(opts storage.ListOptions) watch.Interface {
	t.Helper()
	opts.Recursive = true
	w, err := t.store.Watch(t.Context(), "/configmaps/", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func (t *watched) next(w watch.Interface) (event watch.Event, open bool) {
	t.Helper()
	select {
	case event, open = <-w.ResultChan():
	case <-time.After(30 * time.Second):
		t.Fatal("nothing in 30 s")
	}
	return event, open
}

// expect takes the next event and wants it to be said so: type, name, labels.
func (t *watched) expect(w watch.Interface, want string) {
	t.Helper()
	event, _ := t.next(w)
	got := string(event.Type)
	if object, ok := event.Object.(*corev1.ConfigMap); ok && event.Type != watch.Bookmark {
		got += " " + object.Name + " " + object.Labels["app"]
	} else if ok {
		got += " " + object.ResourceVersion
	}
	if got != want {
		t.Fatalf("a watch tells %q, want %q (%v)", got, want, event.Object)
	}
}

var all = storage.Everything

func apps(name string) storage.SelectionPredicate {
	return storage.SelectionPredicate{
		Label: labels.SelectorFromSet(labels.Set{"app": name}), Field: fields.Everything(),
		GetAttrs: func(o apiruntime.Object) (labels.Set, fields.Set, error) {
			return o.(*corev1.ConfigMap).Labels, nil, nil
		},
	}
}

// A selector makes of a change what it is to who selects.
func TestWatchWithSelector(t *testing.T) {
	s := newWatched(t)
	s.create("a", "x")
	w := s.watch(storage.ListOptions{ResourceVersion: s.last.ResourceVersion, Predicate: apps("y")})
	s.label("a", "y")
	s.expect(w, "ADDED a y")
	s.create("b", "x")
	s.create("c", "y")
	s.expect(w, "ADDED c y")
	s.label("a", "z")
	s.expect(w, "DELETED a y")
	s.delete("b")
	s.delete("c")
	event, _ := s.next(w)
	if object := event.Object.(*corev1.ConfigMap); event.Type != watch.Deleted || object.Name != "c" || object.ResourceVersion != s.last.ResourceVersion {
		t.Errorf("after a deletion: %s %s at %s, want that of the deletion, %s", event.Type, object.Name, object.ResourceVersion, s.last.ResourceVersion)
	}
}

// A watch that begins with what there is goes on from there, with the mark between the two only for who wants it.
func TestWatchBeginsWithWhatThereIs(t *testing.T) {
	yes := true
	marked := all
	marked.AllowWatchBookmarks = true
	for _, tt := range []struct {
		name   string
		opts   storage.ListOptions
		marked bool
	}{
		{"from no version", storage.ListOptions{Predicate: all}, false},
		{"from version 0", storage.ListOptions{ResourceVersion: "0", Predicate: all}, false},
		{"from version 0, with bookmarks", storage.ListOptions{ResourceVersion: "0", Predicate: marked}, false},
		{"events at first", storage.ListOptions{Predicate: all, SendInitialEvents: &yes}, false},
		{"events at first, with bookmarks", storage.ListOptions{Predicate: marked, SendInitialEvents: &yes}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newWatched(t)
			s.create("a", "x")
			s.create("b", "x")
			w := s.watch(tt.opts)
			s.expect(w, "ADDED a x")
			s.expect(w, "ADDED b x")
			if tt.marked {
				s.expect(w, "BOOKMARK "+s.last.ResourceVersion)
			}
			s.label("a", "y")
			s.expect(w, "MODIFIED a y")
		})
	}
	no := false
	s := newWatched(t)
	s.create("a", "x")
	w := s.watch(storage.ListOptions{Predicate: all, SendInitialEvents: &no})
	s.create("b", "x")
	s.expect(w, "ADDED b x")
}

// Who does not take events gets all of them later, in order.
func TestSlowWatch(t *testing.T) {
	s := newWatched(t)
	s.create("first", "")
	w := s.watch(storage.ListOptions{ResourceVersion: s.last.ResourceVersion, Predicate: all})
	const n = 20 * resultsAhead
	for i := range n {
		s.create(fmt.Sprintf("n-%04d", i), "")
	}
	for i := range n {
		s.expect(w, fmt.Sprintf("ADDED n-%04d ", i))
	}
}

// A watch that nobody reads ends when too much waits for it, and others go on.
func TestStuckWatch(t *testing.T) {
	s := newWatched(t)
	s.create("first", "")
	stuck, read := s.watch(storage.ListOptions{ResourceVersion: s.last.ResourceVersion, Predicate: all}), s.watch(storage.ListOptions{ResourceVersion: s.last.ResourceVersion, Predicate: all})
	large := strings.Repeat("x", 1<<20)
	const n = maxWaiting>>20 + 2*resultsAhead
	for i := range n {
		name := fmt.Sprintf("n-%04d", i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"large": large}}
		if err := s.store.Create(t.Context(), "/configmaps/default/"+name, object, &s.last, 0); err != nil {
			t.Fatal(err)
		}
		s.expect(read, "ADDED "+name+" ")
	}
	told := 0
	for {
		if _, open := s.next(stuck); !open {
			break
		}
		told++
	}
	if told >= n {
		t.Errorf("all of %d events waited", n)
	}
}

// A watch from what has been forgotten is told to begin anew, as by kube-apiserver.
func TestWatchFromTooLongAgo(t *testing.T) {
	s := newWatched(t)
	s.create("a", "x")
	first := s.last.ResourceVersion
	s.label("a", "y")
	s.label("a", "z")
	if err := s.etcd.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := s.watch(storage.ListOptions{ResourceVersion: first, Predicate: all})
	event, _ := s.next(w)
	err := apierrors.FromObject(event.Object)
	if event.Type != watch.Error || !apierrors.IsResourceExpired(err) || err.Error() != "The resourceVersion for the provided watch is too old." {
		t.Errorf("%s: %v", event.Type, err)
	}
	if event, open := s.next(w); open {
		t.Errorf("it goes on with %v", event)
	}
}

// However a watch ends, its channel is closed and the hub forgets it.
func TestWatchEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(s *watched, w watch.Interface, cancel func())
	}{
		{"stopped", func(_ *watched, w watch.Interface, _ func()) { w.Stop(); w.Stop() }},
		{"its context ends", func(_ *watched, _ watch.Interface, cancel func()) { cancel() }},
		{"the storage stops", func(s *watched, _ watch.Interface, _ func()) { s.etcd.Stop() }},
		{"stopped, full of events", func(s *watched, w watch.Interface, _ func()) {
			for i := range 3 * resultsAhead {
				s.create(fmt.Sprint("n-", i), "")
			}
			w.Stop()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newWatched(t)
			s.create("a", "x")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := s.store.Watch(ctx, "/configmaps/", storage.ListOptions{ResourceVersion: s.last.ResourceVersion, Predicate: all, Recursive: true})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			tt.end(s, w, cancel)
			for open := true; open; {
				_, open = s.next(w)
			}
			s.etcd.hub.mu.Lock()
			defer s.etcd.hub.mu.Unlock()
			if len(s.etcd.hub.open) != 0 {
				t.Errorf("the hub has %d watches", len(s.etcd.hub.open))
			}
		})
	}
}

// A watch that waits has no goroutine and takes no more than some kilobytes; so one from the past, or from what there is, once it is at the present.
func TestIdleWatchesAreSmall(t *testing.T) {
	const n, most = 1000, 3 << 10 // bytes each
	s := newWatched(t)
	s.create("a", "x")
	from := s.last.ResourceVersion
	used := func() (bytes uint64, goroutines int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	before, goroutines := used()
	var open []watch.Interface
	for i := range n {
		opts := storage.ListOptions{ResourceVersion: from, Predicate: all}
		if i%2 == 0 {
			opts.ResourceVersion = "0"
		}
		w := s.watch(opts)
		if i%2 == 0 {
			s.expect(w, "ADDED a x")
		}
		open = append(open, w)
	}
	s.label("a", "y")
	for _, w := range open {
		s.expect(w, "MODIFIED a y")
	}
	// What looked at that event ends by itself.
	deadline := time.Now().Add(30 * time.Second)
	after, now := used()
	for ; now > goroutines+n/10 && time.Now().Before(deadline); after, now = used() {
		runtime.Gosched()
	}
	if now > goroutines+n/10 {
		t.Errorf("%d goroutines more for %d watches", now-goroutines, n)
	}
	if each := (int64(after) - int64(before)) / n; each > most {
		t.Errorf("%d bytes for a watch, want at most %d", each, most)
	}
	runtime.KeepAlive(open)
}
