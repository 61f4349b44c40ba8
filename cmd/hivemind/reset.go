// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
	"github.com/hivemind-project/hivemind/pkg/kubeconfig"
	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/cni"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

func newResetCommand(con *console) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Remove the cluster from this machine, with all that it holds",
		Long: `Remove the cluster from this machine: processes and containers, mounts, links, packet filters, control groups, the data directory
with every volume in it, and its entries in your kubeconfig. It can be repeated after any failure.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := findCluster(con, cmd)
			if err != nil {
				return err
			}
			if c.Runtime != apiconfig.RuntimeSimulated && os.Geteuid() != 0 {
				return fmt.Errorf("only root can remove the cluster in %s\nNext: sudo %s", c.DataDir, c.again("reset"))
			}
			if !yes {
				if err := confirmReset(con, c); err != nil {
					return err
				}
			}
			if err := reset(cmd.Context(), con, c); err != nil {
				return fmt.Errorf("%w\nNext: end what holds on to it, and repeat: %s", err, c.again("reset --yes"))
			}
			fmt.Fprintf(con.out, "Nothing of the cluster in %s is left.\n", c.DataDir)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func confirmReset(con *console, c *cluster) error {
	if !isTerminal(con.in) {
		return &exitError{exitUsage, fmt.Errorf("reset removes everything in %s, and there is nobody to ask\nNext: %s", c.DataDir, c.again("reset --yes"))}
	}
	fmt.Fprintf(con.out, "This removes the cluster in %s: its containers, objects and volumes. Go on? [y/N] ", c.DataDir)
	answer, err := bufio.NewReader(con.in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was removed\nNext: answer y to go on")
	}
	return nil
}

// reset tries every step even if another failed, in the order in which things hold on to each other: processes, then
// what they use, then files, and the directory that says what the cluster was last of all.
func reset(ctx context.Context, con *console, c *cluster) error {
	if err := refuseForeign(c.DataDir); err != nil {
		return err
	}
	// The kubeconfig says which entries of the person's file are this cluster's, so it is needed before it goes.
	errs := []error{forgetKubeconfig(con, c.Config), killCluster(ctx, c)}
	if c.Runtime != apiconfig.RuntimeSimulated {
		errs = append(errs, resetContainers(ctx, c.Config), bridge.Cleanup(c.Bridge(), nft.TableName(c.ID())),
			cni.RemoveResults("hivemind-"+c.ID()))
	}
	errs = append(errs, os.RemoveAll(c.RunDir()))
	if err := errors.Join(errs...); err != nil {
		return err // the data directory stays, so that a repetition knows all that this one knew
	}
	return os.RemoveAll(c.DataDir)
}

// refuseForeign keeps a mistyped --data-dir from removing what is not a cluster's.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	known := map[string]bool{"bin": true, "etcd": true, "encryption": true, "pki": true, "kubelet": true, "containerd": true, "cni": true, "volumes": true,
		"logs": true, "run": true, "version": true, "config.yaml": true}
	for _, e := range entries {
		if known[e.Name()] {
			return nil
		}
	}
	if len(entries) > 0 {
		return &exitError{exitFailure, fmt.Errorf("%s does not look like a data directory: it holds %s; nothing was removed", dir, entries[0].Name())}
	}
	return nil
}

// killCluster ends hivemindd, gently first: what it would still write must not come after what is removed.
func killCluster(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if c.pid == 0 {
		return nil
	}
	if err := signalProcess(c.pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop hivemindd: %w", err)
	}
	gone := func() (bool, error) { return processesIn(c.Path("bin"))[c.pid] == "", nil }
	gentle, cancelGentle := context.WithTimeout(ctx, 15*time.Second)
	defer cancelGentle()
	if err := until(gentle, gone); err == nil {
		return nil
	}
	if err := signalProcess(c.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill hivemindd: %w", err)
	}
	if err := until(ctx, gone); err != nil {
		return fmt.Errorf("kill hivemindd: process %d has not ended: %w", c.pid, err)
	}
	return nil
}

// resetContainers removes containers, containerd, their mounts, network namespaces and control groups.
func resetContainers(ctx context.Context, cfg *apiconfig.Config) error {
	mounts, err := cgroup.Detect()
	if err != nil {
		return err
	}
	groups := cgroup.New(mounts, cfg.CgroupRoot(), 0)
	return containerd.New(containerd.Options{
		BinDir: cfg.Path("bin"), DataDir: cfg.DataDir, RunDir: cfg.RunDir(), CgroupRoot: cfg.CgroupRoot(),
	}, groups).Reset(ctx)
}

// forgetKubeconfig takes the cluster's entries out of the person's kubeconfig.
func forgetKubeconfig(con *console, cfg *apiconfig.Config) error {
	admin, err := os.ReadFile(cfg.AdminKubeconfig())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := kubeconfig.OfUser(con.getenv)
	if err != nil {
		return err
	}
	return file.Remove(admin, contextName(con, cfg))
}
