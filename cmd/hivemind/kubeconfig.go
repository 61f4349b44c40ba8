// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/kubeconfig"
)

func newKubeconfigCommand(con *console) *cobra.Command {
	merge := false
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig, or add it to yours",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := findCluster(con, cmd)
			if err != nil {
				return err
			}
			path := c.AdminKubeconfig()
			if merge {
				return explainKubeconfig(c, mergeKubeconfig(con, c.Config, path))
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return explainKubeconfig(c, err)
			}
			_, err = con.out.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "add it to the file that KUBECONFIG names, or to ~/.kube/config")
	return cmd
}

// mergeKubeconfig adds the cluster to the kubeconfig of the person behind the command.
func mergeKubeconfig(con *console, cfg *apiconfig.Config, path string) error {
	admin, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := kubeconfig.OfUser(con.getenv)
	if err != nil {
		return err
	}
	name := contextName(con, cfg)
	previous, err := file.Merge(admin, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(con.out, "kubectl and helm know it as context %q (%s)\n", name, file.Path)
	if previous != "" {
		fmt.Fprintf(con.out, "The current context was %q; to go back: kubectl config use-context %s\n", previous, previous)
	}
	return nil
}

func contextName(con *console, cfg *apiconfig.Config) string {
	return kubeconfig.ContextName(cfg.DataDir, config.DefaultDataDir(con.environ), cfg.ID())
}

func explainKubeconfig(c *cluster, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no cluster in %s: %w\nNext: %s", c.DataDir, err, c.again("up -d"))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the administrator's kubeconfig is root's: %w\nNext: sudo %s", err, c.again("kubeconfig --merge"))
	}
	return err
}
