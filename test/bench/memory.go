// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/cluster"
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
		rss, load, err := b.rest(ctx, part.name, part.args)
		if err != nil {
			return err
		}
		part.rss.values = rss
		if part.cpu != nil {
			part.cpu.values = load
		}
	}
	b.rows = append(b.rows, server, both, cpu)
	return nil
}

// rest starts clusters, leaves them alone, and returns their memory in MiB and the CPU they use in percent of a core.
func (b *bench) rest(ctx context.Context, name string, args []string) (rss, load []float64, err error) {
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
			mib, e1 := residentMiB(pid)
			before, e2 := cpuTime(pid)
			e3 := pause(ctx, idle)
			after, e4 := cpuTime(pid)
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, e1, e2, e3, e4)
			rss, load = append(rss, mib), append(load, 100*(after-before).Seconds()/idle.Seconds())
		})
	}
	wg.Wait()
	return rss, load, err
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

func residentMiB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d tells no VmRSS", pid)
}

// cpuTime is what a process has used so far, of user and system time; a tick is a hundredth of a second.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, i := range []int{11, 12} { // utime and stime, proc(5)
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
