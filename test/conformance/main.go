// SPDX-License-Identifier: Apache-2.0

// Command conformance examines Hivemind by Kubernetes' conformance tests; `make conformance` runs it. It starts a fresh cluster, gives each test to a process of the
// suite, and stores each outcome as it is known, so that it can be stopped at any moment and goes on where it was when it is started again. Tests that
// need a node need root and the images that the tests run, which it builds and serves itself; the others need neither. Tests that want two nodes have a
// cluster of their own, with simulated ones, and the results say of each that it was so.
//
//	go run ./test/conformance [-set all|no-node|two-nodes|pinned] [-sig api,node] [-focus REGEXP] [-write docs/conformance.md]
//
// It exits with
//
//	0    every chosen test passed, in this run or in one that it goes on with
//	1    one did not: it failed, did not end in time, skipped itself, or was not run
//	2    the command line is wrong: an unknown flag, set or SIG, or a choice that leaves no test
//	3    there is nothing to examine with or to examine: a program or image cannot be built, the server does not come up or goes away
//	130  it was interrupted
//
// Where to look: suite.go (the list of tests), choose.go (which of them), batch.go (which need what), examinee.go (the cluster), run.go (the order), worker.go (one test), verdict.go (what came of
// it), results.go (what is stored), report.go (what is told). Results are in build/conformance/<suite>-<version>/: results.jsonl, and a log for each test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/stock"
)

// Exit codes.
const (
	exitPassed      = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnable      = 3
	exitInterrupted = 130
)

// options are the command line.
type options struct {
	choice
	procs      int
	timeout    time.Duration
	kubeconfig string
	scratch    string
	resume     string
	fresh      bool
	retry      bool
	report     bool
	markdown   string
	output     string
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	os.Exit(code)
}

func command(ctx context.Context, args []string, out io.Writer, tell *os.File) (int, error) {
	o, err := parse(args, tell)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed, err
	}
	allPassed := false
	if err == nil {
		allPassed, err = conformance(ctx, o, out, tell)
	}
	switch {
	case ctx.Err() != nil:
		return exitInterrupted, errors.Join(errors.New("interrupted; the same command goes on where this was"), err)
	case errors.As(err, &usageError{}):
		return exitUsage, err
	case err != nil:
		return exitUnable, err
	case !allPassed:
		return exitFailed, nil
	}
	return exitPassed, nil
}

func parse(args []string, tell io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(tell)
	flags.StringVar(&o.set, "set", "all", "which tests: all, no-node (those that pass without a node), two-nodes (those that want two, which are simulated), pinned (those that have to pass)")
	flags.StringVar(&o.sigs, "sig", "", "those of these SIGs alone, with a comma between; a beginning is enough: api, node")
	flags.StringVar(&o.focus, "focus", "", "those alone whose name matches this regular expression")
	flags.IntVar(&o.procs, "procs", 4, "how many tests run at once; [Serial] ones always run alone")
	flags.DurationVar(&o.timeout, "timeout", 0, "how long a test may take, a [Slow] one twice that (default 10m, and 6m where no test needs a node)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "examine the cluster of this kubeconfig, which runs already, and not a new one of bin/hivemind")
	flags.StringVar(&o.scratch, "scratch", "", "where the new cluster keeps its data while it is examined; it needs 5 GB where nodes run (default build/conformance/cluster)")
	flags.StringVar(&o.resume, "resume", "", "take over what passed with another version, by its directory's name in build/conformance")
	flags.BoolVar(&o.fresh, "fresh", false, "run all that is chosen, also what has a result")
	flags.BoolVar(&o.retry, "retry", false, "run those again that did not pass")
	flags.BoolVar(&o.report, "report", false, "run nothing: tell what is known")
	flags.StringVar(&o.markdown, "write", "", "write what is known of all tests to this Markdown file")
	flags.StringVar(&o.output, "o", "table", "table, wide, json, yaml or name")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageError{err}
	}
	switch {
	case flags.NArg() > 0:
		return o, usageError{fmt.Errorf("unexpected argument %q: -focus takes the expression", flags.Arg(0))}
	case o.procs < 1:
		return o, usageError{fmt.Errorf("-procs %d: at least 1 test has to run", o.procs)}
	case o.timeout != 0 && o.timeout < time.Second:
		return o, usageError{fmt.Errorf("-timeout %v: a test needs a second at least", o.timeout)}
	case !slices.Contains([]string{"table", "wide", "json", "yaml", "name"}, o.output):
		return o, usageError{fmt.Errorf("-o %q: table, wide, json, yaml and name are known", o.output)}
	case o.kubeconfig != "" && o.scratch != "":
		return o, usageError{errors.New("-scratch is for a new cluster, and -kubeconfig for one that runs: choose one")}
	case o.fresh && (o.resume != "" || o.report):
		return o, usageError{errors.New("-fresh takes no notice of what -resume and -report build on: choose one")}
	}
	return o, nil
}

