// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/klog/v2"
)

// background counts what runs until the server ends, so that Stop can wait for it.
type background struct{ running sync.WaitGroup }

// start runs f with ctx in a goroutine of its own. An error that is not the end of ctx is logged with the name.
func (b *background) start(ctx context.Context, name string, f func(context.Context) error) {
	b.running.Add(1)
	go func() {
		defer b.running.Done()
		if err := f(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Ended before its time", "name", name)
		}
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
