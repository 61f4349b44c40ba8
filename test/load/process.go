// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used so far, and holds now.
type Usage struct {
	CPU time.Duration // user and system time, in ticks of 10 ms
	RSS float64       // resident memory in MiB
}

// Measure reads the usage of a process from /proc.
func Measure(pid int) (Usage, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, err)
	}
	u, err := parseUsage(string(status), string(stat))
	if err != nil {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, err)
	}
	return u, nil
}

// parseUsage reads the two files, proc(5).
func parseUsage(status, stat string) (Usage, error) {
	var u Usage
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return Usage{}, fmt.Errorf("VmRSS: %w", err)
			}
			u.RSS = kib / 1024
		}
	}
	// The command's name, in parentheses, may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if u.RSS == 0 || len(fields) < 13 {
		return Usage{}, fmt.Errorf("it has ended")
	}
	for _, i := range []int{11, 12} { // utime and stime
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("CPU time: %w", err)
		}
		u.CPU += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	}
	return u, nil
}

// measureAll reads the usage of processes by name.
func measureAll(pids map[string]int) (map[string]Usage, error) {
	all := map[string]Usage{}
	for name, pid := range pids {
		u, err := Measure(pid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = u
	}
	return all, nil
}
