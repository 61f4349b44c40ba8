// SPDX-License-Identifier: Apache-2.0

// Package traffic is clients that write, read and watch the same few objects all at once, through restarts of the server, and a record of what they see.
//
// It grows with the number of requests: a record of ten minutes on two cores takes some hundred megabytes.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

// Options are how much there is to do. The same seed makes the same choices; what they meet is up to time.
type Options struct {
	Seed    uint64
	Clients int // that write and read
	Objects int // of each kind
}

// Traffic is clients at work.
type Traffic struct {
	Record *Record

	server   *Server
	names    []string
	ctx      context.Context
	cancel   context.CancelFunc
	stop     chan struct{} // ends the clients
	clients  sync.WaitGroup
	watchers sync.WaitGroup
	all      []*watcher
	ends     sync.Map // by resource, the version at which its watches may end
	ending   context.Context
	endAll   context.CancelFunc
}

// Prepare makes the namespace and the custom resource that clients use.
func Prepare(ctx context.Context, server *Server) error {
	c := server.connect()
	defer c.close()
	space := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}}
	for path, object := range map[string]map[string]any{"/api/v1/namespaces": space, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": definition} {
		if err := c.do(ctx, http.MethodPost, path, nil, "application/json", object, nil); err != nil {
			return fmt.Errorf("create %s: %w", object["kind"], err)
		}
	}
	for _, k := range kinds {
		// A pod needs the service account, which a controller makes; a widget its definition, which takes a moment to be served.
		if err := eventually(ctx, func() error {
			return c.do(ctx, http.MethodPost, k.path(""), nil, "application/json", k.manifest("first", "first"), nil)
		}); err != nil {
			return fmt.Errorf("create the first of %s: %w", k.resource, err)
		}
		if err := c.do(ctx, http.MethodDelete, k.path("first"), nil, "", nil, nil); err != nil {
			return fmt.Errorf("delete the first of %s: %w", k.resource, err)
		}
	}
	return nil
}

// eventually calls f until it succeeds, for half a minute.
func eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		idle(ctx.Done(), awayFor)
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// Start lets clients and watchers loose on a server that is prepared.
func Start(ctx context.Context, server *Server, o Options) *Traffic {
	t := &Traffic{Record: NewRecord(), server: server, stop: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.ending, t.endAll = context.WithCancel(t.ctx)
	for i := range o.Objects {
		t.names = append(t.names, fmt.Sprintf("o%d", i))
	}
	for i := range kinds {
		t.all = append(t.all, newWatchers(t.ending, server, t.Record, &kinds[i], t.names, o.Seed, 1000+10*i)...)
	}
	for _, w := range t.all {
		t.watchers.Go(func() { w.run(t.ctx, func() int64 { return t.end(w.kind.resource) }) })
	}
	for i := range o.Clients {
		c := t.client(o.Seed, i)
		t.clients.Go(func() { c.run(t.ctx, t.stop) })
	}
	return t
}

func (t *Traffic) client(seed uint64, id int) *client {
	return &client{connection: t.server.connect(), id: id, record: t.Record, random: rand.New(rand.NewPCG(seed, uint64(id))), names: t.names}
}

func (t *Traffic) end(resource string) int64 {
	if end, ok := t.ends.Load(resource); ok {
		return end.(int64)
	}
	return 0
}

// Finish ends the clients, reads what there is, writes every object once more, and waits until every watch has seen that. The server must be well.
func (t *Traffic) Finish() error {
	close(t.stop)
	t.clients.Wait()
	c := t.client(0, 999)
	defer c.close()
	for i := range kinds {
		k := &kinds[i]
		if err := t.readAll(c, k); err != nil {
			return err
		}
		// The watch of one object is that of the first, so that is the last to be written.
		for i := len(t.names) - 1; i >= 0; i-- {
			before := c.acknowledged
			if err := eventually(t.ctx, func() error {
				if err := c.apply(t.ctx, k, t.names[i]); err != nil {
					return err
				}
				if c.acknowledged == before {
					return errors.New("it was refused")
				}
				return nil
			}); err != nil {
				return fmt.Errorf("write %s/%s at the end: %w", k.resource, t.names[i], err)
			}
		}
		if err := t.readAll(c, k); err != nil {
			return err
		}
		t.ends.Store(k.resource, c.acknowledged)
	}
	t.endAll()
	return t.finishWatches()
}

// readAll lists a resource, consistently.
func (t *Traffic) readAll(c *client, k *kind) error {
	return eventually(t.ctx, func() error {
		l := &judge.List{Client: c.id, Resource: k.resource, Call: t.Record.now()}
		if _, err := c.page(t.ctx, k, l, nil); err != nil {
			return fmt.Errorf("list %s at the end: %w", k.resource, err)
		}
		t.Record.list(l)
		return nil
	})
}

// watchesWithin is how long watches may take to see the last change; each goes on from where it was.
const watchesWithin = time.Minute

func (t *Traffic) finishWatches() error {
	done := make(chan struct{})
	go func() {
		t.watchers.Wait()
		close(done)
	}()
	select {
	case <-done:
		t.cancel()
		return nil
	case <-time.After(watchesWithin):
	}
	t.cancel()
	<-done
	var errs []error
	for _, w := range t.all {
		if end := t.end(w.kind.resource); w.last < end {
			errs = append(errs, fmt.Errorf("watch of %s by client %d is at version %d and has not seen %d, the last, in %s",
				judge.Key{Resource: w.kind.resource, Name: w.name}, w.id, w.last, end, watchesWithin))
		}
	}
	return errors.Join(errs...)
}

// Abort ends everything, where the server cannot be made well.
func (t *Traffic) Abort() {
	select {
	case <-t.stop:
	default:
		close(t.stop)
	}
	t.cancel()
	t.clients.Wait()
	t.watchers.Wait()
}
