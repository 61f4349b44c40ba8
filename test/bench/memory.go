// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/load"
)

// How long a cluster is left alone before its memory is read, and how long its idle CPU time is counted after that.
const (
	settle = 60 * time.Second
	idle   = 30 * time.Second
)

// memory measures resident memory and idle CPU of hivemindd. The runs are side by side: each is a process of its own that does nothing.
func (b *bench) memory(ctx context.Context) error {
	server := row{what: "RSS of hivemindd 60 s after ready, server alone", unit: "MiB", limit: 80}
	both := row{what: "RSS of hivemindd 60 s after ready, server and agent", unit: "MiB", limit: 100}
	cpu := row{what: "idle CPU of hivemindd, server and agent", unit: "%", limit: 2}
	for _, part := range []struct {
		name string
		args []string
		rss  *row
		cpu  *row
	}{{"server", []string{"--roles", "server"}, &server, nil}, {"both", nil, &both, &cpu}} {
		rss, cpu, err := b.rest(ctx, part.name, part.args)
		if err != nil {
			return err
		}
		part.rss.values = rss
		if part.cpu != nil {
			part.cpu.values = cpu
		}
	}
	b.rows = append(b.rows, server, both, cpu)
	return nil
}

// rest starts clusters, leaves them alone, and returns their memory in MiB and the CPU they use in percent of a core.
func (b *bench) rest(ctx context.Context, name string, args []string) (rss, cpu []float64, err error) {
	var clusters []*cluster.Cluster
	defer func() {
		for _, c := range clusters {
			err = errors.Join(err, reset(c))
		}
	}()
	var pids []int
	for i := range b.runs {
		c, err := b.cluster(name, i)
		if err != nil {
			return nil, nil, err
		}
		clusters = append(clusters, c)
		if _, err := c.Up(ctx, args...); err != nil {
			return nil, nil, err
		}
		pid, err := pidOf(ctx, c, "hivemindd")
		if err != nil {
			return nil, nil, err
		}
		pids = append(pids, pid)
	}
	if err := pause(ctx, settle); err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, pid := range pids {
		wg.Go(func() {
			before, e1 := load.Measure(pid)
			e2 := pause(ctx, idle)
			after, e3 := load.Measure(pid)
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, e1, e2, e3)
			rss, cpu = append(rss, before.RSS), append(cpu, 100*(after.CPU-before.CPU).Seconds()/idle.Seconds())
		})
	}
	wg.Wait()
	return rss, cpu, err
}

// pidOf asks `hivemind status` for the process of a program.
func pidOf(ctx context.Context, c *cluster.Cluster, program string) (int, error) {
	out, err := c.Verb(ctx, "status", "-o", "json")
	if err != nil {
		return 0, err
	}
	var status struct {
		Processes []struct {
			Name string
			PIDs []int
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return 0, fmt.Errorf("read the status: %w", err)
	}
	for _, p := range status.Processes {
		if p.Name == program && len(p.PIDs) == 1 {
			return p.PIDs[0], nil
		}
	}
	return 0, fmt.Errorf("%s does not run: %s", program, out)
}
