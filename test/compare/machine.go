// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tolerable is how much of a core other programs may take, in percent, before a warning. The kernel's own threads, which write to the disk, are among them.
const tolerable = 25

// machineWatch tells what all but the measured programs spend meanwhile.
type machineWatch struct {
	pids  map[string]int
	begin time.Time
	spent time.Duration // by others, before
}

func watchMachine(pids map[string]int) (*machineWatch, error) {
	spent, err := byOthers(pids)
	return &machineWatch{pids: pids, begin: time.Now(), spent: spent}, err
}

// others is the CPU time of all but the server's processes and this one since the watch began, in percent of a core.
func (m *machineWatch) others() (float64, error) {
	spent, err := byOthers(m.pids)
	return 100 * (spent - m.spent).Seconds() / time.Since(m.begin).Seconds(), err
}

// byOthers is the CPU time that all but some processes and this one have spent since the machine started, and some constant.
func byOthers(pids map[string]int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	all, err := busy(string(stat))
	if err != nil {
		return 0, err
	}
	server, err := usage(pids)
	if err != nil {
		return 0, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, err
	}
	return all - server.CPU - time.Duration(own.Utime.Nano()+own.Stime.Nano()), nil
}

// busy reads from /proc/stat what all CPUs have spent on anything, or was taken from them by a hypervisor; proc(5).
func busy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// loadAverage is that of the last minute; 0 where the machine does not tell.
func loadAverage() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var minute float64
	if _, err := fmt.Sscan(strings.TrimSpace(string(data)), &minute); err != nil {
		return 0
	}
	return minute
}
