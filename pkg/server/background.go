// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/klog/v2"
)

// background counts what runs until the server ends, so that Stop can wait for it.
type background struct {
	running sync.WaitGroup

	mu    sync.Mutex
	parts map[string]error // of the control plane that have been started; why one is not well, nil if it is
}

// start runs f with ctx in a goroutine of its own, for a part of the control plane. An error that is not the end of ctx is
// logged with the name. What ends before ctx does leaves its part unwell.
func (b *background) start(ctx context.Context, part, name string, f func(context.Context) error) {
	b.report(part, nil)
	b.work(ctx, name, func(ctx context.Context) error {
		err := f(ctx)
		b.report(part, fmt.Errorf("%s has ended: %w", name, cmp.Or(err, context.Cause(ctx), errEnded)))
		return err
	})
}

// work runs f as start does, for no part: it may end when it is done.
func (b *background) work(ctx context.Context, name string, f func(context.Context) error) {
	b.running.Add(1)
	go func() {
		defer b.running.Done()
		if err := f(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Ended before its time", "name", name)
		}
	}()
}

// errEnded is why something does not run that gives no reason.
var errEnded = errors.New("it gave no reason")

// report keeps the first reason why a part is not well.
func (b *background) report(part string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parts == nil {
		b.parts = map[string]error{}
	}
	b.parts[part] = cmp.Or(b.parts[part], err)
}

// health returns a function that tells why a part is not well.
func (b *background) health(part string) func(context.Context) error {
	return func(context.Context) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		err, started := b.parts[part]
		if !started {
			return errors.New("it has not been started")
		}
		return err
	}
}

// wait returns when all have returned, or ctx ends.
func (b *background) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		b.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("something still runs: %w", context.Cause(ctx))
	}
}
