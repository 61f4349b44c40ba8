// SPDX-License-Identifier: Apache-2.0

// Command hivemindd runs a machine's part of a cluster: the server role, the agent role, or both in one process. It takes
// the configuration as `hivemind up` does, and is what `hivemind up` starts. Every package linked in here costs resident
// memory from the start, so what only the command line needs is in hivemind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // what the timeZone of a CronJob means must not depend on the machine

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

// version is set by the linker.
var version = "unknown"

// Exit codes, as `hivemind help exit-codes` lists them.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// stopWithin bounds how long parts may take to end.
const stopWithin = 30 * time.Second

// options are what is not configuration: how the process that starts this one wants it.
type options struct {
	binDir     string // has containerd, its shim, runc, hivemind-cni and pause.tar
	logFile    string
	progressFD int
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var opts options
	flags := pflag.NewFlagSet("hivemindd", pflag.ContinueOnError)
	config.AddFlags(flags)
	flags.StringVar(&opts.binDir, "bin-dir", "", "directory with containerd, its shim, runc, hivemind-cni and pause.tar (default: that of hivemindd)")
	flags.StringVar(&opts.logFile, "log-file", "", "file to log to, kept below 64 MiB (default: standard error)")
	flags.IntVar(&opts.progressFD, "progress-fd", 0, "descriptor to write progress to, as lines of JSON")
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(os.Stderr, "hivemindd: %v\nSee hivemindd --help.\n", err)
		return exitUsage
	case *showVersion:
		fmt.Println(version)
		return exitOK
	}
	cfg, err := config.Load(flags, os.Environ())
	if err != nil {
		fmt.Fprintf(os.Stderr, "hivemindd: %v\n", err)
		if errors.Is(err, config.ErrInvalid) {
			return exitUsage
		}
		return exitFailure
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := serve(ctx, cfg, opts); err != nil {
		fmt.Fprintf(os.Stderr, "hivemindd: %v\n", err)
		return exitFailure
	}
	return exitOK
}

// serve runs the cluster until ctx ends, and returns once all parts have stopped.
func serve(ctx context.Context, cfg *apiconfig.Config, opts options) error {
	flush, err := startLog(cfg.Log, opts.logFile)
	if err != nil {
		return err
	}
	defer flush()
	boundHeap()
	// Whoever is told of a failure is told through progress too, so that opens first.
	var progress io.WriteCloser
	if opts.progressFD > 2 {
		syscall.CloseOnExec(opts.progressFD)
		progress = os.NewFile(uintptr(opts.progressFD), "progress")
	}
	unlock, err := daemon.Lock(cfg.RunDir())
	if err != nil {
		return err
	}
	defer unlock()
	reporter, err := daemon.NewReporter(statusOf(cfg, opts), progress)
	if err != nil {
		return err
	}
	if err := datadir.Open(cfg, version); err != nil {
		return errors.Join(err, reporter.Failed(err))
	}
	parts, err := components(cfg, opts, func(err error) {
		if err := reporter.Failed(err); err != nil {
			klog.ErrorS(err, "Status not written")
		}
	})
	if err != nil {
		return errors.Join(err, reporter.Failed(err))
	}
	klog.InfoS("Starting", "version", version, "dataDir", cfg.DataDir, "roles", cfg.Roles)
	group := component.NewGroup(parts...)
	err = group.Start(ctx, func(name string, took time.Duration) {
		klog.InfoS("Ready", "component", name, "took", took)
		if err := reporter.Component(name, took); err != nil {
			klog.ErrorS(err, "Status not written")
		}
	})
	if err != nil {
		return errors.Join(err, reporter.Failed(err))
	}
	if err := reporter.Ready(); err != nil {
		klog.ErrorS(err, "Status not written")
	}
	keepTrim(ctx)
	klog.InfoS("Stopping")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return group.Stop(stop)
}
