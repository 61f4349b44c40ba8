// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/storage"
)

// Objects are read pageSize at a time, and what is to be rewritten of a page is written in transactions of up to batchBytes, so that
// many small objects cost one wait for the disk, and large ones stay below what etcd takes at once.
const (
	pageSize   = 32
	batchBytes = 1 << 20
)

// collection is the etcd key below which the objects of a resource are.
func collection(resource string) string {
	name, group, _ := strings.Cut(resource, ".")
	if group != "" {
		name = group + "/" + name
	}
	return storage.Prefix + "/" + name + "/"
}

// each calls do for every page of a resource's objects, as they are stored.
func (e *Encryption) each(ctx context.Context, resource string, do func([]*mvccpb.KeyValue) error) error {
	from := collection(resource)
	end := clientv3.GetPrefixRangeEnd(from)
	for {
		page, err := e.etcd.Client.KV.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
		if err != nil {
			return fmt.Errorf("read %s: %w", resource, err)
		}
		if err := do(page.Kvs); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// count says how a resource's objects are stored.
func (e *Encryption) count(ctx context.Context, resource string) (daemon.EncryptedResource, error) {
	c := daemon.EncryptedResource{Resource: resource, Encrypt: e.encrypts(resource), Encrypted: map[string]int64{}}
	err := e.each(ctx, resource, func(page []*mvccpb.KeyValue) error {
		for _, kv := range page {
			if name, _, ok := cut(kv.Value); ok {
				c.Encrypted[name]++
			} else {
				c.Plain++
			}
		}
		return nil
	})
	return c, err
}

// rewrite brings every object into the form that it should have, and returns how many were not. An object that cannot be read
// keeps the others from nothing, but the rewriting from its end.
func (e *Encryption) rewrite(ctx context.Context) (rewritten int64, err error) {
	resources := union(e.record.Resources, e.resources)
	for _, resource := range resources {
		counted, err := e.etcd.Client.KV.Get(ctx, collection(resource), clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return 0, fmt.Errorf("count %s: %w", resource, err)
		}
		e.progress.expect(counted.Count)
	}
	var unreadable int
	var first error
	for _, resource := range resources {
		form := transformer{e, e.encrypts(resource), resource}
		err := e.each(ctx, resource, func(page []*mvccpb.KeyValue) error {
			var b batch
			for _, kv := range page {
				fresh, stale, err := form.renew(ctx, kv)
				if err != nil {
					unreadable++
					if first == nil {
						first = fmt.Errorf("%s: %w", kv.Key, err)
					}
					continue
				}
				if !stale {
					continue
				}
				rewritten++
				if b.size > 0 && b.size+len(fresh) > batchBytes {
					if err := e.write(ctx, form, b); err != nil {
						return err
					}
					b = batch{}
				}
				b.add(kv, fresh)
			}
			if err := e.write(ctx, form, b); err != nil {
				return err
			}
			e.progress.advance(int64(len(page)))
			return nil
		})
		if err != nil {
			return rewritten, err
		}
	}
	if unreadable > 0 {
		return rewritten, fmt.Errorf("%d objects cannot be decrypted, and keep the old keys from being dropped: %w", unreadable, first)
	}
	return rewritten, nil
}

// renew returns an object in the form that it should have, and whether it has another.
func (t transformer) renew(ctx context.Context, kv *mvccpb.KeyValue) (fresh []byte, stale bool, err error) {
	where := value.DefaultContext(kv.Key)
	out, stale, err := t.TransformFromStorage(ctx, kv.Value, where)
	if err != nil || !stale {
		return nil, false, err
	}
	fresh, err = t.TransformToStorage(ctx, out, where)
	return fresh, true, err
}

// batch is objects that are written at once, if none of them has changed.
type batch struct {
	unchanged []clientv3.Cmp
	puts      []clientv3.Op
	size      int
}

func (b *batch) add(kv *mvccpb.KeyValue, fresh []byte) {
	name := string(kv.Key)
	b.unchanged = append(b.unchanged, clientv3.Compare(clientv3.ModRevision(name), "=", kv.ModRevision))
	// An object that goes by itself after a time, as events do, still does.
	b.puts = append(b.puts, clientv3.OpPut(name, string(fresh), clientv3.WithIgnoreLease()))
	b.size += len(fresh)
}

// write stores a batch, or its objects one by one where one of them was changed meanwhile.
func (e *Encryption) write(ctx context.Context, form transformer, b batch) error {
	if len(b.puts) == 0 {
		return nil
	}
	response, err := e.etcd.Client.KV.Txn(ctx).If(b.unchanged...).Then(b.puts...).Commit()
	if err != nil {
		return fmt.Errorf("encrypt objects anew: %w", err)
	}
	if !response.Succeeded {
		for _, put := range b.puts {
			if err := e.writeOne(ctx, form, string(put.KeyBytes())); err != nil {
				return err
			}
		}
	}
	e.at("objects rewritten")
	return nil
}

// writeOne rewrites an object unless it has gone, or whoever changed it has stored it as it should be.
func (e *Encryption) writeOne(ctx context.Context, form transformer, name string) error {
	for {
		got, err := e.etcd.Client.KV.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if len(got.Kvs) == 0 {
			return nil
		}
		kv := got.Kvs[0]
		fresh, stale, err := form.renew(ctx, kv)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !stale {
			return nil
		}
		var one batch
		one.add(kv, fresh)
		response, err := e.etcd.Client.KV.Txn(ctx).If(one.unchanged...).Then(one.puts...).Commit()
		if err != nil {
			return fmt.Errorf("encrypt %s anew: %w", name, err)
		}
		if response.Succeeded {
			return nil
		}
	}
}

// progress is how far the work has come; it may be asked at any time.
type progress struct {
	mu    sync.Mutex
	stage string
	done  int64
	total int64
	err   error
}

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.done, p.total, p.err = daemon.EncryptionRewriting, 0, 0, nil
}

func (p *progress) expect(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
}

func (p *progress) advance(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.total = max(p.total, p.done) // some were created since they were counted
}

func (p *progress) clean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = daemon.EncryptionCleaning
}

func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage, p.err = daemon.EncryptionSettled, err
	if err != nil {
		p.stage = daemon.EncryptionPending
	}
}

func (p *progress) status() daemon.Encryption {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := daemon.Encryption{Stage: p.stage, Rewritten: p.done, Total: p.total}
	if s.Stage == "" {
		s.Stage = daemon.EncryptionSettled
	}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}
