// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

func TestParseMounts(t *testing.T) {
	for name, tc := range map[string]struct {
		mountinfo string
		version   string
		want      Mounts
	}{
		"v2": {
			mountinfo: `29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate`,
			version:   "v2",
			want:      Mounts{V1: map[string]string{}, V2: "/sys/fs/cgroup"},
		},
		"v1, controllers mounted together, and a copy in a chroot": {
			mountinfo: `30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:28 / /srv/chroot/sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:29 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd`,
			version: "v1",
			want: Mounts{V1: map[string]string{
				"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "name=systemd": "/sys/fs/cgroup/systemd"}},
		},
		"hybrid, with a space in the path and lines that are no cgroups": {
			mountinfo: `22 1 0:20 / / rw - ext4 /dev/vda rw
33 25 0:30 / /sys/fs/my\040cgroup/memory rw - cgroup none rw,memory
34 25 0:31 / /sys/fs/cgroup/unified rw - cgroup2 none rw
short line`,
			version: "hybrid",
			want:    Mounts{V1: map[string]string{"memory": "/sys/fs/my cgroup/memory"}, V2: "/sys/fs/cgroup/unified"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseMounts(strings.NewReader(tc.mountinfo))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&tc.want, got); d != "" {
				t.Errorf("mounts (-want +got):\n%s", d)
			}
			if got.Version() != tc.version {
				t.Errorf("version %s, want %s", got.Version(), tc.version)
			}
		})
	}
}

// pod has one container for each pair of "request/limit" words, such as "cpu=100m,memory=1Gi/cpu=1".
func pod(uid string, containers ...string) *v1.Pod {
	p := &v1.Pod{}
	p.UID, p.Name, p.Namespace = types.UID(uid), "p", "default"
	list := func(s string) v1.ResourceList {
		out := v1.ResourceList{}
		for _, w := range strings.Split(s, ",") {
			if k, v, ok := strings.Cut(w, "="); ok {
				out[v1.ResourceName(k)] = resource.MustParse(v)
			}
		}
		return out
	}
	for i, c := range containers {
		req, lim, _ := strings.Cut(c, "/")
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{
			Name: fmt.Sprint("c", i), Resources: v1.ResourceRequirements{Requests: list(req), Limits: list(lim)}})
	}
	return p
}

