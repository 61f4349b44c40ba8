// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// stopTimeout is how long hivemindd and containerd may take to end.
const stopTimeout = 45 * time.Second

func newDownCommand(con *console) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster; containers go on",
		Long: `Stop hivemindd and containerd. Containers go on, each with its shim, and the next "hivemind up" takes them over; objects stay in the
data directory. To remove it all: hivemind reset.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := findCluster(con, cmd)
			if err != nil {
				return err
			}
			stopped, err := stopCluster(cmd.Context(), c)
			if err != nil {
				return err
			}
			if !stopped {
				fmt.Fprintf(con.out, "Hivemind does not run in %s.\n", c.DataDir)
				return nil
			}
			fmt.Fprintf(con.out, "Hivemind has stopped in %s", c.DataDir)
			if n := shims(c); n > 0 {
				fmt.Fprintf(con.out, "; %s running", count(n, "pod goes on", "pods go on"))
			}
			fmt.Fprintln(con.out, ".")
			printNext(con, [][2]string{{c.again("up -d"), "start again"}, {c.again("reset"), "remove all"}})
			return nil
		},
	}
}

// stopCluster ends hivemindd, and a containerd that a killed hivemindd left. It says whether there was anything to end.
func stopCluster(ctx context.Context, c *cluster) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	stopped := c.pid != 0
	if stopped {
		if err := signalProcess(c.pid, syscall.SIGTERM); err != nil {
			return true, fmt.Errorf("stop hivemindd: %w\nNext: sudo %s", err, c.again("down"))
		}
		// The lock goes before the process does, and a program that is not of ours (a debugger's, say) is in no directory of ours.
		err := until(ctx, func() (bool, error) {
			pid, err := daemon.Running(c.RunDir())
			return pid != c.pid && processesIn(c.Path("bin"))[c.pid] == "", err
		})
		if err != nil {
			return true, fmt.Errorf("stop hivemindd: process %d has not ended: %w\nNext: kill -9 %d, then %s", c.pid, err, c.pid, c.again("down"))
		}
	}
	for pid, name := range processesIn(c.Path("bin")) {
		if name != "containerd" {
			continue
		}
		stopped = true
		if err := signalProcess(pid, syscall.SIGTERM); err != nil {
			return true, fmt.Errorf("stop containerd: %w", err)
		}
		err := until(ctx, func() (bool, error) { return processesIn(c.Path("bin"))[pid] == "", nil })
		if err != nil {
			return true, fmt.Errorf("stop containerd: process %d has not ended: %w\nNext: kill -9 %d", pid, err, pid)
		}
	}
	return stopped, nil
}

// shims counts the pods that run: each has one shim.
func shims(c *cluster) int {
	n := 0
	for _, name := range processesIn(c.Path("bin")) {
		if name == "containerd-shim-runc-v2" {
			n++
		}
	}
	return n
}

func signalProcess(pid int, signal os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

// until asks every few milliseconds until done says so, or ctx ends.
func until(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
