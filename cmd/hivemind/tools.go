// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/bundle"
)

// newToolCommand makes the verb that runs a stock program with all arguments as they are: kubectl or helm.
func newToolCommand(con *console, name string) *cobra.Command {
	return &cobra.Command{
		Use:                name + " …",
		Short:              "Stock " + name + ", for this cluster",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			// The flags of hivemind itself come before the verb, so they are the root's.
			c, err := findCluster(con, cmd.Root())
			if err != nil {
				return err
			}
			program, err := toolProgram(c, name)
			if err != nil {
				return err
			}
			err = syscall.Exec(program, append([]string{name}, args...), toolEnviron(con, c, args))
			return fmt.Errorf("run %s: %w", program, err)
		},
	}
}

// toolProgram unpacks the program into the data directory where one may write there, else into the user's cache.
func toolProgram(c *cluster, name string) (string, error) {
	carried, err := bundle.Embedded()
	if err != nil {
		return "", err
	}
	dir := c.Path("bin")
	if unix.Access(dir, unix.W_OK) != nil {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a directory for %s: %w\nNext: set HOME or XDG_CACHE_HOME", name, err)
		}
		dir = filepath.Join(cache, "hivemind")
	}
	binaries, err := carried.Unpack(dir, name)
	if err != nil {
		return "", err
	}
	return filepath.Join(binaries, name), nil
}

// toolEnviron points the program to the cluster, unless the person points it elsewhere.
func toolEnviron(con *console, c *cluster, args []string) []string {
	pointed := con.getenv("KUBECONFIG") != "" || slices.ContainsFunc(args, func(a string) bool {
		flag, _, _ := strings.Cut(a, "=")
		return flag == "--kubeconfig" || flag == "--context" || flag == "--kube-context"
	})
	if pointed || unix.Access(c.AdminKubeconfig(), unix.R_OK) != nil {
		return con.environ
	}
	return append(slices.Clone(con.environ), "KUBECONFIG="+c.AdminKubeconfig())
}
