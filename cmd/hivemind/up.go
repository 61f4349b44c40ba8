// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/bundle"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/datadir"
	"github.com/hivemind-project/hivemind/pkg/doctor"
)

// upOptions are what is said to `hivemind up` beside the configuration.
type upOptions struct {
	detach     bool
	kubeconfig bool
	timeout    time.Duration
}

func newUpCommand(con *console) *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine",
		Long: `Start a cluster on this machine, or say that it runs already.

Everything can be set by a flag, by a variable (--api-port is HIVEMIND_API_PORT) or in a YAML file (api.port); a flag wins over
a variable, and a variable over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), con.environ)
			if err != nil {
				return err
			}
			return up(cmd.Context(), con, cfg, opts)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&opts.detach, "detach", "d", false, "return once the cluster is ready, and leave it running")
	flags.BoolVar(&opts.kubeconfig, "merge-kubeconfig", true, "add the cluster to your kubeconfig")
	flags.DurationVar(&opts.timeout, "timeout", 2*time.Minute, "how long the cluster may take to be ready")
	for _, f := range apiconfig.Fields() {
		if f.Key != "dataDir" { // which all verbs have
			config.AddFlag(flags, f)
		}
	}
	return cmd
}

// up takes a cluster from nothing, or from anything in between, to ready.
func up(ctx context.Context, con *console, cfg *apiconfig.Config, opts upOptions) error {
	c, err := lookAt(con, cfg)
	if err != nil {
		return err
	}
	if c.pid != 0 {
		return alreadyUp(ctx, con, c, opts)
	}
	p := newProgress(con)
	fmt.Fprintf(con.out, "Hivemind %s in %s\n", version, cfg.DataDir)
	if err := preflight(ctx, con, cfg); err != nil {
		return err
	}
	p.step("checks")
	binaries, err := prepare(cfg)
	if err != nil {
		return err
	}
	p.step("programs")

	start, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	d, err := launch(cfg, binaries, opts.detach)
	if err != nil {
		return fmt.Errorf("start hivemindd: %w", err)
	}
	// A node can be kept from being Ready by what is stored, such as a webhook that refuses everything: only a server that runs lets it be mended.
	switch err := d.waitReady(start, p.component); {
	case errors.Is(err, errNodeNotReady) && opts.detach:
		return err
	case errors.Is(err, errNodeNotReady):
		fmt.Fprintf(con.err, "hivemind: %v\n", err)
		return d.attend(ctx, con.err)
	case err != nil:
		return errors.Join(err, d.stop())
	}
	if err := welcome(con, c, p.elapsed(), opts); err != nil {
		return err
	}
	if opts.detach {
		return nil
	}
	fmt.Fprintln(con.out, "Ctrl-C stops the cluster; containers go on. What follows is its log.")
	return d.attend(ctx, con.err)
}

// alreadyUp waits for a cluster that is starting, and tells of one that runs.
func alreadyUp(ctx context.Context, con *console, c *cluster, opts upOptions) error {
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	for pid := c.pid; c.status == nil || !c.status.Ready; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster in %s has been starting as process %d and is not ready: %w\nNext: %s", c.DataDir, pid, ctx.Err(), c.again("logs"))
		case <-time.After(20 * time.Millisecond):
		}
		now, err := lookAt(con, c.Config)
		if err != nil {
			return err
		}
		if now.pid == 0 {
			return fmt.Errorf("the cluster in %s was starting as process %d, which has ended\nNext: %s", c.DataDir, pid, c.again("logs"))
		}
		c = now
	}
	fmt.Fprintf(con.out, "Hivemind already runs in %s: process %d, for %s\n", c.DataDir, c.pid, age(c.status.Started))
	return welcome(con, c, 0, opts)
}

// preflight refuses to go on where the cluster could not work.
func preflight(ctx context.Context, con *console, cfg *apiconfig.Config) error {
	results, err := doctor.Examine(ctx, &doctor.Machine{Config: cfg, UID: os.Geteuid()})
	if err != nil {
		return err
	}
	failed := doctor.Failed(results)
	if len(failed) == 0 {
		return nil
	}
	printResults(con.err, failed)
	return fmt.Errorf("this machine cannot run a cluster yet: %s\nNext: mend what is listed above, and try again", count(len(failed), "check failed", "checks failed"))
}

// prepare makes the data directory and the programs in it; it returns where those are.
func prepare(cfg *apiconfig.Config) (string, error) {
	carried, err := bundle.Embedded()
	if err != nil {
		return "", err
	}
	if err := datadir.Create(cfg); err != nil {
		return "", err
	}
	dir := cfg.Path("bin")
	binaries, err := carried.Unpack(dir, nodePrograms(cfg)...)
	if err != nil {
		return "", errors.Join(err, forget(cfg.DataDir, dir))
	}
	// Shims of running containers hold on to the version that started them.
	if err := carried.Prune(dir, runsFrom); err != nil {
		return "", err
	}
	return binaries, datadir.Open(cfg, version)
}

// forget removes what was begun in dataDir, unless there was something before.
func forget(dataDir, binaries string) error {
	entries, err := os.ReadDir(binaries)
	if len(entries) == 1 && entries[0].Name() == bundle.LockName {
		err = os.RemoveAll(binaries)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(dataDir)
	}
	switch {
	case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.EBUSY): // a cluster is in it, or a disk mounted on it
	case err != nil:
		return fmt.Errorf("remove what was begun: %w", err)
	}
	return nil
}

// nodePrograms are what a node runs; kubectl and helm are unpacked when they are first called.
func nodePrograms(cfg *apiconfig.Config) []string {
	if cfg.Runtime == apiconfig.RuntimeSimulated {
		return []string{"hivemindd"}
	}
	return []string{"hivemindd", "hivemind-cni", "pause.tar", "containerd", "containerd-shim-runc-v2", "runc"}
}

// welcome puts the cluster into the person's kubeconfig and says what to do next.
func welcome(con *console, c *cluster, took time.Duration, opts upOptions) error {
	now, err := lookAt(con, c.Config)
	if err != nil {
		return err
	}
	var s daemon.Status
	if now.status != nil {
		s = *now.status
	}
	if took > 0 {
		fmt.Fprintf(con.out, "Ready in %s: %s", seconds(took), nodesOf(s))
		if s.API != "" {
			fmt.Fprintf(con.out, ", API %s", s.API)
		}
		fmt.Fprintln(con.out)
	}
	if s.Kubeconfig != "" && opts.kubeconfig {
		if err := mergeKubeconfig(con, c.Config, s.Kubeconfig); err != nil {
			// The cluster runs; only this convenience failed.
			fmt.Fprintf(con.err, "hivemind: %v\nNext: hivemind kubectl works without it\n", err)
		}
	}
	printNext(con, [][2]string{
		{c.kubectl("get nodes -o wide"), "the cluster's nodes"},
		{c.again("status"), "what runs"},
		{c.again("down"), "stop; containers go on"},
	})
	return nil
}

// nodesOf names the nodes of this machine.
func nodesOf(s daemon.Status) string {
	switch {
	case s.Nodes == nil:
		return "node " + s.Node
	case *s.Nodes == 0:
		return "no nodes"
	case *s.Nodes == 1:
		return "simulated node " + s.Node
	}
	return fmt.Sprintf("%d simulated nodes, %s to %s-%d", *s.Nodes, s.Node, s.Node, *s.Nodes-1)
}

// printNext lists commands and what they do.
func printNext(con *console, commands [][2]string) {
	width := 0
	for _, c := range commands {
		width = max(width, len(c[0]))
	}
	fmt.Fprintln(con.out, "\nNext:")
	for _, c := range commands {
		fmt.Fprintf(con.out, "  %-*s   %s\n", width, c[0], c[1])
	}
}

// kubectl is how a person calls kubectl for this cluster.
func (c *cluster) kubectl(args string) string {
	if c.unnamed() {
		return "hivemind kubectl " + args
	}
	return "hivemind --data-dir " + c.DataDir + " kubectl " + args
}
