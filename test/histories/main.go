// SPDX-License-Identifier: Apache-2.0

// Command histories lets many clients loose on a hivemindd whose process, disk and clock fail, and judges from what they saw whether anything was lost that had
// been acknowledged; `make histories` runs it. It prints its seed: the same seed makes the same choices, as far as time allows.
//
//	go run ./test/histories [-for 10m] [-seed 7] [-clients 12] [-objects 6] [-faults kill,quota,disk-full,slow-disk,clock]
//
// Where to look: faults.go (what is broken, and what must come of it), traffic (the clients), judge (what makes a history bad), fault (how things are broken).
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/fault"
	"github.com/hivemind-project/hivemind/test/histories/traffic"
)

// options are what the command line says.
type options struct {
	length  time.Duration // of the trial in which the server is killed; the others are as long as their fault takes
	faults  []string
	seed    uint64
	clients int
	objects int
	keep    bool
}

func main() {
	fault.RunIfChild() // starts hivemindd, in a process of its own, and does not return
	o := options{}
	names := flag.String("faults", strings.Join(names(), ","), "what to break")
	flag.DurationVar(&o.length, "for", 10*time.Minute, "how long the server is killed again and again; other faults take less")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1e9), "of all choices")
	flag.IntVar(&o.clients, "clients", 12, "that write and read")
	flag.IntVar(&o.objects, "objects", 6, "of each kind that they share")
	flag.BoolVar(&o.keep, "keep", false, "keep the data directories and logs")
	flag.Parse()
	o.faults = strings.Split(*names, ",")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "histories:", err)
		os.Exit(1)
	}
}

// run breaks one thing after the other.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "hivemind-histories-")
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range o.faults {
		s, err := find(name)
		if err == nil {
			err = try(ctx, o, s, filepath.Join(dir, s.name))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s, seed %d: %w", name, o.seed, err))
		}
	}
	if o.keep || len(failed) > 0 {
		fmt.Fprintln(os.Stderr, "histories: logs and data are in", dir)
	} else if err := os.RemoveAll(dir); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// trial is a server with clients at work while things fail.
type trial struct {
	options
	*daemon
	dir     string
	random  *rand.Rand
	traffic *traffic.Traffic
	filler  *traffic.Filler
	notes   []string // what there is to tell of it

	disk     *fault.Disk     // that has the data, where it is one of its own
	slowDisk *fault.SlowDisk // that hivemindd waits for, where it does
}

// try runs one trial from an empty data directory to the verdict.
func try(ctx context.Context, o options, s scenario, dir string) (err error) {
	fmt.Fprintf(os.Stderr, "%s, seed %d: %s ... ", s.name, o.seed, s.what)
	began := time.Now()
	t := &trial{options: o, dir: dir, random: rand.New(rand.NewPCG(o.seed, 1<<32))}
	defer func() { err = errors.Join(err, t.end()) }()
	if err := t.prepare(ctx, s); err != nil {
		return err
	}
	if err := s.run(ctx, t); err != nil {
		t.traffic.Abort()
		return err
	}
	if err := t.traffic.Finish(); err != nil {
		return err
	}
	t.noteRefusals()
	counts, ran := t.traffic.Record.Counts(), time.Since(began)
	errs := t.traffic.Record.Judge()
	fmt.Fprintf(os.Stderr, "%.0f s, judged in %.0f s\n  %s; %d starts, the slowest %.2f s to ready\n",
		ran.Seconds(), time.Since(began).Seconds()-ran.Seconds(), counts, t.starts, t.slowest.Seconds())
	for _, n := range t.notes {
		fmt.Fprintln(os.Stderr, "  "+n)
	}
	if counts.Acknowledged < 100 {
		errs = append(errs, fmt.Errorf("only %d writes were acknowledged, which proves nothing", counts.Acknowledged))
	}
	if len(errs) > 0 {
		errs = append(errs[:min(len(errs), mostErrors)], t.writeHistory())
	}
	return errors.Join(errs...)
}

// writeHistory leaves all that clients saw beside the log.
func (t *trial) writeHistory() error {
	f, err := os.Create(t.dir + ".history")
	if err != nil {
		return err
	}
	return errors.Join(t.traffic.Record.Write(f), f.Close())
}

// mostErrors are printed; the history has them all.
const mostErrors = 10

// prepare starts server and clients.
func (t *trial) prepare(ctx context.Context, s scenario) (err error) {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	if s.setUp != nil {
		if err := s.setUp(t); err != nil {
			return err
		}
	}
	data := t.dir
	if t.disk != nil {
		data = t.disk.Room
	}
	if t.daemon, err = newDaemon(data, t.dir+".log", s.args...); err != nil {
		return err
	}
	t.daemon.slow = t.slowDisk
	if err := t.start(ctx); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return err
	}
	server, err := traffic.NewServer(t.config.AdminKubeconfig())
	if err != nil {
		return err
	}
	if err := traffic.Prepare(ctx, server); err != nil {
		return err
	}
	t.filler = traffic.NewFiller(server)
	t.traffic = traffic.Start(ctx, server, traffic.Options{Seed: t.seed, Clients: t.clients, Objects: t.objects})
	return nil
}

// end ends all that prepare has started, also where it has failed.
func (t *trial) end() error {
	var errs []error
	if t.traffic != nil {
		t.traffic.Abort()
	}
	if t.daemon != nil {
		errs = append(errs, t.daemon.remove())
	}
	if t.slowDisk != nil {
		t.slowDisk.Close()
	}
	if t.disk != nil {
		errs = append(errs, t.disk.Close())
	}
	return errors.Join(errs...)
}

// mostRefusals are told of, by how often they came.
const mostRefusals = 5

// noteRefusals tells what was answered to requests that failed.
func (t *trial) noteRefusals() {
	refusals := t.traffic.Record.Refusals()
	texts := slices.SortedFunc(maps.Keys(refusals), func(a, b string) int {
		return cmp.Or(cmp.Compare(refusals[b], refusals[a]), cmp.Compare(a, b))
	})
	for i, text := range texts {
		if i == mostRefusals {
			t.note("and %d other answers to requests that failed", len(texts)-i)
			break
		}
		t.note("%d times: %s", refusals[text], text)
	}
}

func (t *trial) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// pause lets the clients work on.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