// conformance does what is asked, and tells whether every chosen test has passed.
func conformance(ctx context.Context, o options, out io.Writer, tell *os.File) (bool, error) {
	root, err := cluster.ProjectRoot()
	if err != nil {
		return false, err
	}
	dir := filepath.Join(root, "build", "conformance")
	if o.scratch == "" {
		o.scratch = filepath.Join(dir, "cluster")
	} else if o.scratch, err = filepath.Abs(filepath.Join(o.scratch, "hivemind-conformance")); err != nil {
		return false, err
	}
	release, err := lock(dir)
	if err != nil {
		return false, err
	}
	defer release()
	programs, err := stock.Build(ctx, tell, "e2e.test", "kubectl")
	if err != nil {
		return false, err
	}
	s, err := openSuite(ctx, programs)
	if err != nil {
		return false, err
	}
	chosen, err := s.choose(o.choice)
	if err != nil {
		return false, usageError{err}
	}
	subject, err := find(ctx, root, o)
	if err != nil {
		return false, err
	}
	known, err := openResults(o, dir, s.version+"-"+subject.version, tell)
	if err != nil {
		return false, err
	}
	defer known.close()

	var ended error
	if !o.report {
		var unable error
		if ended, unable = examine(ctx, o, s, subject, known, chosen, tell); unable != nil {
			return false, errors.Join(ended, unable)
		}
	}
	shown, err := filepath.Rel(root, known.dir)
	if err != nil {
		return false, err
	}
	told := newReport(s.version, chosen, known, shown)
	if err := told.write(out, o.output); err != nil {
		return false, errors.Join(ended, err)
	}
	if o.markdown != "" {
		if err := newReport(s.version, s.tests, known, shown).writeMarkdown(o.markdown); err != nil {
			return false, errors.Join(ended, err)
		}
	}
	return told.allPassed(), ended
}

// openResults opens what is known of a version, with what is taken over from another.
func openResults(o options, dir, name string, tell io.Writer) (*store, error) {
	known, err := openStore(filepath.Join(dir, name))
	if err != nil || o.resume == "" {
		return known, err
	}
	n, err := known.takeOver(filepath.Join(dir, filepath.Base(o.resume)))
	if err != nil {
		return nil, errors.Join(usageError{fmt.Errorf("-resume %s: %w", o.resume, err)}, known.close())
	}
	fmt.Fprintf(tell, "%d tests that passed are taken over from %s\n", n, o.resume)
	return known, nil
}

// examine runs those of the chosen tests that are to run. unable is why there is nothing to run them on; ended why the run ended before its end, unless ctx did.
func examine(ctx context.Context, o options, s *suite, subject *subject, known *store, chosen []test, tell *os.File) (ended, unable error) {
	var due []test
	for _, t := range chosen {
		if was := known.get(t).Outcome; was == notRun || o.fresh || o.retry && was != passed {
			due = append(due, t)
		}
	}
	fmt.Fprintf(tell, "Suite %s, Hivemind %s: %d tests (%s), of which %d are to run, %d at once\n",
		s.version, subject.version, len(chosen), o.choice, len(due), o.procs)
	batches, err := s.batches(due, o.kubeconfig != "")
	if err != nil {
		return nil, err
	}
	x := &examination{options: o, suite: s, subject: subject, store: known, progress: newProgress(tell, len(due)), tell: tell}
	defer x.progress.finish()
	for _, b := range batches {
		if ended, unable = x.batch(ctx, b); ended != nil || unable != nil || ctx.Err() != nil {
			break
		}
	}
	return ended, unable
}

// lock keeps a second run out of a directory.
func lock(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another run is at work in %s: wait for it, or end it", dir), f.Close())
	}
	return f.Close, nil
}
