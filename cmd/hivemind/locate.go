// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// locate adds the flags that say which cluster is meant; every verb has them.
func locate(flags *pflag.FlagSet) {
	flags.String(config.FileFlag, "", "configuration file (default "+config.DefaultFile+")")
	field, err := apiconfig.Lookup("dataDir")
	if err == nil {
		config.AddFlag(flags, field)
	}
}

// cluster is the one that the command line points to.
type cluster struct {
	*apiconfig.Config
	pid     int            // of hivemindd; 0 where it does not run
	status  *daemon.Status // nil where nothing was ever started since boot
	environ []string
}

// findCluster says what there is of the cluster that cmd points to.
func findCluster(con *console, cmd *cobra.Command) (*cluster, error) {
	cfg, err := config.Locate(cmd.Flags(), con.environ)
	if err != nil {
		return nil, err
	}
	return lookAt(con, cfg)
}

func lookAt(con *console, cfg *apiconfig.Config) (*cluster, error) {
	pid, err := daemon.Running(cfg.RunDir())
	if err != nil {
		return nil, err
	}
	status, err := daemon.Read(cfg.RunDir())
	if err != nil {
		return nil, err
	}
	if status != nil && pid != 0 && status.PID != pid {
		status = nil // of an earlier run
	}
	return &cluster{Config: cfg, pid: pid, status: status, environ: con.environ}, nil
}

// unnamed says whether this is the cluster that is meant where none is named.
func (c *cluster) unnamed() bool { return c.DataDir == config.DefaultDataDir(c.environ) }

// again is how a person names this cluster in another command.
func (c *cluster) again(verb string) string {
	if c.unnamed() {
		return "hivemind " + verb
	}
	return "hivemind " + verb + " --data-dir " + c.DataDir
}

// getenv reads the console's environment.
func (c *console) getenv(name string) string {
	for _, entry := range c.environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// isTerminal tells whether a person is at the other end of stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
