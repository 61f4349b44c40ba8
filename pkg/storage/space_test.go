// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// keeper writes ConfigMaps of a size.
type keeper struct {
	t     *testing.T
	store storage.Interface
	text  string
}

func newKeeper(t *testing.T, e *Etcd, size int) *keeper {
	return &keeper{t, maps(t, e), strings.Repeat("x", size)}
}

func key(name string) string { return "/configmaps/default/" + name }

func (k *keeper) create(name string) error {
	return k.store.Create(k.t.Context(), key(name), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": k.text}}, nil, 0)
}

// update changes a part of an object, which is stored anew.
func (k *keeper) update(name, value string) error {
	out := &corev1.ConfigMap{}
	change := storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
		m := in.(*corev1.ConfigMap)
		m.Labels = map[string]string{"value": value}
		return m, nil
	})
	return k.store.GuaranteedUpdate(k.t.Context(), key(name), out, false, nil, change, nil)
}

func (k *keeper) delete(name string) {
	k.t.Helper()
	if err := k.store.Delete(k.t.Context(), key(name), &corev1.ConfigMap{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		k.t.Fatalf("delete %s: %v", name, err)
	}
}

// expect reads an object whole.
func (k *keeper) expect(name string) {
	k.t.Helper()
	got := &corev1.ConfigMap{}
	if err := k.store.Get(k.t.Context(), key(name), storage.GetOptions{}, got); err != nil || got.Data["k"] != k.text {
		k.t.Errorf("object %s has %d bytes, want %d: %v", name, len(got.Data["k"]), len(k.text), err)
	}
}

// gone waits until an object has expired.
func (k *keeper) gone(name string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for {
		err := k.store.Get(ctx, key(name), storage.GetOptions{}, &corev1.ConfigMap{})
		if storage.IsNotFound(err) {
			return
		}
		select {
		case <-ctx.Done():
			k.t.Fatalf("%s has not expired: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// writesGoOn creates an object as soon as that is possible.
func (k *keeper) writesGoOn(name string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for {
		err := k.create(name)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			k.t.Fatalf("writes are refused for ever: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestQuotaReachedByHistory: what is only old is forgotten, and nobody has to do anything.
func TestQuotaReachedByHistory(t *testing.T) {
	e, err := Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "test", UnsafeNoFsync: true, QuotaBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	k := newKeeper(t, e, 300<<10)
	if err := k.create("a"); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 1000; i++ {
		err = k.update("a", fmt.Sprint(i))
	}
	if err == nil || err.Error() != "etcdserver: mvcc: database space exceeded" {
		t.Fatalf("writing past the quota: %v", err)
	}
	k.expect("a")
	k.writesGoOn("b")
	k.expect("a")
	if err := e.Err(t.Context()); err != nil {
		t.Errorf("Err() after room was made: %v", err)
	}
}

// TestQuotaReachedByObjects: writes go on once enough is deleted, also after a restart in between.
func TestQuotaReachedByObjects(t *testing.T) {
	opts := Options{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "test", UnsafeNoFsync: true, QuotaBytes: 16 << 20}
	e, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t, e, 300<<10)
	count := 0
	for ; err == nil && count < 1000; count++ {
		err = k.create(fmt.Sprint(count))
	}
	if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
		t.Fatalf("writing past the quota: %v", err)
	}
	e.Stop()
	if e, err = Start(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	k = newKeeper(t, e, 300<<10)
	if err := k.create("more"); err == nil {
		t.Error("a restart makes a full storage take more")
	}
	last := count - 2 // that was acknowledged
	for i := range last {
		k.delete(fmt.Sprint(i))
	}
	k.expect(fmt.Sprint(last))
	k.writesGoOn("after")
	k.expect(fmt.Sprint(last))
}

// TestDiskFull: what is refused is refused in words, and goes on once there is space; reads always do, and deletions longer than writes.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	mount := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	smallSegments()
	e, err := Start(t.Context(), Options{Dir: filepath.Join(mount, "etcd"), Name: "test", QuotaBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	k := newKeeper(t, e, 1<<10)
	const count = 50
	for i := range count {
		if err := k.create(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	const brief = 1000 // whose deletion takes more pages of the database than are unused
	for i := range brief {
		name := fmt.Sprintf("brief-%d", i)
		if err := k.store.Create(t.Context(), key(name), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil, 3); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(left, need int) string {
		return fmt.Sprintf("etcdserver: no space left on device: %d MiB are free in %s/etcd, %d MiB have to be; free space there, and writes go on", left, mount, need)
	}
	ballast := filepath.Join(mount, "ballast")
	for _, left := range []int{8, 6} {
		fill(t, mount, ballast, int64(left<<20))
		if err := k.create("more"); err == nil || err.Error() != refused(left, 20) {
			t.Errorf("with %d MiB left a write says\n %v\nwant\n %s", left, err, refused(left, 20))
		}
		if err := e.Err(t.Context()); err == nil || err.Error() != refused(left, 20) {
			t.Errorf("Err() = %v, want %s", err, refused(left, 20))
		}
		k.expect(fmt.Sprint(count - 1))
	}
	k.delete("0")
	fill(t, mount, ballast, 2<<20) // less than the log's next file takes
	k.delete("1")
	k.refusesAllButTheEnd("2", refused(2, 20))
	fill(t, mount, ballast, 256<<10) // a snapshot of the membership fits
	err = k.store.Delete(t.Context(), key(fmt.Sprint(count-1)), &corev1.ConfigMap{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if err == nil || err.Error() != refused(0, 5) {
		t.Errorf("with nothing left a deletion says\n %v\nwant\n %s", err, refused(0, 5))
	}
	k.expect(fmt.Sprint(count - 1))
	k.gone(fmt.Sprintf("brief-%d", brief-1))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := k.create("after"); err != nil {
		t.Errorf("with space again: %v", err)
	}
	k.expect(fmt.Sprint(count - 1))
}

// refusesAllButTheEnd changes an object as it is, which is refused, and as one that is being deleted, then lets it go.
func (k *keeper) refusesAllButTheEnd(name, refusal string) {
	k.t.Helper()
	if err := k.update(name, "late"); err == nil || err.Error() != refusal {
		k.t.Errorf("an update says\n %v\nwant\n %s", err, refusal)
	}
	change := func(what string, f func(*corev1.ConfigMap)) {
		k.t.Helper()
		err := k.store.GuaranteedUpdate(k.t.Context(), key(name), &corev1.ConfigMap{}, false, nil, storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
			m := in.(*corev1.ConfigMap)
			f(m)
			return m, nil
		}), nil)
		if err != nil {
			k.t.Errorf("%s: %v", what, err)
		}
	}
	now := metav1.Now()
	change("mark as being deleted", func(m *corev1.ConfigMap) { m.DeletionTimestamp, m.Finalizers = &now, []string{"example.com/hold"} })
	change("take a finalizer away", func(m *corev1.ConfigMap) { m.Finalizers = nil })
	k.delete(name)
}

// TestRoomSetAside: only a log with an unused end, blocks for it and a file to follow, and a database with blocks beyond its size, go on without the disk.
func TestRoomSetAside(t *testing.T) {
	const segment, database = 1 << 20, 64 << 10
	for name, c := range map[string]struct {
		written  int64 // to the log's last file, from its beginning
		sparse   bool
		follows  bool
		dbBlocks int64
		noLog    bool
		wantRoom bool
	}{
		"room":                     {written: segment / 2, follows: true, dbBlocks: database + 2*small, wantRoom: true},
		"room, nothing written":    {follows: true, dbBlocks: database + 2*small, wantRoom: true},
		"the log is near its end":  {written: segment - segment/64, follows: true, dbBlocks: database + 2*small},
		"no file follows":          {written: segment / 2, dbBlocks: database + 2*small},
		"the log has no blocks":    {sparse: true, follows: true, dbBlocks: database + 2*small},
		"the database has no room": {written: segment / 2, follows: true, dbBlocks: database},
		"no log":                   {follows: true, dbBlocks: database + 2*small, noLog: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := func(path string, blocks, size int64, written int64) {
				path = filepath.Join(dir, "member", path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := f.Truncate(size); err != nil {
					t.Fatal(err)
				}
				if blocks > 0 {
					if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, blocks); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := f.WriteAt([]byte(strings.Repeat("x", int(written))), 0); err != nil {
					t.Fatal(err)
				}
			}
			if !c.noLog {
				file("wal/0-0.wal", segment, segment, segment) // the file before
				blocks := int64(segment)
				if c.sparse {
					blocks = 0
				}
				file("wal/1-7.wal", blocks, segment, c.written)
			}
			if c.follows {
				file("wal/0.tmp", segment, segment, 0)
			}
			file("snap/db", c.dbBlocks, database, database)
			if got := setAside(dir, database); got != c.wantRoom {
				t.Errorf("room: %t, want %t", got, c.wantRoom)
			}
		})
	}
}

// TestKeepNext: a file that was taken for the log in advance is the next again, unless something was written to it.
func TestKeepNext(t *testing.T) {
	zeros := strings.Repeat("\x00", 8192)
	for name, c := range map[string]struct{ files, want map[string]string }{
		"the second alone": {map[string]string{"1.tmp": zeros}, map[string]string{"0.tmp": zeros}},
		"the first alone":  {map[string]string{"0.tmp": zeros}, map[string]string{"0.tmp": zeros}},
		"both":             {map[string]string{"0.tmp": zeros, "1.tmp": zeros}, map[string]string{"0.tmp": zeros, "1.tmp": zeros}},
		"begun":            {map[string]string{"1.tmp": "x" + zeros}, map[string]string{"1.tmp": "x" + zeros}},
		"too short":        {map[string]string{"1.tmp": ""}, map[string]string{"1.tmp": ""}},
		"none":             {map[string]string{}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			wal := filepath.Join(dir, "member", "wal")
			if err := os.MkdirAll(wal, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(wal, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := keepNext(dir); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			entries, err := os.ReadDir(wal)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				text, err := os.ReadFile(filepath.Join(wal, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				got[e.Name()] = string(text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if err := keepNext(t.TempDir()); err != nil {
		t.Errorf("where there is no storage yet: %v", err)
	}
}

// fill takes all space of a file system but left bytes.
func fill(t *testing.T, mount, ballast string, left int64) {
	t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(mount, &disk); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, info.Size(), int64(disk.Bavail)*disk.Bsize-left); err != nil {
		t.Fatal(err)
	}
}
