// SPDX-License-Identifier: Apache-2.0

// Command parity sends the same requests to Hivemind and to stock kube-apiserver and compares the answers; `make parity` runs it. It builds and starts
// stock's API server and etcd, starts Hivemind's API server in this process, and plays on both: for every kind that both serve valid objects,
// and what rules make of them, as every kind of write. It needs neither root nor containers.
//
//	go run ./test/parity [-kinds 'apps/v1|Pod$'] [-n 800] [-seed 1] [-o table|wide|json|yaml|name] [-top 20] [-min 95] [-write docs/parity.md]
//
// The same seed sends the same requests in the same order, but for the order of those that are sent at once. It exits with
//
//	0    the comparison ran, whatever it found
//	1    less agrees than -min asks for, or a rule that tells why answers differ matches none any more
//	2    the command line is wrong
//	3    the comparison is broken: a program cannot be built, a server does not come up or goes away
//	130  it was interrupted
//
// Where to look: corpus (valid objects), mutate (what rules make of them), play (which requests, in which order), exchange (sending), compare (what
// differs, what is made the same first, versions.go: what the versions explain, and reasons.go: what else stays), report (what is told), hivemind.go (the examinee).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hivemind-project/hivemind/test/parity/report"
)

// Exit codes.
const (
	exitRan         = 0
	exitBelow       = 1
	exitUsage       = 2
	exitBroken      = 3
	exitInterrupted = 130
)

// options are the command line.
type options struct {
	kinds           *regexp.Regexp
	cases           int
	seed            uint64
	workers         int
	output          string
	top             int
	minimum         float64
	markdown        string
	timeout         time.Duration
	stock, hivemind string // kubeconfigs
	serviceCIDR     string
}

// The seed and the number of cases with which `make parity` writes its page.
const (
	defaultSeed  = 1
	defaultCases = 800
)

// complete says that everything is compared, as far as the page does it: then each rule must be met.
func (o options) complete() bool {
	return o.kinds.String() == "" && o.seed == defaultSeed && (o.cases == 0 || o.cases >= defaultCases)
}

// errUsage marks a mistake in the command line.
var errUsage = errors.New("see -help")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "parity:", err)
	}
	os.Exit(code)
}

func command(ctx context.Context, args []string, out, tell io.Writer) (int, error) {
	o, err := parse(args, tell)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitRan, nil
	case err != nil:
		return exitUsage, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done within %v: compare less with -n or -kinds, or raise -timeout", o.timeout))
	defer cancel()
	r, err := compareServers(bounded, o, tell)
	switch {
	case ctx.Err() != nil:
		return exitInterrupted, errors.New("interrupted")
	case errors.Is(err, errUsage):
		return exitUsage, err
	case err != nil && bounded.Err() != nil:
		return exitBroken, context.Cause(bounded)
	case err != nil:
		return exitBroken, err
	}
	if o.markdown != "" {
		if err := r.WriteMarkdown(o.markdown, o.top); err != nil {
			return exitBroken, err
		}
	}
	if err := r.Print(out, report.Format(o.output), o.top); err != nil {
		return exitBroken, err
	}
	if stale := r.Stale(); len(stale) > 0 {
		return exitBelow, fmt.Errorf("%d rules of test/parity/compare explain nothing any more, take them out: %s", len(stale), strings.Join(stale, "; "))
	}
	if r.Total.Percent() < o.minimum {
		return exitBelow, fmt.Errorf("%.2f %% of %d cases agree, and -min asks for %g %%", r.Total.Percent(), r.Total.Cases, o.minimum)
	}
	return exitRan, nil
}

func parse(args []string, tell io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("parity", flag.ContinueOnError)
	flags.SetOutput(tell)
	kinds := flags.String("kinds", "", "compare only kinds that match the regular expression, such as 'apps/v1|v1 Pod$'; documents and bootstrap objects too where it is empty")
	flags.IntVar(&o.cases, "n", defaultCases, "how many mutated requests a kind gets at most; 0 for all there are")
	flags.Uint64Var(&o.seed, "seed", defaultSeed, "which requests are chosen where there are more")
	flags.IntVar(&o.workers, "workers", 6, "how many requests are under way at once on each server")
	flags.StringVar(&o.output, "o", string(report.Table), "how to print: "+strings.Join(report.Formats(), ", "))
	flags.IntVar(&o.top, "top", 20, "how many disagreements to print")
	flags.Float64Var(&o.minimum, "min", 0, "fail where less than so many percent agree, not counting what the versions explain")
	flags.StringVar(&o.markdown, "write", "", "file to write the report to, as Markdown")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "give up after this")
	flags.StringVar(&o.stock, "stock-kubeconfig", "", "an administrator's kubeconfig of a running stock server, to be used instead of starting one; what the comparison makes stays there")
	flags.StringVar(&o.hivemind, "hivemind-kubeconfig", "", "the same of Hivemind; its controllers must not run")
	flags.StringVar(&o.serviceCIDR, "service-cidr", "10.96.0.0/16", "range of service addresses on both")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage // the flags have said why
	}
	var err error
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errUsage)
	case !slices.Contains(report.Formats(), o.output):
		return o, fmt.Errorf("-o %s is none of %s: %w", o.output, strings.Join(report.Formats(), ", "), errUsage)
	case o.workers < 1 || o.cases < 0 || o.top < 0:
		return o, fmt.Errorf("-workers must be positive, -n and -top not negative: %w", errUsage)
	}
	if o.kinds, err = regexp.Compile(*kinds); err != nil {
		return o, fmt.Errorf("-kinds: %w: %w", err, errUsage)
	}
	return o, nil
}
