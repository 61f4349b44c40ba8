// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// statusReport is what `hivemind status -o json` prints.
type statusReport struct {
	Running    bool      `json:"running"`
	Ready      bool      `json:"ready"`
	Version    string    `json:"version,omitempty"`
	DataDir    string    `json:"dataDir"`
	Node       string    `json:"node,omitempty"`
	Nodes      *int      `json:"nodes,omitempty"` // of the simulated runtime
	Roles      []string  `json:"roles,omitempty"`
	Runtime    string    `json:"runtime,omitempty"`
	API        string    `json:"api,omitempty"`
	DNS        string    `json:"dns,omitempty"`
	PodCIDR    string    `json:"podCIDR,omitempty"`
	Services   string    `json:"serviceCIDR,omitempty"`
	Kubeconfig string    `json:"kubeconfig,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Error      string    `json:"error,omitempty"`
	// Processes are hivemindd, containerd and all shims as one; memory in bytes.
	Processes  []processReport   `json:"processes"`
	Components []componentReport `json:"components"`
}

type processReport struct {
	Name        string `json:"name"`
	PIDs        []int  `json:"pids"`
	MemoryBytes int64  `json:"memoryBytes"`
	LogFile     string `json:"logFile,omitempty"`
}

type componentReport struct {
	Name         string    `json:"name"`
	StartSeconds float64   `json:"startSeconds"`
	Since        time.Time `json:"since"`
}

func newStatusCommand(con *console) *cobra.Command {
	output := "table"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what runs: components, addresses, ages, memory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := findCluster(con, cmd)
			if err != nil {
				return err
			}
			report := reportOf(c)
			switch output {
			case "table", "wide":
				err = printStatus(con, report, output == "wide")
			case "json":
				encoder := json.NewEncoder(con.out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			case "yaml":
				var text []byte
				if text, err = yaml.Marshal(report); err == nil {
					_, err = con.out.Write(text)
				}
			case "name":
				for _, component := range report.Components {
					fmt.Fprintln(con.out, component.Name)
				}
			default:
				return badOutput(cmd, output, "table, wide, json, yaml or name")
			}
			if err != nil {
				return err
			}
			if !report.Running {
				return &exitError{exitNotRunning, fmt.Errorf("the cluster in %s does not run\nNext: %s", c.DataDir, c.again("up -d"))}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", output, "table, wide, json, yaml or name")
	return cmd
}

func badOutput(cmd *cobra.Command, output, known string) error {
	return usageError(cmd, fmt.Errorf("unknown output format: %s; known: %s", output, known))
}

func reportOf(c *cluster) statusReport {
	r := statusReport{Running: c.pid != 0, DataDir: c.DataDir, Processes: []processReport{}, Components: []componentReport{}}
	if s := c.status; s != nil {
		r.Error = s.Error
		if r.Running {
			r.Ready, r.Version, r.Node, r.Roles, r.Runtime = s.Ready, s.Version, s.Node, s.Roles, s.Runtime
			r.Nodes = s.Nodes
			r.API, r.DNS, r.PodCIDR, r.Services, r.Kubeconfig, r.Started = s.API, s.DNS, s.PodCIDR, s.Services, s.Kubeconfig, s.Started
			for _, component := range s.Components {
				r.Components = append(r.Components, componentReport{component.Name, component.Took.Seconds(), component.Since})
			}
		}
	}
	byName := map[string][]int{}
	for pid, name := range processesIn(c.Path("bin")) {
		byName[name] = append(byName[name], pid)
	}
	for _, name := range []string{"hivemindd", "containerd", "containerd-shim-runc-v2"} {
		pids := byName[name]
		if len(pids) == 0 {
			continue
		}
		slices.Sort(pids)
		p := processReport{Name: name, PIDs: pids}
		for _, pid := range pids {
			p.MemoryBytes += residentBytes(pid)
		}
		if name != "containerd-shim-runc-v2" {
			p.LogFile = c.Path("logs", name+".log")
		}
		r.Processes = append(r.Processes, p)
	}
	return r
}

// residentBytes is the resident memory of a process; 0 if it has ended.
func residentBytes(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

func printStatus(con *console, r statusReport, wide bool) error {
	w := tabwriter.NewWriter(con.out, 0, 8, 3, ' ', 0)
	state := "not running"
	switch {
	case r.Ready:
		state = "ready"
	case r.Running:
		state = "starting"
	}
	fmt.Fprintf(w, "Cluster:\t%s\n", state)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	row("Error", r.Error)
	row("Node", r.Node)
	if r.Nodes != nil {
		row("Nodes", fmt.Sprintf("%d, simulated", *r.Nodes))
	}
	row("Roles", strings.Join(r.Roles, ","))
	row("API", r.API)
	row("Data", r.DataDir)
	if wide {
		row("Version", r.Version)
		row("Runtime", r.Runtime)
		row("DNS", r.DNS)
		row("Pods", r.PodCIDR)
		row("Services", r.Services)
		row("Kubeconfig", r.Kubeconfig)
	}
	if len(r.Processes) > 0 {
		fmt.Fprint(w, "\nPROCESS\tPID\tMEMORY")
		if wide {
			fmt.Fprint(w, "\tLOG")
		}
		fmt.Fprintln(w)
	}
	for _, p := range r.Processes {
		pids := fmt.Sprint(p.PIDs[0])
		if len(p.PIDs) > 1 {
			pids = fmt.Sprintf("%d of them", len(p.PIDs))
		}
		fmt.Fprintf(w, "%s\t%s\t%d MiB", p.Name, pids, p.MemoryBytes>>20)
		if wide {
			fmt.Fprintf(w, "\t%s", p.LogFile)
		}
		fmt.Fprintln(w)
	}
	if len(r.Components) > 0 {
		fmt.Fprintln(w, "\nCOMPONENT\tSTARTED IN\tAGE")
	}
	for _, component := range r.Components {
		fmt.Fprintf(w, "%s\t%.2f s\t%s\n", component.Name, component.StartSeconds, age(component.Since))
	}
	return w.Flush()
}
