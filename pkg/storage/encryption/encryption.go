// SPDX-License-Identifier: Apache-2.0

// Package encryption keeps the objects of chosen resources encrypted in the storage: Secrets, where nothing else is configured. It stands between the API
// machinery and etcd, so the API server, informers and custom resources all read and write through it without knowing.
//
// Each value is encrypted with AES-256-GCM under a key of its own, derived by HKDF from a 32 byte seed and 32 random bytes that stand before the value
// (k8s.io/apiserver/pkg/storage/value/encrypt/aes, with extended nonce). Plain AES-GCM must not write more than 2^32 values with
// one key, as its nonces are too short to be drawn more often, and nobody counts them over restarts; AES-CBC, which Kubernetes has too, does not notice a value that was
// tampered with. Here a key lasts as long as one likes. The etcd key of an object is authenticated with it, so that a value cannot be moved to another object.
//
// Two things are kept beside the objects: the file of keys, outside of etcd's directory, and a record in etcd, under recordKey, of which keys objects may
// need and which resources may have encrypted ones. They change in an order (see Rotate) in which a process that is killed at
// any point leaves every object readable, and the next start goes on: a key is in the file before the record names it, in the record before
// it is written with, and leaves in reverse once no object needs it.
//
// Cost: 90 bytes and four microseconds for each encrypted value that is read or written; a comparison of the first bytes for any other. At a start
// that finds all in order, one small file and one read of etcd.
package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/storage"
)

// recordKey is where the record is, outside of what the API serves.
const recordKey = "/hivemind/encryption"

// record says what objects in this storage may need to be read. A copy of the storage carries it along.
type record struct {
	// Keys by name: the one that is written with, then those that objects may still need.
	Keys []string `json:"keys"`
	// Resources that may have encrypted objects.
	Resources []string `json:"resources"`
	// Settled is true when every object of these resources is as it should be.
	Settled bool `json:"settled"`
}

// Options say where the keys are and what they are for.
type Options struct {
	// Dir holds the file of keys; created with mode 0700. It must not be the storage's.
	Dir string
	// Resources are those that are encrypted, as resource or resource.group. What others have encrypted objects, from an earlier
	// configuration, is made plain.
	Resources []string
	// UnsafeNoFsync is as in storage.Options.
	UnsafeNoFsync bool
}

// Encryption is the door between the API machinery and one storage.
type Encryption struct {
	etcd      *storage.Etcd
	file      *keyFile
	resources []string
	// at is told of every step that leaves a trace on the disk, for tests that end the process there.
	at func(step string)

	// ring is what values are read and written with.
	ring atomic.Pointer[ring]
	// changing is held for writing while ring is replaced, and for reading from the last look at it until a value is stored.
	changing sync.RWMutex

	// working is held by the one rotation, or rewriting, that there is at a time; it guards what follows.
	working sync.Mutex
	keys    []*key
	// retired keys have left the file. A watch may still deliver what was read from the storage before, so they can be read with until the process ends.
	retired []*key
	record  record
	// unclean is true while the storage's file may have versions of objects from before they were rewritten.
	unclean bool

	progress progress
}

// Open reads the keys, makes one where the storage has never had any, and has etcd encrypt from now on. It is called before
// stores are made. Objects that are not yet as they should be can be read; Settle rewrites them.
func Open(ctx context.Context, etcd *storage.Etcd, options Options) (*Encryption, error) {
	return open(ctx, etcd, options, func(string) {})
}

func open(ctx context.Context, etcd *storage.Etcd, options Options, at func(string)) (*Encryption, error) {
	e := &Encryption{etcd: etcd, resources: slices.Clone(options.Resources), at: at,
		file: &keyFile{path: filepath.Join(options.Dir, FileName), fast: options.UnsafeNoFsync, at: at}}
	slices.Sort(e.resources)
	e.resources = slices.Compact(e.resources)
	var err error
	if e.keys, err = e.file.load(); err != nil {
		return nil, err
	}
	known, revision, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.check(known); err != nil {
		return nil, err
	}
	if e.keys == nil {
		first, err := newKey()
		if err != nil {
			return nil, err
		}
		e.keys = []*key{first}
		if err := e.file.save(e.keys); err != nil {
			return nil, err
		}
		klog.InfoS("Made the key that objects are encrypted with: back it up with the storage", "file", e.file.path, "key", first.Name)
	}
	if err := e.expect(ctx, known); err != nil {
		return nil, err
	}
	e.unclean = !e.record.Settled && revision > firstRevision
	e.ring.Store(newRing(e.file.path, e.keys, nil))
	etcd.Transformers = e
	etcd.Client.Kubernetes = guard{etcd.Client.Kubernetes, e}
	return e, nil
}

// firstRevision is that of a storage in which nothing was ever written.
const firstRevision = 1

// load returns the record, which is empty where the storage has none, and the storage's revision.
func (e *Encryption) load(ctx context.Context) (r record, revision int64, err error) {
	response, err := e.etcd.Client.KV.Get(ctx, recordKey)
	if err != nil {
		return r, 0, fmt.Errorf("read which encryption keys objects need: %w", err)
	}
	if len(response.Kvs) == 0 {
		return r, response.Header.Revision, nil
	}
	if err := json.Unmarshal(response.Kvs[0].Value, &r); err != nil {
		return r, 0, fmt.Errorf("read which encryption keys objects need: %s in the storage: %w", recordKey, err)
	}
	return r, response.Header.Revision, nil
}

