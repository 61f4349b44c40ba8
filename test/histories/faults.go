// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/fault"
)

// scenario is one thing that fails, and what must come of it.
type scenario struct {
	name, what string
	args       []string // of hivemindd
	// setUp may make another directory for its data. What it has to undo, it leaves in the trial.
	setUp func(t *trial) error
	run   func(ctx context.Context, t *trial) error // while clients work; it leaves a server that is well
}

var scenarios = []scenario{
	{name: "kill", what: "the server is killed again and again", run: killAgainAndAgain},
	{name: "quota", what: "the storage reaches its quota", args: []string{"--storage-quota-bytes", fmt.Sprint(quota)}, run: reachQuota},
	{name: "disk-full", what: "the disk is full", setUp: smallDisk, run: fillDisk},
	{name: "slow-disk", what: "the disk is slow, and stalls", setUp: slowDisk, run: stallDisk},
	{name: "clock", what: "the clock is set an hour forwards and backwards", run: stepClock},
}

func names() []string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return all
}

func find(name string) (scenario, error) {
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("-faults: there is none of that name; there are %s", strings.Join(names(), ", "))
}

// killAgainAndAgain kills the server at random moments, also while it starts, and leaves a torn record in its log half of the time.
func killAgainAndAgain(ctx context.Context, t *trial) error {
	torn := 0
	for end := time.Now().Add(t.length); time.Now().Before(end); {
		if err := pause(ctx, time.Duration(500+t.random.IntN(5000))*time.Millisecond); err != nil {
			return err
		}
		if !t.alive() {
			return fmt.Errorf("hivemindd has ended by itself; see %s", t.log)
		}
		tear, again := t.random.IntN(2) == 0, t.random.IntN(5) == 0
		if err := t.restart(ctx, tear); err != nil {
			return err
		}
		if tear {
			torn++
		}
		if again { // before it is ready
			if err := pause(ctx, time.Duration(t.random.IntN(400))*time.Millisecond); err != nil {
				return err
			}
			if err := t.restart(ctx, false); err != nil {
				return err
			}
		}
		if err := t.ready(ctx); err != nil {
			return err
		}
	}
	t.note("%d times the log ended in a torn record", torn)
	return nil
}

// restart kills the server and starts it again, after a moment in which clients learn that it has gone.
func (t *trial) restart(ctx context.Context, tear bool) error {
	if err := t.kill(); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(20+t.random.IntN(200))*time.Millisecond); err != nil {
		return err
	}
	if tear {
		if err := fault.TearTail(t.config.Path("etcd"), t.random); err != nil {
			return fmt.Errorf("tear the write-ahead log: %w", err)
		}
	}
	t.traffic.Record.Died()
	return t.start(ctx)
}
