// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/fault"
	"github.com/hivemind-project/hivemind/test/histories/traffic"
)

func slowDisk(t *trial) error {
	t.slowDisk = fault.NewSlowDisk()
	return nil
}

// stallDisk makes the disk slower, lets it stall twice, kills the server while it does so the second time, and makes it fast again.
func stallDisk(ctx context.Context, t *trial) error {
	if err := t.filler.Create(ctx, "kept", 10); err != nil {
		return err
	}
	for _, delay := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
		t.slowDisk.SetDelay(delay)
		t.traffic.Record.Longest()
		if err := pause(ctx, 5*time.Second); err != nil {
			return err
		}
		t.note("each sync %s late: the slowest request took %.1f s", delay, t.traffic.Record.Longest().Seconds())
	}
	t.slowDisk.SetDelay(time.Hour)
	if err := t.answersWhileStalled(ctx); err != nil {
		return fmt.Errorf("while the disk stalls: %w", err)
	}
	t.slowDisk.SetDelay(0)
	if err := t.goesOn(ctx, "after-stall"); err != nil {
		return err
	}
	t.slowDisk.SetDelay(time.Hour)
	if err := errors.Join(pause(ctx, 3*time.Second), t.kill()); err != nil {
		return err
	}
	t.slowDisk.SetDelay(0)
	if err := errors.Join(t.restart(ctx, false), t.ready(ctx)); err != nil {
		return err
	}
	if err := t.goesOn(ctx, "after-kill"); err != nil {
		return err
	}
	t.note("%d calls waited for the disk", t.slowDisk.Calls.Load())
	return nil
}

// answersWhileStalled checks that no request hangs, a write or a read, for longer than the server grants requests.
func (t *trial) answersWhileStalled(ctx context.Context) error {
	var work sync.WaitGroup
	answers := map[string]error{}
	took := map[string]time.Duration{}
	var mu sync.Mutex
	for what, ask := range map[string]func() error{
		"write": func() error { return t.filler.Create(ctx, "stalled", 10) },
		"read":  func() error { return t.filler.Read(ctx, "kept") },
	} {
		work.Go(func() {
			if what == "read" { // by when the storage waits too
				if err := pause(ctx, 2*time.Second); err != nil {
					return
				}
			}
			began := time.Now()
			err := ask()
			mu.Lock()
			defer mu.Unlock()
			answers[what], took[what] = err, time.Since(began)
		})
	}
	work.Wait()
	for _, what := range slices.Sorted(maps.Keys(answers)) {
		var refused *traffic.Refused
		if err := answers[what]; err != nil && (!errors.As(err, &refused) || refused.Code < 500 || refused.Message == "") || err == nil && what == "write" {
			return fmt.Errorf("a %s is answered after %s with %w, want a Status with code 500 or more", what, took[what], errors.Join(err, errors.New("")))
		}
		t.note("stalled disk: a %s is answered after %.1f s: %v", what, took[what].Seconds(), answers[what])
	}
	return nil
}

// goesOn waits for writes, and lets clients work for a while.
func (t *trial) goesOn(ctx context.Context, name string) error {
	took, err := t.filler.WritesGoOn(ctx, name, recoverWithin)
	if err != nil {
		return err
	}
	t.note("%s: writes went on after %.2f s", name, took.Seconds())
	return pause(ctx, 2*time.Second)
}

// stepClock sets the clock of the server while it runs, and while it does not.
func stepClock(ctx context.Context, t *trial) error {
	clock, err := fault.TakeClock(t.process.Process.Pid)
	if err != nil {
		return err
	}
	for i, offset := range []time.Duration{0, time.Hour, 0, -time.Hour, time.Hour} {
		if err := clock.Set(offset); err != nil {
			return err
		}
		if i == 3 { // the next process has the machine's clock, an hour later than this one's
			if err := pause(ctx, 3*time.Second); err != nil {
				return err
			}
			if err := errors.Join(clock.Close(), t.restart(ctx, false), t.ready(ctx)); err != nil {
				return err
			}
			if clock, err = fault.TakeClock(t.process.Process.Pid); err != nil {
				return err
			}
		}
		t.traffic.Record.Longest()
		if _, err := t.filler.WritesGoOn(ctx, fmt.Sprintf("set-%d", i), recoverWithin); err != nil {
			return fmt.Errorf("with a clock that was set by %s: %w", offset, err)
		}
		if err := pause(ctx, 3*time.Second); err != nil {
			return err
		}
		t.note("clock set to %+.0f h: the slowest request took %.2f s", offset.Hours(), t.traffic.Record.Longest().Seconds())
	}
	// Back, as at the end of a stay in the future.
	return errors.Join(clock.Set(0), clock.Close(), pause(ctx, 2*time.Second))
}
