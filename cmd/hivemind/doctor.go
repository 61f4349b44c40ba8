// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/doctor"
)

func newDoctorCommand(con *console) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run a cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), con.environ)
			if err != nil {
				return err
			}
			pid, err := daemon.Running(cfg.RunDir())
			if err != nil {
				return err
			}
			results, err := doctor.Examine(cmd.Context(), &doctor.Machine{Config: cfg, Running: pid, UID: os.Geteuid()})
			if err != nil {
				return err
			}
			switch output {
			case "":
				printResults(con.out, results)
			case "json":
				encoder := json.NewEncoder(con.out)
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(results); err != nil {
					return err
				}
			default:
				return badOutput(cmd, output, "json")
			}
			if failed := doctor.Failed(results); len(failed) > 0 {
				return fmt.Errorf("%s\nNext: mend what is listed above, then hivemind up -d", count(len(failed), "check failed", "checks failed"))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for a list")
	for _, f := range apiconfig.Fields() {
		if f.Key != "dataDir" {
			config.AddFlag(cmd.Flags(), f)
		}
	}
	return cmd
}

// printResults writes a line for each result, and below it why it matters and what mends it.
func printResults(out io.Writer, results []doctor.Result) {
	for _, r := range results {
		fmt.Fprintf(out, "%-8s %-13s %s\n", r.Severity, r.Check, r.What)
		if r.Why != "" {
			fmt.Fprintf(out, "%22s why:  %s\n", "", r.Why)
		}
		if r.Mend != "" {
			fmt.Fprintf(out, "%22s mend: %s\n", "", r.Mend)
		}
	}
}
