// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

func TestNodeFromProc(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"stat":    "cpu  100 20 30 9999 9999 1 2 3 77 77\ncpu0 1 2 3 4 5 6 7 8 9 10\nbtime 1700000000\n",
		"meminfo": "MemTotal:  1000 kB\nMemFree: 200 kB\nMemAvailable: 600 kB\nAnonPages: 50 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 0\n",
		"net/dev": "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n" +
			"    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 1 2 0 0 0 0 0 30 1 4 0 0 0 0 0\nveth12: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n wg0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n",
		"net/route":          "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t0000A8C0\t0\t1\t0\t0\t0\t00FFFFFF\neth0\t00000000\t0100A8C0\t3\t0\t0\t0\t00000000\n",
		"sys/kernel/pid_max": "4194304\n",
		"loadavg":            "0.1 0.2 0.3 2/345 6789\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := New(nil, nil, "n", dir)
	p.proc = dir
	n := p.node(t.Context())
	type seen struct {
		CPU, WorkingSet, Usage, Available, RSS, Rx, TxErrors *uint64
		Link                                                 string
		Links                                                int
		MaxPID, PIDs                                         *int64
		Boot                                                 int64
	}
	got := seen{n.CPU.UsageCoreNanoSeconds, n.Memory.WorkingSetBytes, n.Memory.UsageBytes, n.Memory.AvailableBytes, n.Memory.RSSBytes,
		n.Network.RxBytes, n.Network.TxErrors, n.Network.Name, len(n.Network.Interfaces), n.Rlimit.MaxPID, n.Rlimit.NumOfRunningProcesses, n.StartTime.Unix()}
	want := seen{ptr.To[uint64](1.56e9), ptr.To[uint64](400 * 1024), ptr.To[uint64](800 * 1024), ptr.To[uint64](600 * 1024), ptr.To[uint64](50 * 1024),
		ptr.To[uint64](10), ptr.To[uint64](4), "eth0", 2, ptr.To[int64](4194304), ptr.To[int64](345), 1700000000}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRateNeedsTwoLooks(t *testing.T) {
	p := New(nil, nil, "n", "/")
	at := time.Unix(1000, 0)
	for _, step := range []struct {
		after time.Duration
		used  uint64
		want  *uint64
	}{
		{0, 5e9, nil},
		{100 * time.Millisecond, 6e9, nil},          // too soon
		{2 * time.Second, 9e9, ptr.To[uint64](2e9)}, // 4 s of cpu in 2 s
		{2*time.Second + time.Millisecond, 10e9, ptr.To[uint64](2e9)},
		{4 * time.Second, 11e9, ptr.To[uint64](1e9)},
	} {
		got := p.cpuRate(cpuSample{at.Add(step.after), step.used})
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("after %v: %s", step.after, d)
		}
	}
}

func TestPressure(t *testing.T) {
	disk := func(available, inodesFree uint64) *stats.FsStats {
		return &stats.FsStats{CapacityBytes: ptr.To[uint64](1000), AvailableBytes: &available, Inodes: ptr.To[uint64](1000), InodesFree: &inodesFree}
	}
	noInodes := &stats.FsStats{CapacityBytes: ptr.To[uint64](1000), AvailableBytes: ptr.To[uint64](500), Inodes: ptr.To[uint64](0), InodesFree: ptr.To[uint64](0)}
	for name, tc := range map[string]struct {
		node               stats.NodeStats
		memory, disk, pids bool
	}{
		"nothing known":       {stats.NodeStats{}, false, false, false},
		"plenty":              {stats.NodeStats{Fs: disk(100, 50), Memory: &stats.MemoryStats{AvailableBytes: ptr.To[uint64](100 << 20)}}, false, false, false},
		"little memory":       {stats.NodeStats{Memory: &stats.MemoryStats{AvailableBytes: ptr.To[uint64](99 << 20)}}, true, false, false},
		"little disk":         {stats.NodeStats{Fs: disk(99, 500)}, false, true, false},
		"few inodes":          {stats.NodeStats{Fs: disk(500, 49)}, false, true, false},
		"no inodes counted":   {stats.NodeStats{Fs: noInodes}, false, false, false},
		"little for images":   {stats.NodeStats{Fs: disk(500, 500), Runtime: &stats.RuntimeStats{ImageFs: disk(140, 500)}}, false, true, false},
		"few process numbers": {stats.NodeStats{Rlimit: &stats.RlimitStats{MaxPID: ptr.To[int64](1000), NumOfRunningProcesses: ptr.To[int64](951)}}, false, false, true},
	} {
		memory, disk, pids := pressure(tc.node)
		if memory != tc.memory || disk != tc.disk || pids != tc.pids {
			t.Errorf("%s: memory %t, disk %t, pids %t", name, memory, disk, pids)
		}
	}
}
