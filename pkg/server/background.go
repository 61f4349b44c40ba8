// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"sync"
)

// background counts what runs until the server ends, so that Stop can wait for it.
type background struct{ running sync.WaitGroup }

// start runs f with ctx in a goroutine of its own.
func (b *background) start(ctx context.Context, f func(context.Context)) {
	b.running.Add(1)
	go func() {
		defer b.running.Done()
		f(ctx)
	}()
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
