// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// ground is what tests run on.
type ground int

const (
	serverAlone ground = iota
	oneNode            // this machine, with real containers
	twoNodes           // simulated ones, in one process
)

// batch is tests that run in the same cluster.
type batch struct {
	ground   ground
	tests    []test
	needNode int // how many of them need a node
}

// batches puts tests into the fewest clusters that will do, the one with real containers first. A cluster that runs already (given) has them all.
func (s *suite) batches(tests []test, given bool) ([]batch, error) {
	alone, err := s.set("no-node")
	if err != nil {
		return nil, err
	}
	pairs, err := s.set("two-nodes")
	if err != nil {
		return nil, err
	}
	var first, second batch
	second.ground = twoNodes
	for _, t := range tests {
		switch {
		case slices.Contains(alone, t):
			first.tests = append(first.tests, t)
		case slices.Contains(pairs, t) && !given:
			second.tests = append(second.tests, t)
			second.needNode++
		default:
			first.tests = append(first.tests, t)
			first.ground = oneNode
			first.needNode++
		}
	}
	return slices.DeleteFunc([]batch{first, second}, func(b batch) bool { return len(b.tests) == 0 }), nil
}

// examination is the run of all batches.
type examination struct {
	options  options
	suite    *suite
	subject  *subject
	store    *store
	progress *progress
	tell     io.Writer
}

// batch starts a cluster, runs the tests in it, and removes it. unable is why there is no such cluster; ended why the run ended before its end.
func (x *examination) batch(ctx context.Context, b batch) (ended, unable error) {
	e, err := x.subject.start(ctx, b, x.tell)
	if err != nil {
		return nil, err
	}
	w := &worker{suite: x.suite, cluster: e, dir: x.store.dir, limit: x.options.timeout}
	if w.limit == 0 {
		// The longest of those without a node takes 250 seconds on stock Kubernetes.
		if w.limit = 6 * time.Minute; b.needNode > 0 {
			w.limit = 10 * time.Minute
		}
	}
	if x.options.kubeconfig != "" {
		w.cleaning = 2 * grace
	}
	r := &runner{tests: b.tests, worker: w, store: x.store, procs: x.options.procs, progress: x.progress}
	if ended = r.examine(ctx); ctx.Err() != nil {
		ended = nil // the caller sees to that
	}
	return errors.Join(ended, e.end()), nil
}
