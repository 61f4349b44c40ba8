// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/informer"
	"github.com/hivemind-project/hivemind/pkg/storage"
)

// plainText is in every object of these tests, and must be in no file.
const plainText = "correct horse battery staple"

// place is where one storage and its keys are.
type place struct{ dir string }

func newPlace(t *testing.T) place { return place{t.TempDir()} }

func (p place) etcd() string { return filepath.Join(p.dir, "etcd") }
func (p place) keys() string { return filepath.Join(p.dir, "encryption", FileName) }

// start opens the storage alone.
func (p place) start(t *testing.T) *storage.Etcd {
	t.Helper()
	etcd, err := storage.Start(t.Context(), storage.Options{Dir: p.etcd(), Name: "test", UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Stop)
	return etcd
}

// encrypt opens encryption over etcd, which need not succeed.
func (p place) encrypt(ctx context.Context, etcd *storage.Etcd, at func(string), resources ...string) (*Encryption, error) {
	if at == nil {
		at = func(string) {}
	}
	return open(ctx, etcd, Options{Dir: filepath.Dir(p.keys()), Resources: resources, UnsafeNoFsync: true}, at)
}

// open is a start with encryption settled.
func (p place) open(t *testing.T, resources ...string) (*storage.Etcd, *Encryption) {
	t.Helper()
	etcd := p.start(t)
	e, err := p.encrypt(t.Context(), etcd, nil, resources...)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return etcd, e
}

// secrets is a store of Secrets, kept as the resource of that name.
func secrets(t *testing.T, etcd *storage.Etcd, resource schema.GroupResource) apistorage.Interface {
	t.Helper()
	v1 := corev1.SchemeGroupVersion
	codec := scheme.Codecs.CodecForVersions(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), scheme.Codecs.UniversalDeserializer(), v1, v1)
	options, err := etcd.RESTOptionsGetter(codec).GetRESTOptions(resource, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, destroy, err := options.Decorator(options.StorageConfig, "/"+options.ResourcePrefix, nil,
		func() runtime.Object { return &corev1.Secret{} }, func() runtime.Object { return &corev1.SecretList{} }, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	return prefixed{store, "/" + options.ResourcePrefix + "/"}
}

// prefixed adds the resource's prefix to names.
type prefixed struct {
	apistorage.Interface
	prefix string
}

func (p prefixed) Create(ctx context.Context, name string, o, out runtime.Object, ttl uint64) error {
	return p.Interface.Create(ctx, p.prefix+name, o, out, ttl)
}

func (p prefixed) Get(ctx context.Context, name string, options apistorage.GetOptions, out runtime.Object) error {
	return p.Interface.Get(ctx, p.prefix+name, options, out)
}

var secretsResource = schema.GroupResource{Resource: "secrets"}

func create(ctx context.Context, store apistorage.Interface, names ...string) error {
	for _, name := range names {
		o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"password": []byte(plainText)}}
		if err := store.Create(ctx, name, o, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// readable fails unless exactly the objects of these names are there, and are whole.
func readable(t *testing.T, store apistorage.Interface, names ...string) {
	t.Helper()
	list := &corev1.SecretList{}
	if err := store.(prefixed).GetList(t.Context(), store.(prefixed).prefix, apistorage.ListOptions{Predicate: apistorage.Everything, Recursive: true}, list); err != nil {
		t.Fatalf("list: %v", err)
	}
	got := map[string]string{}
	for _, o := range list.Items {
		got[o.Name] = string(o.Data["password"])
	}
	want := map[string]string{}
	for _, name := range names {
		want[name] = plainText
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("objects, -want +got:\n%s", diff)
	}
}

// inFiles lists the files below dir that have text in them.
func inFiles(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func status(t *testing.T, e *Encryption) daemon.Encryption {
	t.Helper()
	s, err := e.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNothingOnTheDiskIsPlain(t *testing.T) {
	p := newPlace(t)
	etcd, _ := p.open(t, "secrets")
	store := secrets(t, etcd, secretsResource)
	if err := create(t.Context(), store, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := create(t.Context(), secrets(t, etcd, schema.GroupResource{Resource: "configmaps"}), "c"); err != nil {
		t.Fatal(err)
	}
	readable(t, store, "a", "b")
	etcd.Stop()

	for file, mode := range map[string]fs.FileMode{p.keys(): 0o600, filepath.Dir(p.keys()): fs.ModeDir | 0o700} {
		if info, err := os.Stat(file); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", file, info.Mode(), err, mode)
		}
	}
	// What is not to be encrypted proves that the search would find what is.
	if found := inFiles(t, p.etcd(), plainText); len(found) == 0 {
		t.Fatal("a ConfigMap is not found in the files of the storage: this test could not fail")
	}
	etcd, e := p.open(t, "secrets", "configmaps")
	readable(t, secrets(t, etcd, secretsResource), "a", "b")
	readable(t, secrets(t, etcd, schema.GroupResource{Resource: "configmaps"}), "c")
	if s := status(t, e); s.Stage != daemon.EncryptionSettled || len(s.Keys) != 1 {
		t.Errorf("status %+v", s)
	}
	etcd.Stop()
	database := filepath.Join(p.etcd(), "member", "snap")
	if found := inFiles(t, database, plainText); len(found) > 0 {
		t.Errorf("after the ConfigMap was encrypted too, its plain text is in %v", found)
	}
	seed, err := os.ReadFile(p.keys())
	if err != nil {
		t.Fatal(err)
	}
	if _, encoded, ok := strings.Cut(string(seed), `"seed": "`); !ok || len(inFiles(t, p.etcd(), encoded[:40])) > 0 {
		t.Errorf("the key is in the storage, or not where it should be (%v)", ok)
	}
}

func TestPlainObjectsAreRewritten(t *testing.T) {
	p := newPlace(t)
	etcd := p.start(t) // of a time before encryption
	var names []string
	for i := range 3*pageSize + 1 {
		names = append(names, fmt.Sprintf("s%03d", i))
	}
	if err := create(t.Context(), secrets(t, etcd, secretsResource), names...); err != nil {
		t.Fatal(err)
	}
	etcd.Stop()

	etcd = p.start(t)
	e, err := p.encrypt(t.Context(), etcd, nil, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	store := secrets(t, etcd, secretsResource)
	readable(t, store, names...) // before they are
	if err := create(t.Context(), store, "new"); err != nil {
		t.Fatal(err)
	}
	names = append(names, "new")
	if err := e.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	readable(t, store, names...)
	want := []daemon.EncryptedResource{{Resource: "secrets", Encrypt: true, Encrypted: map[string]int64{e.keys[0].Name: int64(len(names))}}}
	if diff := cmp.Diff(want, status(t, e).Resources); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if found := inFiles(t, filepath.Join(p.etcd(), "member", "snap"), plainText); len(found) > 0 {
		t.Errorf("plain text is left in %v", found)
	}
	etcd.Stop()
	// A start with nothing to do writes nothing.
	etcd = p.start(t)
	before := revision(t, etcd)
	if e, err = p.encrypt(t.Context(), etcd, func(step string) { t.Errorf("a settled start has a step: %s", step) }, "secrets"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(err, e.Settle(t.Context())); err != nil || revision(t, etcd) != before {
		t.Errorf("revision %d became %d, %v", before, revision(t, etcd), err)
	}
	readable(t, secrets(t, etcd, secretsResource), names...)
}

func revision(t *testing.T, etcd *storage.Etcd) int64 {
	t.Helper()
	got, err := etcd.Client.KV.Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	return got.Header.Revision
}

func TestRotateWhileObjectsAreWritten(t *testing.T) {
	p := newPlace(t)
	etcd, e := p.open(t, "secrets")
	store := secrets(t, etcd, secretsResource)
	if err := create(t.Context(), store, "before"); err != nil {
		t.Fatal(err)
	}
	// An informer that falls far behind is told to list anew, as the earlier versions of objects go.
	informers := informer.New([]informer.Source{{
		Resource: corev1.SchemeGroupVersion.WithResource("secrets"), Prefix: store.(prefixed).prefix, Storage: store,
		New: func() runtime.Object { return &corev1.Secret{} }, NewList: func() runtime.Object { return &corev1.SecretList{} },
	}})
	seen := informers.Core().V1().Secrets().Lister()
	ctx, cancel := context.WithCancel(t.Context())
	defer informers.Shutdown()
	defer cancel()
	informers.StartWithContext(ctx)
	if err := informers.WaitForCacheSyncWithContext(t.Context()).AsError(); err != nil {
		t.Fatal(err)
	}
	names := []string{"before"}
	written := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		for i := 0; ; i++ {
			name := fmt.Sprintf("during%04d", i)
			if err := create(t.Context(), store, name); err != nil {
				written <- err
				return
			}
			names = append(names, name)
			select {
			case <-done:
				written <- nil
				return
			default:
			}
		}
	}()
	for range 5 {
		old := e.keys[0].Name
		if err := e.Rotate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		s := status(t, e)
		if len(s.Keys) != 1 || s.Keys[0].Name == old || s.Resources[0].Encrypted[old] != 0 || s.Resources[0].Plain != 0 {
			t.Fatalf("after a rotation away from %s: %+v", old, s)
		}
		if left := inFiles(t, filepath.Dir(p.keys()), old); len(left) > 0 {
			t.Fatalf("key %s is in %v still", old, left)
		}
	}
	close(done)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	readable(t, store, names...)
	for deadline := time.Now().Add(30 * time.Second); ; {
		all, err := seen.List(labels.Everything())
		if err == nil && len(all) == len(names) {
			if i := slices.IndexFunc(all, func(o *corev1.Secret) bool { return string(o.Data["password"]) != plainText }); i >= 0 {
				t.Errorf("the informer has %v", all[i])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the informer has %d objects, %v; want %d", len(all), err, len(names))
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	informers.Shutdown()
	etcd.Stop()
	etcd, _ = p.open(t, "secrets")
	readable(t, secrets(t, etcd, secretsResource), names...)
}

// TestWriteThatIsLate: what was encrypted with the old key and is stored after the rotation has the new one.
func TestWriteThatIsLate(t *testing.T) {
	p := newPlace(t)
	etcd, e := p.open(t, "secrets")
	store := secrets(t, etcd, secretsResource)
	if err := create(t.Context(), store, "a"); err != nil {
		t.Fatal(err)
	}
	first := e.keys[0].Name
	old, err := etcd.Client.KV.Get(t.Context(), "/registry/secrets/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Rotate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	now, err := etcd.Client.KV.Get(t.Context(), "/registry/secrets/a")
	if err != nil {
		t.Fatal(err)
	}
	late, err := etcd.Client.Kubernetes.OptimisticPut(t.Context(), "/registry/secrets/a", old.Kvs[0].Value, now.Kvs[0].ModRevision, kubernetes.PutOptions{})
	if err != nil || !late.Succeeded {
		t.Fatalf("%+v, %v", late, err)
	}
	if s := status(t, e); s.Resources[0].Encrypted[first] != 0 {
		t.Errorf("an object has the dropped key %s: %+v", first, s)
	}
	etcd.Stop()
	etcd, _ = p.open(t, "secrets")
	readable(t, secrets(t, etcd, secretsResource), "a")
}

func TestResourcesComeAndGo(t *testing.T) {
	p := newPlace(t)
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	etcd, _ := p.open(t, "secrets")
	if err := errors.Join(create(t.Context(), secrets(t, etcd, secretsResource), "s"), create(t.Context(), secrets(t, etcd, widgets), "w")); err != nil {
		t.Fatal(err)
	}
	etcd.Stop()
	for _, c := range []struct {
		resources []string
		plain     map[string]bool
	}{
		{[]string{"secrets", "widgets.example.com"}, map[string]bool{"secrets": false, "widgets.example.com": false}},
		{[]string{"widgets.example.com"}, map[string]bool{"secrets": true, "widgets.example.com": false}},
		{nil, map[string]bool{"secrets": true, "widgets.example.com": true}},
		{[]string{"secrets"}, map[string]bool{"secrets": false, "widgets.example.com": true}},
	} {
		etcd, e := p.open(t, c.resources...)
		readable(t, secrets(t, etcd, secretsResource), "s")
		readable(t, secrets(t, etcd, widgets), "w")
		for resource, want := range c.plain {
			counted, err := e.count(t.Context(), resource)
			if err != nil || (counted.Plain == 1) != want || len(counted.Encrypted) == 1 == want {
				t.Errorf("with %v, %s: %+v, %v", c.resources, resource, counted, err)
			}
		}
		etcd.Stop()
	}
}

// TestLeasesStay: an object that goes by itself keeps its time when it is rewritten.
func TestLeasesStay(t *testing.T) {
	p := newPlace(t)
	etcd, e := p.open(t, "secrets")
	store := secrets(t, etcd, secretsResource)
	o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "brief"}, Data: map[string][]byte{"password": []byte(plainText)}}
	if err := store.Create(t.Context(), "brief", o, nil, 3600); err != nil {
		t.Fatal(err)
	}
	if err := e.Rotate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := etcd.Client.KV.Get(t.Context(), "/registry/secrets/brief")
	if err != nil || len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
		t.Errorf("%v, %v: want a lease", got, err)
	}
	readable(t, store, "brief")
}

func TestKeysThatDoNotFit(t *testing.T) {
	p := newPlace(t)
	etcd, _ := p.open(t, "secrets")
	if err := create(t.Context(), secrets(t, etcd, secretsResource), "a"); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(p.keys())
	if err != nil {
		t.Fatal(err)
	}
	other := newPlace(t)
	if err := (&keyFile{path: other.keys(), fast: true, at: func(string) {}}).save([]*key{must(newKey())}); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other.keys())
	if err != nil {
		t.Fatal(err)
	}
	restore := "put the file back from a backup"
	for name, c := range map[string]struct {
		file []byte // nil for none
		want string
	}{
		"gone":               {nil, "objects (secrets) are encrypted with key "},
		"of another storage": {foreign, "put the file back from the backup that belongs to this storage"},
		"cut off":            {good[:len(good)/2], "is not a file of encryption keys: " + restore},
		"empty":              {[]byte{}, "is not a file of encryption keys: " + restore},
		"without keys":       {[]byte(`{"version":1}`), "keys: none is in it: " + restore},
		"with a short key":   {[]byte(`{"version":1,"keys":[{"name":"a","seed":"c2hvcnQ="}]}`), "keys[0]: has no name or a seed of less than 32 bytes"},
		"of a later version": {[]byte(`{"version":2,"keys":[]}`), "version: 2 is not 1: start the version of hivemind that wrote it"},
	} {
		if err := os.Remove(p.keys()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if c.file != nil {
			if err := os.WriteFile(p.keys(), c.file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := p.encrypt(t.Context(), etcd, nil, "secrets")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), p.keys()) {
			t.Errorf("%s: %v, want %q and the file's path", name, err, c.want)
		}
	}
	// Back again, and open to all: it is used, and closed.
	if err := os.WriteFile(p.keys(), good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.keys(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.encrypt(t.Context(), etcd, nil, "secrets"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(p.keys()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestDamageKeepsTheOldKey: an object that cannot be read hinders no other, and the key that it may need stays.
func TestDamageKeepsTheOldKey(t *testing.T) {
	p := newPlace(t)
	etcd, e := p.open(t, "secrets")
	store := secrets(t, etcd, secretsResource)
	if err := create(t.Context(), store, "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	old := e.keys[0].Name
	// b is what a was: a value that was moved.
	a, err := etcd.Client.KV.Get(t.Context(), "/registry/secrets/a")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := etcd.Client.KV.Txn(t.Context()).Then(clientv3.OpPut("/registry/secrets/b", string(a.Kvs[0].Value))).Commit()
	if err != nil || !moved.Succeeded {
		t.Fatal(err)
	}
	if err := store.Get(t.Context(), "b", apistorage.GetOptions{}, &corev1.Secret{}); err == nil {
		t.Error("a value that was moved to another object is read")
	}
	err = e.Rotate(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "/registry/secrets/b: decrypt with key "+old) {
		t.Fatalf("rotation: %v", err)
	}
	s := status(t, e)
	if s.Stage != daemon.EncryptionPending || s.Error == "" || len(s.Keys) != 2 || !maps.Equal(s.Resources[0].Encrypted, map[string]int64{old: 1, s.Keys[0].Name: 2}) {
		t.Errorf("status %+v", s)
	}
	// The object is removed by hand, and all is well again.
	if _, err := etcd.Client.KV.Delete(t.Context(), "/registry/secrets/b"); err != nil {
		t.Fatal(err)
	}
	if err := e.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := status(t, e); s.Stage != daemon.EncryptionSettled || len(s.Keys) != 1 {
		t.Errorf("status %+v", s)
	}
	readable(t, store, "a", "c")
}

func TestRotationIsOneAtATime(t *testing.T) {
	p := newPlace(t)
	etcd := p.start(t)
	first := true
	var e *Encryption
	e, err := p.encrypt(t.Context(), etcd, func(step string) {
		if step != "keys replaced" || e == nil || !first {
			return
		}
		first = false
		if err := e.Rotate(t.Context(), nil); !errors.Is(err, ErrBusy) {
			t.Errorf("a rotation in a rotation: %v", err)
		}
		if s, err := e.Status(t.Context()); err != nil || s.KeyFile != p.keys() {
			t.Errorf("status in a rotation: %+v, %v", s, err)
		}
	}, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Rotate(t.Context(), nil); err != nil || first {
		t.Fatalf("%v, asked %v", err, !first)
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := must(newKey())
	k.Created, k.Name = time.Time{}, "name"
	for i := range k.Seed {
		k.Seed[i] = 171 // which is in nothing else that is printed
	}
	for _, format := range []string{"%v", "%+v", "%s", "%#v", "%q"} {
		for _, v := range []any{k, []*key{k}, *k} {
			text := fmt.Sprintf(format, v)
			if strings.Contains(text, string(k.Seed)) || strings.Contains(text, fmt.Sprintf("%d", k.Seed[0])+" ") || strings.Contains(text, fmt.Sprintf("%#x", k.Seed[0])+", ") {
				t.Errorf("%s of %T: %s", format, v, text)
			}
		}
	}
	if !slices.Equal(namesOf([]*key{k}), []string{k.Name}) {
		t.Error("names")
	}
}

// BenchmarkValue is what encryption adds to a read or a write of a Secret of ordinary size.
func BenchmarkValue(b *testing.B) {
	r := newRing("", []*key{must(newKey())}, nil)
	where := value.DefaultContext("/registry/secrets/default/a")
	data := bytes.Repeat([]byte("x"), 1<<10)
	sealed := must(r.seal(b.Context(), data, where))
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			must(r.seal(b.Context(), data, where))
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := r.open(b.Context(), sealed, where); err != nil {
				b.Fatal(err)
			}
		}
	})
}
