// SPDX-License-Identifier: Apache-2.0

// Command loadgen puts a measured load on the API server that a kubeconfig names, phase by phase.
//
//	go run ./test/load/loadgen -kubeconfig /etc/kubernetes/admin.conf -phases pods,gets,lists -processes kube-apiserver=1234,etcd=1200
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/test/load"
)

// options are what the command line says.
type options struct {
	load.Options
	kubeconfig, phases, processes, output string
	keep                                  bool
}

func main() {
	o := options{Options: load.Options{Sizes: load.DefaultSizes()}}
	flag.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the kubeconfig `file` of an administrator")
	flag.StringVar(&o.phases, "phases", "configmaps,pods,gets,lists,patches,watches,deployments,deletes", "what to do, in this order: "+strings.Join(load.Phases(), ", "))
	flag.StringVar(&o.processes, "processes", "", "the server's processes, `name=pid,…`, whose CPU time and memory are reported")
	flag.IntVar(&o.Clients, "clients", 16, "requests under way at a time, each on a connection of its own")
	flag.BoolVar(&o.JSON, "json", false, "speak JSON, not protobuf")
	flag.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "what a phase may take")
	o.Flags(flag.CommandLine)
	flag.StringVar(&o.output, "o", "table", "how to print the results: table, json, yaml")
	flag.BoolVar(&o.keep, "keep", false, "leave what was created")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if !slices.Contains([]string{"table", "json", "yaml"}, o.output) {
		return fmt.Errorf("-o %s: it must be table, json or yaml", o.output)
	}
	names := strings.Split(o.phases, ",")
	if err := load.CheckPhases(names); err != nil {
		return fmt.Errorf("-phases: %w", err)
	}
	if o.Processes, err = parseProcesses(o.processes); err != nil {
		return fmt.Errorf("-processes: %w", err)
	}
	if o.kubeconfig == "" {
		return errors.New("-kubeconfig: name the kubeconfig file of the server to load")
	}
	if o.Config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
		return fmt.Errorf("-kubeconfig: %w", err)
	}
	debug.SetGCPercent(400) // the generator shares the machine with the server
	l, err := load.New(ctx, o.Options)
	if err != nil {
		return err
	}
	if !o.keep {
		defer func() {
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, l.Clean(clean))
		}()
	}
	return runPhases(ctx, l, names, o.output)
}

// runPhases prints a table line by line as results come in, other forms at the end.
func runPhases(ctx context.Context, l *load.Load, names []string, output string) error {
	var all []load.Result
	failed := 0
	for _, name := range names {
		results, err := l.Run(ctx, name)
		if err != nil {
			return err
		}
		for _, r := range results {
			if failed += r.Errors; output == "table" {
				fmt.Println(r)
			}
		}
		all = append(all, results...)
	}
	if output != "table" {
		data, err := json.MarshalIndent(all, "", "  ")
		if output == "yaml" {
			data, err = yaml.Marshal(all)
		}
		if err != nil {
			return err
		}
		fmt.Println(strings.TrimSpace(string(data)))
	}
	if failed > 0 {
		return fmt.Errorf("%d operations failed", failed)
	}
	return nil
}

func parseProcesses(list string) (map[string]int, error) {
	pids := map[string]int{}
	for pair := range strings.SplitSeq(list, ",") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pid, err := strconv.Atoi(value)
		if err != nil || name == "" || pid <= 0 {
			return nil, fmt.Errorf("%q: write name=pid", pair)
		}
		if _, err := load.Measure(pid); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pids[name] = pid
	}
	return pids, nil
}
