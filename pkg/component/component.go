// SPDX-License-Identifier: Apache-2.0

// Package component starts the parts of a process in order and stops them in reverse.
//
// A part's life, as its owner sees it:
//
//	        Start            Ready              Stop
//	(new) ─────────▶ started ─────────▶ ready ─────────▶ stopped
//	   ╰── error: nothing to stop ╯ ╰── error: Stop runs ╯
//
// Start returns as soon as the part runs; its context bounds the start alone, never the part's life.
// Ready blocks until the part does its work. Stop is called once, and only if Start returned nil; its context
// bounds how long it may take. The cost is one goroutine at a time: parts are few and start in milliseconds.
package component

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Component is one part of a process. Name is what progress lines and errors call it. Ready and Stop may be nil.
type Component struct {
	Name  string
	Start func(ctx context.Context) error
	Ready func(ctx context.Context) error
	Stop  func(ctx context.Context) error
}

// Progress is told once for every component that has become ready, and how long that took.
type Progress func(name string, took time.Duration)

// Group is an ordered list of components that are started together.
type Group struct {
	components []Component
	started    []Component
}

// NewGroup returns a group that starts components in the order given.
func NewGroup(components ...Component) *Group {
	return &Group{components: components}
}

// Start starts every component and waits for each to be ready before the next one starts. Where one fails, those
// that were started are stopped in reverse, and the error names the one that failed. progress may be nil.
func (g *Group) Start(ctx context.Context, progress Progress) error {
	for _, c := range g.components {
		begin := time.Now()
		err := c.Start(ctx)
		if err == nil {
			g.started = append(g.started, c)
			if c.Ready != nil {
				err = c.Ready(ctx)
			}
		}
		if err != nil {
			err = fmt.Errorf("start %s: %w", c.Name, err)
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			return errors.Join(err, g.Stop(stop))
		}
		if progress != nil {
			progress(c.Name, time.Since(begin))
		}
	}
	return nil
}

// Stop stops what was started, last first, each even if another failed, and returns their errors joined. It may be
// called again: what was stopped stays so.
func (g *Group) Stop(ctx context.Context) error {
	var errs []error
	for len(g.started) > 0 {
		last := len(g.started) - 1
		c := g.started[last]
		g.started = g.started[:last]
		if c.Stop == nil {
			continue
		}
		if err := c.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}
