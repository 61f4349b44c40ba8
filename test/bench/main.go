// SPDX-License-Identifier: Apache-2.0

// Command bench measures bin/hivemind against its budgets on this machine and prints a table; `make bench` runs it as root. Every number is the median of
// several runs. What containerd alone needs is measured in the same run, so that the table means the same on a slow machine.
//
//	go run ./test/bench [-runs 5] [-only start,memory,pods,network]
//	go run ./test/bench -only scale [-nodes 1000] [-pods 20000]
//
// Where to look: start.go (time to ready), memory.go (resident memory, idle CPU), pods.go (pods against bare CRI calls), network.go (DNS, services),
// scale.go (simulated nodes and pods; it needs no root, and is measured only where it is asked for).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/registry"
)

// row is a line of the table. Limit is in the unit of the value: the smaller the better.
type row struct {
	what   string
	unit   string
	values []float64
	limit  float64
	note   string
}

func (r row) median() float64 {
	sorted := slices.Sorted(slices.Values(r.values))
	return sorted[len(sorted)/2]
}

// bench is what the measurements share.
type bench struct {
	runs     int
	dir      string
	registry *registry.Registry
	rows     []row
}

func main() {
	runs := flag.Int("runs", 5, "how often each thing is measured")
	only := flag.String("only", "", "measure these alone: start, memory, pods, network, scale")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *runs, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int, only string) (err error) {
	if os.Geteuid() != 0 && only != "scale" {
		return errors.New("only root can run containers: sudo make bench; go run ./test/bench -only scale runs none")
	}
	b := &bench{runs: max(1, runs)}
	if b.dir, err = os.MkdirTemp("", "hivemind-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.registry, err = registry.Start("127.0.0.1:0", "", ""); err != nil {
		return err
	}
	defer b.registry.Close()
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{"start", b.start}, {"memory", b.memory}, {"pods", b.pods}, {"network", b.network}, {"scale", b.scale}} {
		if (only == "" && part.name == "scale") || (only != "" && !slices.Contains(strings.Split(only, ","), part.name)) {
			continue
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "measure %s ... ", part.name)
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("measure %s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "%.0f s\n", time.Since(begin).Seconds())
	}
	return b.print(os.Stdout)
}

// print writes the table.
func (b *bench) print(out *os.File) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmedian\tbudget\t\tfrom\tto\truns\t")
	for _, r := range b.rows {
		verdict := "ok"
		if r.limit == 0 {
			verdict = ""
		} else if r.median() > r.limit {
			verdict = "OVER"
		}
		budget := ""
		if r.limit > 0 {
			budget = fmt.Sprintf("%.4g %s", r.limit, r.unit)
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\t%.4g\t%.4g\t%d\t%s\n", r.what, r.median(), r.unit, budget, verdict,
			slices.Min(r.values), slices.Max(r.values), len(r.values), r.note)
	}
	return w.Flush()
}

// cluster describes the i-th of several clusters that may run side by side.
func (b *bench) cluster(name string, i int) (*cluster.Cluster, error) {
	dir := fmt.Sprintf("%s/%s-%d", b.dir, name, i)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c, err := cluster.New(dir)
	if err != nil {
		return nil, err
	}
	c.Config.Network.PodCIDR = fmt.Sprintf("10.%d.0.0/16", 150+2*i)
	c.Config.Network.ServiceCIDR = fmt.Sprintf("10.%d.0.0/16", 151+2*i)
	return c, nil
}

// reset removes a cluster even if the measurement was interrupted.
func reset(c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := c.Verb(ctx, "reset", "--yes")
	return err
}

// serve makes the images known to a cluster.
func (b *bench) serve(ctx context.Context, c *cluster.Cluster) error {
	images, err := build.All(ctx, c.Root)
	if err != nil {
		return err
	}
	for _, image := range images {
		for _, name := range image.Names {
			if err := b.registry.Push(ctx, name, image); err != nil {
				return err
			}
		}
	}
	return b.registry.MirrorFor(c.Config.DataDir, build.Public)
}
