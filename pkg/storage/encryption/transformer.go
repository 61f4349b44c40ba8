// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

// prefix begins an encrypted value; the name of its key follows, a colon, and what the AES transformer makes. Values that begin
// with k8s:enc: are encrypted for all of the API machinery, so that no part of it takes them for an object.
const prefix = "k8s:enc:hivemind:v1:"

// ring is the keys that are known at a time; it does not change.
type ring struct {
	file  string
	write *key
	all   map[string]*key
}

func newRing(file string, keys, retired []*key) *ring {
	r := &ring{file: file, write: keys[0], all: map[string]*key{}}
	for _, k := range append(retired, keys...) {
		r.all[k.Name] = k
	}
	return r
}

// seal encrypts data for the place that where names.
func (r *ring) seal(ctx context.Context, data []byte, where value.Context) ([]byte, error) {
	t, err := cipherOf(r.write)
	if err != nil {
		return nil, err
	}
	sealed, err := t.TransformToStorage(ctx, data, where)
	if err != nil {
		return nil, fmt.Errorf("encrypt with key %s: %w", r.write, err)
	}
	out := make([]byte, 0, len(prefix)+len(r.write.Name)+1+len(sealed))
	out = append(append(append(out, prefix...), r.write.Name...), ':')
	return append(out, sealed...), nil
}

// open decrypts what seal made, and tells whether that was with the key that is written with.
func (r *ring) open(ctx context.Context, data []byte, where value.Context) (out []byte, current bool, err error) {
	name, sealed, ok := cut(data)
	if !ok {
		return nil, false, errors.New("the stored value names no encryption key: the storage is damaged")
	}
	k, ok := r.all[name]
	if !ok {
		return nil, false, fmt.Errorf("encrypted with key %s, which is not in %s: put the file back from the backup that belongs to this storage", name, r.file)
	}
	t, err := cipherOf(k)
	if err != nil {
		return nil, false, err
	}
	out, _, err = t.TransformFromStorage(ctx, sealed, where)
	if err != nil {
		return nil, false, fmt.Errorf("decrypt with key %s: %w", k, err)
	}
	return out, k == r.write, nil
}

// cut takes the name of the key off an encrypted value.
func cut(data []byte) (name string, sealed []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(prefix))
	if !ok {
		return "", nil, false
	}
	before, sealed, ok := bytes.Cut(rest, []byte{':'})
	return string(before), sealed, ok
}

// cipherOf makes a transformer for one value. A lasting one would keep in memory the AES key that it has derived for every object that it has
// seen; to derive it again takes three microseconds.
func cipherOf(k *key) (value.Transformer, error) {
	return aes.NewHKDFExtendedNonceGCMTransformer(k.Seed)
}

// plain reads and writes objects that are not encrypted, and refuses those that another program has encrypted.
var plain = identity.NewEncryptCheckTransformer()

// transformer is how objects of one resource are stored. It reads both forms always, so that whatever an earlier configuration has
// left is found.
type transformer struct {
	of      *Encryption
	encrypt bool
	metric  string // the resource's name in metrics
}

// TransformerForResource implements value.ResourceTransformers.
func (e *Encryption) TransformerForResource(resource schema.GroupResource) value.Transformer {
	return transformer{e, e.encrypts(resource.String()), resource.String()}
}

// TransformFromStorage implements value.Transformer.
func (t transformer) TransformFromStorage(ctx context.Context, data []byte, where value.Context) (out []byte, stale bool, err error) {
	if !bytes.HasPrefix(data, []byte(prefix)) {
		out, _, err = plain.TransformFromStorage(ctx, data, where)
		return out, t.encrypt, err
	}
	begin := time.Now()
	out, current, err := t.of.ring.Load().open(ctx, data, where)
	value.RecordTransformation(t.metric, "from_storage", prefix, time.Since(begin), err)
	return out, !t.encrypt || !current, err
}

// TransformToStorage implements value.Transformer.
func (t transformer) TransformToStorage(ctx context.Context, data []byte, where value.Context) ([]byte, error) {
	if !t.encrypt {
		return plain.TransformToStorage(ctx, data, where)
	}
	begin := time.Now()
	out, err := t.of.ring.Load().seal(ctx, data, where)
	value.RecordTransformation(t.metric, "to_storage", prefix, time.Since(begin), err)
	return out, err
}

// guard is the last door before the storage. A write that was encrypted before the key changed, and comes after, is encrypted anew here: once the
// key has changed nothing is stored with the old one, and an object that has been rewritten stays so.
type guard struct {
	kubernetes.Interface
	of *Encryption
}

// OptimisticPut implements kubernetes.Interface, which is the one way in which the API machinery stores objects.
func (g guard) OptimisticPut(ctx context.Context, name string, data []byte, revision int64, options kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	if !bytes.HasPrefix(data, []byte(prefix)) {
		return g.Interface.OptimisticPut(ctx, name, data, revision, options)
	}
	g.of.changing.RLock()
	defer g.of.changing.RUnlock()
	r := g.of.ring.Load()
	if with, _, _ := cut(data); with != r.write.Name {
		out, _, err := r.open(ctx, data, value.DefaultContext(name))
		if err != nil {
			return kubernetes.PutResponse{}, err
		}
		if data, err = r.seal(ctx, out, value.DefaultContext(name)); err != nil {
			return kubernetes.PutResponse{}, err
		}
	}
	return g.Interface.OptimisticPut(ctx, name, data, revision, options)
}

var (
	_ value.ResourceTransformers = (*Encryption)(nil)
	_ value.Transformer          = transformer{}
)
