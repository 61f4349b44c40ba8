// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/fault"
	"github.com/hivemind-project/hivemind/test/histories/traffic"
)

func slowDisk(t *trial) error {
	t.slowDisk = fault.NewSlowDisk()
	return nil
}

// stalls is longer than etcd waits for a write before it answers that it knows nothing of it.
const stalls = 12 * time.Second

// stallDisk makes the disk slower, lets it stall, kills the server while it does, and makes it fast again.
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
	for _, kill := range []bool{false, true} {
		t.slowDisk.SetDelay(time.Hour)
		began := time.Now()
		var refused *traffic.Refused
		if err := t.filler.Create(ctx, fmt.Sprintf("stalled-%t", kill), 10); !errors.As(err, &refused) || refused.Code < 500 || refused.Message == "" {
			return fmt.Errorf("while the disk stalls a write is answered %w, want a Status with code 500 or more", errors.Join(err, errors.New("")))
		}
		took := time.Since(began)
		if err := t.readsFor(ctx, stalls-took); err != nil {
			return fmt.Errorf("while the disk stalls: %w", err)
		}
		t.note("stalled disk: a write was answered after %.1f s: %s", took.Seconds(), refused)
		if kill {
			if err := t.kill(); err != nil {
				return err
			}
		}
		t.slowDisk.SetDelay(0)
		if kill {
			if err := errors.Join(t.restart(ctx, false), t.ready(ctx)); err != nil {
				return err
			}
		}
		took, err := t.filler.WritesGoOn(ctx, fmt.Sprintf("after-%t", kill), recoverWithin)
		if err != nil {
			return err
		}
		t.note("stalled disk: writes went on after %.1f s", took.Seconds())
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	t.note("%d calls waited for the disk", t.slowDisk.Calls.Load())
	return nil
}

// readsFor reads for a while.
func (t *trial) readsFor(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := t.filler.Read(ctx, "kept"); err != nil {
			return fmt.Errorf("a read: %w", err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
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