// check refuses a file of keys that belongs to another storage, or to this one at another time.
func (e *Encryption) check(known record) error {
	var missing []string
	for _, name := range known.Keys {
		if !slices.ContainsFunc(e.keys, func(k *key) bool { return k.Name == name }) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("objects (%s) are encrypted with key %s, which is not in %s: put the file back from the backup that belongs to this storage; "+
		"without it these objects cannot be read by anyone, and the cluster has to begin anew: hivemind reset",
		strings.Join(known.Resources, ", "), strings.Join(missing, ", "), e.file.path)
}

// expect brings the record to what holds from now on, before anything is written by it.
func (e *Encryption) expect(ctx context.Context, known record) error {
	keys := slices.Clone(e.keys)
	for i, k := range slices.Backward(keys) {
		// A rotation was killed between the record's end and the file's.
		if i > 0 && !slices.Contains(known.Keys, k.Name) {
			keys = slices.Delete(keys, i, i+1)
		}
	}
	if len(keys) < len(e.keys) {
		if err := e.file.save(keys); err != nil {
			return err
		}
		e.keys = keys
	}
	next := record{Keys: namesOf(e.keys), Resources: union(known.Resources, e.resources)}
	next.Settled = known.Settled && slices.Equal(known.Keys, next.Keys) && slices.Equal(known.Resources, e.resources)
	if !next.Settled {
		return e.note(ctx, next)
	}
	e.record = next
	return nil
}

// note stores the record.
func (e *Encryption) note(ctx context.Context, r record) error {
	text, err := json.Marshal(r)
	if err == nil {
		_, err = e.etcd.Client.KV.Put(ctx, recordKey, string(text))
	}
	if err != nil {
		return fmt.Errorf("note which encryption keys objects need: %w", err)
	}
	e.record = r
	e.at("record noted")
	return nil
}

// encrypts says whether new objects of a resource are encrypted.
func (e *Encryption) encrypts(resource string) bool {
	_, found := slices.BinarySearch(e.resources, resource)
	return found
}

// Settle rewrites what is not yet as it should be: objects from before encryption, of a rotation that did not end, or of resources that
// were added to the configuration or taken from it. Mostly there is nothing.
func (e *Encryption) Settle(ctx context.Context) error {
	e.working.Lock()
	defer e.working.Unlock()
	if e.record.Settled {
		return nil
	}
	return e.settle(ctx)
}

// ErrBusy is returned by Rotate while another rotation goes on.
var ErrBusy = errors.New("a rotation goes on already")

// Rotate makes a new key, which is written with from then on, and rewrites every encrypted object. The old key goes when none needs it. It may be ended at any
// time: what is left to do is done by the next Settle or Rotate. begun, which may be nil, is called once the new key is written with.
func (e *Encryption) Rotate(ctx context.Context, begun func()) error {
	if !e.working.TryLock() {
		return ErrBusy
	}
	defer e.working.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("rotate the encryption key: %w", err)
	}
	next, err := newKey()
	if err != nil {
		return err
	}
	keys := append([]*key{next}, e.keys...)
	if err := e.file.save(keys); err != nil {
		return err
	}
	e.keys, e.unclean = keys, true
	if err := e.note(ctx, record{Keys: namesOf(keys), Resources: e.record.Resources}); err != nil {
		return err
	}
	e.changing.Lock()
	e.ring.Store(newRing(e.file.path, e.keys, e.retired))
	e.changing.Unlock()
	klog.InfoS("Rotating the key that objects are encrypted with", "key", next.Name)
	e.progress.begin()
	if begun != nil {
		begun()
	}
	return e.settle(ctx)
}

// settle rewrites and then lets go of what nothing needs any more. e.working is held.
func (e *Encryption) settle(ctx context.Context) error {
	err := e.finish(ctx)
	e.progress.end(err)
	return err
}

func (e *Encryption) finish(ctx context.Context) error {
	e.progress.begin()
	if e.unclean {
		klog.InfoS("Bringing objects into the form that is configured", "resources", e.resources, "key", e.keys[0].Name)
	}
	rewritten, err := e.rewrite(ctx)
	e.unclean = e.unclean || rewritten > 0
	if err != nil {
		return err
	}
	if e.unclean {
		// What objects were before is in the storage's file still, in plain or under the old key.
		e.progress.clean()
		if err := e.etcd.Forget(ctx); err != nil {
			return fmt.Errorf("remove what objects were before they were encrypted anew: %w", err)
		}
		e.unclean = false
		e.at("forgotten")
	}
	if err := e.note(ctx, record{Keys: namesOf(e.keys[:1]), Resources: e.resources, Settled: true}); err != nil {
		return err
	}
	if len(e.keys) > 1 {
		if err := e.file.save(e.keys[:1]); err != nil {
			return err
		}
		e.retired = append(e.retired, e.keys[1:]...)
		e.keys = e.keys[:1:1]
	}
	if rewritten > 0 {
		klog.InfoS("Encrypted objects anew", "objects", rewritten, "key", e.keys[0].Name, "resources", e.resources)
	}
	return nil
}

// Status says how objects are stored. It reads all objects of the resources concerned, unless they are being rewritten.
func (e *Encryption) Status(ctx context.Context) (daemon.Encryption, error) {
	s := e.progress.status()
	s.KeyFile = e.file.path
	if !e.working.TryLock() {
		return s, nil
	}
	defer e.working.Unlock()
	// It may have ended meanwhile.
	s = e.progress.status()
	s.KeyFile = e.file.path
	if !e.record.Settled && s.Stage == daemon.EncryptionSettled {
		s.Stage = daemon.EncryptionPending
	}
	for _, k := range e.keys {
		s.Keys = append(s.Keys, daemon.EncryptionKey{Name: k.Name, Created: k.Created})
	}
	for _, resource := range union(e.record.Resources, e.resources) {
		counted, err := e.count(ctx, resource)
		if err != nil {
			return s, err
		}
		s.Resources = append(s.Resources, counted)
	}
	return s, nil
}

func namesOf(keys []*key) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return names
}

// union is all of a and b, in order.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
