// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/scheme"
)

func start(t *testing.T, dir string) *Etcd {
	t.Helper()
	e, err := Start(t.Context(), Options{Dir: dir, Name: "test", UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

// maps is a store of ConfigMaps as the generic registry would get it.
func maps(t *testing.T, e *Etcd) storage.Interface {
	t.Helper()
	v1 := corev1.SchemeGroupVersion
	codec := scheme.Codecs.CodecForVersions(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), scheme.Codecs.UniversalDeserializer(), v1, v1)
	options, err := e.RESTOptionsGetter(codec).GetRESTOptions(schema.GroupResource{Resource: "configmaps"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, destroy, err := options.Decorator(options.StorageConfig, "/configmaps", nil,
		func() runtime.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} }, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	return store
}

func TestObjectsOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	first := start(t, dir)
	out := &corev1.ConfigMap{}
	err := maps(t, first).Create(t.Context(), "/configmaps/default/a", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, out, 0)
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()

	got := &corev1.ConfigMap{}
	if err := maps(t, start(t, dir)).Get(t.Context(), "/configmaps/default/a", storage.GetOptions{}, got); err != nil {
		t.Fatal(err)
	}
	if got.Data["k"] != "v" || got.ResourceVersion != out.ResourceVersion {
		t.Errorf("after a restart: %v at %s, written at %s", got.Data, got.ResourceVersion, out.ResourceVersion)
	}
}

// TestManyWatchesEndAtOnce: those that go on, and new ones, must still see changes.
func TestManyWatchesEndAtOnce(t *testing.T) {
	store := maps(t, start(t, filepath.Join(t.TempDir(), "etcd")))
	last := &corev1.ConfigMap{}
	create := func(name string) {
		if err := store.Create(t.Context(), "/configmaps/default/"+name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, last, 0); err != nil {
			t.Fatal(err)
		}
	}
	open := func(ctx context.Context) watch.Interface {
		w, err := store.Watch(ctx, "/configmaps/", storage.ListOptions{ResourceVersion: last.ResourceVersion, Predicate: storage.Everything, Recursive: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	expect := func(who string, w watch.Interface) {
		select {
		case event := <-w.ResultChan():
			if cm, ok := event.Object.(*corev1.ConfigMap); !ok || cm.Name != last.Name {
				t.Fatalf("%s has %v, want ConfigMap %s", who, event, last.Name)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s has not seen ConfigMap %s in 30 s", who, last.Name)
		}
	}
	create("first")
	lasting := open(t.Context())
	for round := range 10 {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var many []watch.Interface
		for range 200 {
			many = append(many, open(ctx))
		}
		create(fmt.Sprintf("for-all-%d", round))
		for _, w := range append(many, lasting) {
			expect("each watch", w)
		}
		end()
		fresh := open(t.Context())
		create(fmt.Sprintf("after-%d", round))
		expect("a watch that goes on", lasting)
		expect("a new watch", fresh)
	}
}

func TestWatchSeesEveryChangeInOrder(t *testing.T) {
	store := maps(t, start(t, filepath.Join(t.TempDir(), "etcd")))
	w, err := store.Watch(t.Context(), "/configmaps/", storage.ListOptions{Predicate: storage.Everything, Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, name := range []string{"a", "b", "c"} {
		if err := store.Create(t.Context(), "/configmaps/default/"+name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a", "b", "c"} {
		event := <-w.ResultChan()
		if got := event.Object.(*corev1.ConfigMap).Name; got != want {
			t.Fatalf("saw %s %s, want %s", event.Type, got, want)
		}
	}
}

// The write-ahead log of a throw-away storage is in small files: more than fits into a few of them is there after a restart.
// TestQuietWatchHearsOfTheTime: what else is written moves the version that a watch is at, where it asked for bookmarks.
func TestQuietWatchHearsOfTheTime(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "etcd"))
	e.hub.tick.Reset(100 * time.Millisecond)
	store, last := maps(t, e), &corev1.ConfigMap{}
	create := func(key, name string) {
		if err := store.Create(t.Context(), key+name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, last, 0); err != nil {
			t.Fatal(err)
		}
	}
	create("/configmaps/quiet/", "first")
	wanted := storage.Everything
	wanted.AllowWatchBookmarks = true
	w, err := store.Watch(t.Context(), "/configmaps/quiet/", storage.ListOptions{ResourceVersion: last.ResourceVersion, Predicate: wanted, Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	plain, err := store.Watch(t.Context(), "/configmaps/quiet/", storage.ListOptions{ResourceVersion: last.ResourceVersion, Predicate: storage.Everything, Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Stop()
	create("/configmaps/busy/", "other")
	timeout := time.After(30 * time.Second)
	for seen := ""; seen != last.ResourceVersion; {
		select {
		case event := <-w.ResultChan():
			object, ok := event.Object.(*corev1.ConfigMap)
			if !ok || event.Type != watch.Bookmark {
				t.Fatalf("a quiet watch has %v", event)
			}
			seen = object.ResourceVersion
		case <-timeout:
			t.Fatalf("no bookmark of version %s in 30 s, the last is of %q", last.ResourceVersion, seen)
		}
	}
	create("/configmaps/quiet/", "second")
	if event := <-plain.ResultChan(); event.Type != watch.Added {
		t.Errorf("a watch that wants no bookmarks has %v", event)
	}
}

func TestSmallSegmentsHoldMuch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	first := start(t, dir)
	store := maps(t, first)
	const size, count = 300 << 10, 60 // 18 MB
	for i := range count {
		m := &corev1.ConfigMap{Data: map[string]string{"k": strings.Repeat("x", size)}}
		if err := store.Create(t.Context(), fmt.Sprintf("/configmaps/default/%d", i), m, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	first.Stop()
	files, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(files) < 4 {
		t.Errorf("log files %v, %v", files, err)
	}
	store = maps(t, start(t, dir))
	for i := range count {
		got := &corev1.ConfigMap{}
		if err := store.Get(t.Context(), fmt.Sprintf("/configmaps/default/%d", i), storage.GetOptions{}, got); err != nil || len(got.Data["k"]) != size {
			t.Errorf("object %d: %d bytes, %v", i, len(got.Data["k"]), err)
		}
	}
}

func TestErrTellsOfFullStorage(t *testing.T) {
	e, err := Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "test", UnsafeNoFsync: true, QuotaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	if err := e.Err(t.Context()); err != nil {
		t.Fatalf("an empty storage is not well: %v", err)
	}
	store := maps(t, e)
	big := &corev1.ConfigMap{Data: map[string]string{"k": strings.Repeat("x", 300<<10)}}
	// The size counts once a batch has reached the file, so a few writes too many may pass.
	for i := 0; err == nil && i < 1000; i++ {
		err = store.Create(t.Context(), fmt.Sprintf("/configmaps/default/%d", i), big, nil, 0)
	}
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("writing past the quota: %v", err)
	}
	if err := e.Err(t.Context()); err == nil || !strings.Contains(err.Error(), "NOSPACE") {
		t.Errorf("Err() of a full storage: %v", err)
	}
}

func TestStartSaysWhere(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "etcd")
	if _, err := Start(ctx, Options{Dir: dir, Name: "test", UnsafeNoFsync: true}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Start() with a context that has ended: %v", err)
	}
}

// BenchmarkGet reads while others write.
func BenchmarkGet(b *testing.B) {
	e, err := Start(b.Context(), Options{Dir: filepath.Join(b.TempDir(), "etcd"), Name: "test"})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Stop()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range 4 {
		go func() {
			for ctx.Err() == nil {
				_, _ = e.Client.Put(ctx, "a", "v")
			}
		}()
	}
	for b.Loop() {
		if _, err := e.Client.Client.Get(ctx, "a"); err != nil {
			b.Fatal(err)
		}
	}
}
