// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// userHz is the kernel's unit in /proc/stat: fixed at 100 for all that Go runs on.
const userHz = 100

// rateOver is the least time between two looks that a rate is worked out from.
const rateOver = time.Second

// cpuSample is the time that all cpus spent working since boot, at a time.
type cpuSample struct {
	at   time.Time
	used uint64 // nanoseconds
}

func (p *Provider) node(ctx context.Context) stats.NodeStats {
	now := time.Now()
	n := stats.NodeStats{NodeName: p.nodeName, Fs: fileSystem(p.dataDir), Network: p.nodeNetwork(now)}
	used, boot := p.nodeCPU()
	n.StartTime = metav1.NewTime(boot)
	if used > 0 {
		n.CPU = &stats.CPUStats{Time: metav1.NewTime(now), UsageCoreNanoSeconds: &used, UsageNanoCores: p.cpuRate(cpuSample{now, used})}
	}
	if m := p.memInfo(); m["MemTotal"] > 0 {
		available := m["MemAvailable"]
		usage := m["MemTotal"] - m["MemFree"]
		working := m["MemTotal"] - available
		rss := m["AnonPages"]
		n.Memory = &stats.MemoryStats{Time: metav1.NewTime(now), AvailableBytes: &available, UsageBytes: &usage, WorkingSetBytes: &working, RSSBytes: &rss}
		free, swapped := m["SwapFree"], m["SwapTotal"]-m["SwapFree"]
		n.Swap = &stats.SwapStats{Time: metav1.NewTime(now), SwapAvailableBytes: &free, SwapUsageBytes: &swapped}
	}
	n.Rlimit = p.rlimit(now)
	if p.images != nil {
		if info, err := p.images.ImageFsInfo(ctx); err == nil && len(info.ImageFilesystems) > 0 {
			fs := layer(info.ImageFilesystems[0])
			n.Runtime = &stats.RuntimeStats{ImageFs: fs, ContainerFs: fs}
		}
	}
	return n
}

// nodeCPU adds up the first line of proc(5)'s stat but idle, iowait and what guests used (it is in user already).
func (p *Provider) nodeCPU() (used uint64, boot time.Time) {
	f, err := os.Open(filepath.Join(p.proc, "stat"))
	if err != nil {
		return 0, time.Time{}
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		w := strings.Fields(s.Text())
		switch {
		case len(w) > 8 && w[0] == "cpu":
			for i, text := range w[1:9] {
				if i == 3 || i == 4 {
					continue
				}
				n, err := strconv.ParseUint(text, 10, 64)
				if err != nil {
					return 0, boot
				}
				used += n * uint64(time.Second) / userHz
			}
		case len(w) == 2 && w[0] == "btime":
			if n, err := strconv.ParseInt(w[1], 10, 64); err == nil {
				boot = time.Unix(n, 0)
			}
		}
	}
	return used, boot
}

// cpuRate is the use since the last look, in billionths of a cpu; nil at the first.
func (p *Provider) cpuRate(now cpuSample) *uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastCPU.at.IsZero() {
		p.lastCPU = now
		return nil
	}
	if passed := now.at.Sub(p.lastCPU.at); passed >= rateOver && now.used >= p.lastCPU.used {
		rate := uint64(float64(now.used-p.lastCPU.used) / passed.Seconds())
		p.rate, p.lastCPU = &rate, now
	}
	return p.rate
}

// memInfo reads proc(5)'s meminfo, in bytes.
func (p *Provider) memInfo() map[string]uint64 {
	data, err := os.ReadFile(filepath.Join(p.proc, "meminfo"))
	if err != nil {
		return nil
	}
	out := map[string]uint64{}
	for _, line := range strings.Split(string(data), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		w := strings.Fields(rest)
		if !ok || len(w) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(w[0], 10, 64); err == nil {
			out[name] = n * 1024
		}
	}
	return out
}

// nodeNetwork counts the traffic of the links that the machine has besides pods' and loopback; the first named is the one
// of the default route.
func (p *Provider) nodeNetwork(now time.Time) *stats.NetworkStats {
	data, err := os.ReadFile(filepath.Join(p.proc, "net/dev"))
	if err != nil {
		return nil
	}
	out := &stats.NetworkStats{Time: metav1.NewTime(now)}
	first := p.defaultLink()
	for _, line := range strings.Split(string(data), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		w := strings.Fields(rest)
		if !ok || len(w) < 11 || name == "lo" || strings.HasPrefix(name, "veth") {
			continue
		}
		number := func(i int) *uint64 {
			n, err := strconv.ParseUint(w[i], 10, 64)
			if err != nil {
				return nil
			}
			return &n
		}
		link := stats.InterfaceStats{Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrors: number(10)}
		out.Interfaces = append(out.Interfaces, link)
		if name == first {
			out.InterfaceStats = link
		}
	}
	return out
}

// defaultLink is the link of the route to 0.0.0.0 in proc(5)'s net/route.
func (p *Provider) defaultLink() string {
	data, err := os.ReadFile(filepath.Join(p.proc, "net/route"))
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(data), "\n") {
		if w := strings.Fields(line); len(w) > 7 && w[1] == "00000000" && w[7] == "00000000" {
			return w[0]
		}
	}
	return ""
}

func (p *Provider) rlimit(now time.Time) *stats.RlimitStats {
	out := &stats.RlimitStats{Time: metav1.NewTime(now)}
	if data, err := os.ReadFile(filepath.Join(p.proc, "sys/kernel/pid_max")); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil {
			out.MaxPID = &n
		}
	}
	// The fourth field is running/all, of threads.
	if data, err := os.ReadFile(filepath.Join(p.proc, "loadavg")); err == nil {
		if w := strings.Fields(string(data)); len(w) > 3 {
			if _, all, ok := strings.Cut(w[3], "/"); ok {
				if n, err := strconv.ParseInt(all, 10, 64); err == nil {
					out.NumOfRunningProcesses = &n
				}
			}
		}
	}
	return out
}
