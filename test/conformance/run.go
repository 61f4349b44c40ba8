// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// runner gives tests to workers and stores what comes of them.
type runner struct {
	tests    []test
	worker   *worker
	store    *store
	procs    int
	progress *progress
}

// examine runs the tests: those that bear company first, procs at once, then those that do not ([Serial]), one by one. It ends early, with an error, when ctx ends or
// the server is gone; what was not done by then has no result.
func (r *runner) examine(ctx context.Context) error {
	var together, alone []test
	for _, t := range r.tests {
		if t.has("Serial") || t.has("Disruptive") {
			alone = append(alone, t)
		} else {
			together = append(together, t)
		}
	}
	// The longest first, so that the last of them does not run alone at the end.
	slices.SortStableFunc(together, func(a, b test) int { return weight(b) - weight(a) })
	if err := r.pool(ctx, together, r.procs); err != nil {
		return err
	}
	return r.pool(ctx, alone, 1)
}

func weight(t test) int {
	if t.has("Slow") {
		return 1
	}
	return 0
}

// pool works through a list with n workers.
func (r *runner) pool(ctx context.Context, tests []test, n int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan test)
	go func() {
		defer close(queue)
		for _, t := range tests {
			select {
			case queue <- t:
			case <-ctx.Done():
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range min(n, len(tests)) {
		workers.Go(func() {
			for t := range queue {
				if err := r.one(ctx, t); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// one examines a test and stores its result. A server that does not answer after a test ends the run: what follows would only say so again.
func (r *runner) one(ctx context.Context, t test) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	r.progress.began(t)
	res, err := r.worker.examine(ctx, t)
	if err != nil {
		return err
	}
	var gone error
	if res.Outcome != passed {
		if gone = r.worker.cluster.ready(ctx); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if gone != nil {
			res.Why = "the server was gone at its end: " + res.Why
		}
	}
	if err := r.store.add(res); err != nil {
		return err
	}
	r.progress.ended(t, res)
	if gone != nil {
		return fmt.Errorf("%w; this was after %q (see %s)", gone, t.Name, r.worker.cluster.where)
	}
	return nil
}