func TestPodLimits(t *testing.T) {
	const mi = 1 << 20
	podLevel := pod("u", "/", "/")
	podLevel.Spec.Resources = &v1.ResourceRequirements{
		Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")},
		Limits:   v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("64Mi")},
	}
	for name, tc := range map[string]struct {
		pod   *v1.Pod
		class v1.PodQOSClass
		want  limits
	}{
		"nothing said":                    {pod("u", "/"), v1.PodQOSBestEffort, limits{shares: 2}},
		"all said and equal":              {pod("u", "cpu=250m,memory=64Mi/cpu=250m,memory=64Mi"), v1.PodQOSGuaranteed, limits{256, 25000, 64 * mi, 250}},
		"limits alone are requests too":   {pod("u", "/cpu=100m,memory=32Mi", "/cpu=100m,memory=32Mi"), v1.PodQOSGuaranteed, limits{2, 20000, 64 * mi, 0}},
		"one container without a limit":   {pod("u", "cpu=100m/cpu=200m,memory=32Mi", "cpu=100m/"), v1.PodQOSBurstable, limits{204, 0, 0, 200}},
		"every container has a cpu limit": {pod("u", "cpu=1/cpu=2", "/cpu=500m"), v1.PodQOSBurstable, limits{1024, 250000, 0, 1000}},
		"quota below what the kernel takes": {
			pod("u", "cpu=1m/cpu=5m"), v1.PodQOSBurstable, limits{2, 1000, 0, 1}},
		"limits of the pod itself": {podLevel, v1.PodQOSBurstable, limits{1024, 200000, 64 * mi, 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := QOSClass(tc.pod); got != tc.class {
				t.Errorf("class %s, want %s", got, tc.class)
			}
			if got := podLimits(tc.pod); got != tc.want {
				t.Errorf("limits %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 100, 262144: 10000, 102: 17} {
		if got := weight(shares); got != want {
			t.Errorf("weight(%d) = %d, want %d", shares, got, want)
		}
	}
}

// On v2 every level hands its controllers down before a pod's group is limited. A directory tree stands for the file
// system, with the control files that the kernel would make.
func TestEnsureUnified(t *testing.T) {
	dir := t.TempDir()
	groups := []string{"", "hm", "hm/pods", "hm/pods/burstable", "hm/pods/besteffort", "hm/pods/burstable/podu1"}
	for _, g := range groups {
		if err := os.MkdirAll(filepath.Join(dir, g), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"cgroup.subtree_control", "cgroup.procs", "cpu.weight", "cpu.max", "memory.max", "pids.max"} {
			if err := os.WriteFile(filepath.Join(dir, g, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := New(&Mounts{V1: map[string]string{}, V2: dir, V2Controllers: []string{"cpu", "memory", "pids"}}, "/hm", 99)
	if err := m.Ensure(pod("u1", "cpu=1/cpu=2,memory=64Mi")); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range []string{
		"cgroup.subtree_control", "hm/cgroup.subtree_control", "hm/pods/cgroup.subtree_control", "hm/pods/burstable/cgroup.subtree_control",
		"hm/pods/burstable/cpu.weight", "hm/pods/besteffort/cpu.weight",
		"hm/pods/burstable/podu1/cpu.weight", "hm/pods/burstable/podu1/cpu.max", "hm/pods/burstable/podu1/memory.max", "hm/pods/burstable/podu1/pids.max",
	} {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		got[f] = string(data)
	}
	want := map[string]string{
		"cgroup.subtree_control": "+cpu +memory +pids", "hm/cgroup.subtree_control": "+cpu +memory +pids",
		"hm/pods/cgroup.subtree_control": "+cpu +memory +pids", "hm/pods/burstable/cgroup.subtree_control": "+cpu +memory +pids",
		"hm/pods/burstable/cpu.weight": "100", "hm/pods/besteffort/cpu.weight": "1",
		"hm/pods/burstable/podu1/cpu.weight": "100", "hm/pods/burstable/podu1/cpu.max": "200000 100000",
		"hm/pods/burstable/podu1/memory.max": "67108864", "hm/pods/burstable/podu1/pids.max": "99",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("control files (-want +got):\n%s", d)
	}
}

// TestMachine needs root: it works on this machine's own cgroups, whatever their version.
func TestMachine(t *testing.T) {
	mounts, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprintf("/hivemind-test-%d", os.Getpid())
	m := New(mounts, root, 64)
	t.Cleanup(func() {
		if err := m.Destroy(); err != nil {
			t.Error(err)
		}
	})
	if got, err := m.List(); err != nil || len(got) != 0 {
		t.Fatalf("before any pod: %v, %v", got, err)
	}
	a, b := pod("a", "cpu=500m/cpu=1,memory=32Mi"), pod("b", "/")
	for _, p := range []*v1.Pod{a, b, a} {
		if err := m.Ensure(p); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := m.List(); err != nil || !cmp.Equal(got, []types.UID{"a", "b"}) {
		t.Fatalf("list %v, %v", got, err)
	}
	if got := m.PodCgroup(a); got != root+"/pods/burstable/poda" {
		t.Errorf("cgroup of a: %s", got)
	}
	if mount, v2 := mounts.Controller("memory"); mount != "" && !v2 {
		data, err := os.ReadFile(filepath.Join(mount, m.PodCgroup(a), "memory.limit_in_bytes"))
		if err != nil || strings.TrimSpace(string(data)) != "33554432" {
			t.Errorf("memory limit %q, %v", data, err)
		}
	}
	shares := func() string {
		mount, v2 := mounts.Controller("cpu")
		if mount == "" || v2 {
			return "512"
		}
		data, err := os.ReadFile(filepath.Join(mount, root, "pods/burstable/cpu.shares"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	if got := shares(); got != "512" {
		t.Errorf("weight of burstable with one pod: %s", got)
	}

	// A process left in a container's group is killed with the pod; another pod's lives on.
	start := func(group string) *exec.Cmd {
		c := exec.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := m.Join(strings.TrimPrefix(group, root), c.Process.Pid); err != nil {
			t.Fatal(err)
		}
		return c
	}
	left, other := start(m.PodCgroup(a)+"/container"), start(m.PodCgroup(b)+"/container")
	done := make(chan error, 1)
	go func() { done <- left.Wait() }()
	if err := m.Remove("a"); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := m.Remove("a"); err != nil {
		t.Errorf("second removal: %v", err)
	}
	if got, err := m.List(); err != nil || !cmp.Equal(got, []types.UID{"b"}) {
		t.Errorf("list after removal %v, %v", got, err)
	}

	go func() { done <- other.Wait() }()
	for range 2 {
		if err := m.Destroy(); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	for _, mount := range mounts.roots() {
		if _, err := os.Stat(filepath.Join(mount, root)); !os.IsNotExist(err) {
			t.Errorf("%s%s is left: %v", mount, root, err)
		}
	}
}
