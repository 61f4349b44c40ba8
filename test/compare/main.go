// SPDX-License-Identifier: Apache-2.0

// Command compare puts the same load on Hivemind and on stock Kubernetes, alternately and in one run, and prints how they compare; `make bench-compare`
// runs it. Ratios within a run mean the same on a slow machine and on a fast one; nothing else should run meanwhile.
//
//	make bench-compare ARGS='-rounds 5 -write docs/bench-compare.md'
//
// Where to look: systems.go (what is compared), round.go (what is measured on each), rows.go (the table's lines and their targets), machine.go (what else runs), report.go (medians and
// ratios), print.go (forms of output).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/load"
)

// options are what the command line says.
type options struct {
	load.Sizes
	clients   int
	rounds    int
	idle      time.Duration
	timeout   time.Duration
	clientQPS int
	systems   []string
	phases    []string
	output    string
	write     string
}

func main() {
	o := options{Sizes: load.DefaultSizes()}
	o.Deployments = []int{500}
	flag.IntVar(&o.rounds, "rounds", 3, "how often each system is measured")
	flag.IntVar(&o.clients, "clients", 16, "requests under way at a time, each on a connection of its own")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "how long a system is left alone after its start, and again while its CPU time is counted; 0 measures no idle")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "what a phase of the load may take")
	flag.IntVar(&o.clientQPS, "client-qps", 1000, "requests a second that stock controllers allow themselves; 0 leaves their default of 20")
	systems := flag.String("systems", strings.Join(systemNames, ","), "what to measure")
	phases := flag.String("phases", "configmaps,pods,gets,lists,patches,watches,deployments,deletes", "phases of the load, in this order: "+strings.Join(load.Phases(), ", "))
	flag.StringVar(&o.output, "o", "table", "how to print the result: "+strings.Join(forms, ", "))
	flag.StringVar(&o.write, "write", "", "write the result to this `file` too, as Markdown")
	o.Flags(flag.CommandLine)
	flag.Parse()
	o.systems, o.phases = strings.Split(*systems, ","), strings.Split(*phases, ",")
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "compare: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// check says what is wrong with the command line.
func (o options) check() error {
	if o.rounds < 1 {
		return fmt.Errorf("-rounds %d: it must be 1 or more", o.rounds)
	}
	if !slices.Contains(forms, o.output) {
		return fmt.Errorf("-o %s: it must be one of %s", o.output, strings.Join(forms, ", "))
	}
	for i, name := range o.systems {
		if !slices.Contains(systemNames, name) || slices.Contains(o.systems[:i], name) {
			return fmt.Errorf("-systems: %q: name each at most once of %s", name, strings.Join(systemNames, ", "))
		}
	}
	if err := load.CheckPhases(o.phases); err != nil {
		return fmt.Errorf("-phases: %w", err)
	}
	return o.Sizes.Check()
}

func run(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the load's source shares the machine with the server
	root, err := cluster.ProjectRoot()
	if err != nil {
		return err
	}
	report := newReport(o)
	if report.LoadAverage > float64(report.CPUs)/2 {
		fmt.Fprintf(os.Stderr, "compare: the load average is %.1f on %d CPUs: what else runs here makes the figures worse, and their spread wide\n", report.LoadAverage, report.CPUs)
	}
	systems, err := prepare(ctx, root, o)
	if err != nil {
		return err
	}
	if report.Versions, err = versionsOf(ctx, root); err != nil {
		return err
	}
	// Beside the project rather than in /tmp, which on many machines is memory: what a sync costs belongs to the figures.
	dir, err := os.MkdirTemp(filepath.Join(root, "build"), "compare-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	begin := time.Now()
	for round := range o.rounds {
		for i := range systems {
			s := systems[(i+round)%len(systems)]
			say := func(format string, args ...any) {
				fmt.Fprintf(os.Stderr, "%4.0f s  round %d of %d, %s: %s\n", time.Since(begin).Seconds(), round+1, o.rounds, s.name, fmt.Sprintf(format, args...))
			}
			values, err := measure(ctx, s, filepath.Join(dir, s.name+"-"+strconv.Itoa(round)), o, say)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, s.name, err)
			}
			report.add(s.name, values)
		}
	}
	report.finish(o)
	report.warn(os.Stderr)
	if o.write != "" {
		if err := writeFile(o.write, report); err != nil {
			return err
		}
	}
	if err := print(os.Stdout, report, o.output); err != nil {
		return err
	}
	if report.Failed > 0 {
		return fmt.Errorf("%d operations failed, the first: %s", report.Failed, report.FirstError)
	}
	return nil
}
