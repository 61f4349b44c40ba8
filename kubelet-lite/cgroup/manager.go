// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Manager makes, limits and removes the groups below one root. It is safe for use by many goroutines.
type Manager struct {
	mounts   *Mounts
	root     string
	pidLimit int64

	mu        sync.Mutex
	prepared  bool
	burstable map[types.UID]int64 // requested thousandths of a cpu
}

// New returns a manager of the groups below root, an absolute cgroup path such as /hivemind-1a2b3c4d. podPids is the
// most processes a pod may have, 0 for no limit. Nothing is made until it is needed.
func New(mounts *Mounts, root string, podPids int64) *Manager {
	return &Manager{mounts: mounts, root: path.Clean(root), pidLimit: podPids, burstable: map[types.UID]int64{}}
}

// PodCgroup is the pod's group, what CRI calls cgroup_parent.
func (m *Manager) PodCgroup(pod *v1.Pod) string {
	return path.Join(m.classCgroup(QOSClass(pod)), podPrefix+string(pod.UID))
}

// Ensure makes the pod's group and sets its limits; called again it brings them up to date. Controllers that the machine
// lacks are left out.
func (m *Manager) Ensure(pod *v1.Pod) error {
	if err := m.prepare(); err != nil {
		return fmt.Errorf("prepare cgroup %s: %w", m.root, err)
	}
	group, l := m.PodCgroup(pod), podLimits(pod)
	if err := errors.Join(
		m.make(group, "cpu", "memory", "pids"),
		m.setCPU(group, l.shares, l.quota),
		m.setMemory(group, l.memory),
		m.setPids(group),
	); err != nil {
		return fmt.Errorf("set up cgroup %s of pod %s/%s: %w", group, pod.Namespace, pod.Name, err)
	}
	if QOSClass(pod) == v1.PodQOSBurstable {
		return m.weighBurstable(func() { m.burstable[pod.UID] = l.milliCPU })
	}
	return nil
}

// Remove kills whatever still runs in the pod's groups and removes them. It is content where there is nothing.
func (m *Manager) Remove(uid types.UID) error {
	var errs []error
	for _, class := range classes {
		group := path.Join(m.classCgroup(class), podPrefix+string(uid))
		if err := m.removeTree(group); err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", group, err))
		}
	}
	m.mu.Lock()
	_, known := m.burstable[uid]
	m.mu.Unlock()
	if known {
		errs = append(errs, m.weighBurstable(func() { delete(m.burstable, uid) }))
	}
	return errors.Join(errs...)
}

// List returns the pods that have a group in any hierarchy, sorted.
func (m *Manager) List() ([]types.UID, error) {
	var out []types.UID
	for _, mount := range m.mounts.roots() {
		for _, class := range classes {
			entries, err := os.ReadDir(filepath.Join(mount, m.classCgroup(class)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("list pod cgroups: %w", err)
			}
			for _, e := range entries {
				if uid, ok := strings.CutPrefix(e.Name(), podPrefix); ok && e.IsDir() {
					out = append(out, types.UID(uid))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Join puts the process into the group name below the root, in the hierarchies that account for a service (not cpuset
// or devices, whose new groups start closed). On v2 with processes in the root's parent the kernel allows it too, as
// name is a leaf.
func (m *Manager) Join(name string, pid int) error {
	group := path.Join(m.root, name)
	var errs []error
	joined := map[string]bool{}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "freezer", "name=systemd"} {
		mount, v2 := m.mounts.Controller(c)
		if mount == "" || v2 || joined[mount] {
			continue
		}
		joined[mount] = true
		errs = append(errs, enter(filepath.Join(mount, group), pid))
	}
	if m.mounts.V2 != "" {
		errs = append(errs, enter(filepath.Join(m.mounts.V2, group), pid))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("move process %d to cgroup %s: %w", pid, group, err)
	}
	return nil
}

// Destroy kills everything below the root, but this process, and removes the root from every hierarchy. It may be called
// again after a failure.
func (m *Manager) Destroy() error {
	m.mu.Lock()
	m.prepared = false
	clear(m.burstable)
	m.mu.Unlock()
	if err := m.evade(); err != nil {
		return fmt.Errorf("leave cgroup %s: %w", m.root, err)
	}
	if err := m.removeTree(m.root); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", m.root, err)
	}
	return nil
}

const podPrefix = "pod"

var classes = [...]v1.PodQOSClass{v1.PodQOSGuaranteed, v1.PodQOSBurstable, v1.PodQOSBestEffort}

func (m *Manager) classCgroup(class v1.PodQOSClass) string {
	base := path.Join(m.root, "pods")
	switch class {
	case v1.PodQOSBurstable:
		return path.Join(base, "burstable")
	case v1.PodQOSBestEffort:
		return path.Join(base, "besteffort")
	}
	return base
}

// prepare makes the groups of the classes once: pods together weigh as much as all cpus, best effort as little as can be.
func (m *Manager) prepare() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prepared {
		return nil
	}
	if err := m.delegate(); err != nil {
		return err
	}
	for class, shares := range map[v1.PodQOSClass]uint64{
		v1.PodQOSGuaranteed: Shares(int64(runtime.NumCPU()) * 1000),
		v1.PodQOSBurstable:  minShares,
		v1.PodQOSBestEffort: minShares,
	} {
		group := m.classCgroup(class)
		if err := errors.Join(m.make(group, "cpu", "memory", "pids"), m.setCPU(group, shares, 0)); err != nil {
			return err
		}
	}
	m.prepared = true
	return nil
}

// weighBurstable changes the known requests and sets the class's weight to their sum.
func (m *Manager) weighBurstable(change func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	var sum int64
	for _, milliCPU := range m.burstable {
		sum += milliCPU
	}
	group := m.classCgroup(v1.PodQOSBurstable)
	if err := m.setCPU(group, Shares(sum), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set weight of cgroup %s: %w", group, err)
	}
	return nil
}

// delegate turns the controllers on for the groups below, on v2: level by level, as children only get what their parent
// hands down.
func (m *Manager) delegate() error {
	if m.mounts.V2 == "" || len(m.mounts.V2Controllers) == 0 {
		return nil
	}
	var on []string
	for _, c := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} {
		if slices.Contains(m.mounts.V2Controllers, c) {
			on = append(on, "+"+c)
		}
	}
	enable := strings.Join(on, " ")
	dir := m.mounts.V2
	for _, next := range append([]string{""}, strings.Split(strings.Trim(m.classCgroup(v1.PodQOSGuaranteed), "/"), "/")...) {
		dir = filepath.Join(dir, next)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := m.enable(dir, enable); err != nil {
			return err
		}
	}
	for _, class := range classes[1:] {
		dir := filepath.Join(m.mounts.V2, m.classCgroup(class))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := m.enable(dir, enable); err != nil {
			return err
		}
	}
	return nil
}

// enable writes subtree_control. In a container with a cgroup namespace of its own the root holds processes, and the kernel
// refuses (EBUSY) until they are moved to a leaf.
func (m *Manager) enable(dir, controllers string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	err := write(file, controllers)
	if !errors.Is(err, syscall.EBUSY) {
		return err
	}
	leaf := filepath.Join(dir, "init")
	for _, pid := range procs(dir) {
		if err := enter(leaf, pid); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return write(file, controllers)
}

// make makes the group where the controllers named are, and on v2.
func (m *Manager) make(group string, controllers ...string) error {
	for _, c := range controllers {
		if mount, _ := m.mounts.Controller(c); mount != "" {
			if err := os.MkdirAll(filepath.Join(mount, group), 0o755); err != nil {
				return err
			}
		}
	}
	if m.mounts.Unified() && m.mounts.V2 != "" {
		dir := filepath.Join(m.mounts.V2, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// The pod's own children, its containers, get the controllers too.
		if have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil && len(have) > 0 {
			return m.enable(dir, "+"+strings.Join(strings.Fields(string(have)), " +"))
		}
	}
	return nil
}

func (m *Manager) setCPU(group string, shares uint64, quota int64) error {
	mount, v2 := m.mounts.Controller("cpu")
	if mount == "" {
		return nil
	}
	dir := filepath.Join(mount, group)
	if v2 {
		most := "max"
		if quota > 0 {
			most = strconv.FormatInt(quota, 10)
		}
		return errors.Join(
			write(filepath.Join(dir, "cpu.weight"), strconv.FormatUint(weight(shares), 10)),
			writeOptional(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%s %d", most, cpuPeriod)))
	}
	if quota <= 0 {
		quota = -1
	}
	return errors.Join(
		write(filepath.Join(dir, "cpu.shares"), strconv.FormatUint(shares, 10)),
		// Kernels without CONFIG_CFS_BANDWIDTH have neither file.
		writeOptional(filepath.Join(dir, "cpu.cfs_period_us"), strconv.Itoa(cpuPeriod)),
		writeOptional(filepath.Join(dir, "cpu.cfs_quota_us"), strconv.FormatInt(quota, 10)))
}

func (m *Manager) setMemory(group string, bytes int64) error {
	mount, v2 := m.mounts.Controller("memory")
	if mount == "" {
		return nil
	}
	file, most := "memory.limit_in_bytes", "-1"
	if v2 {
		file, most = "memory.max", "max"
	}
	if bytes > 0 {
		most = strconv.FormatInt(bytes, 10)
	}
	return write(filepath.Join(mount, group, file), most)
}

func (m *Manager) setPids(group string) error {
	mount, _ := m.mounts.Controller("pids")
	if mount == "" || m.pidLimit <= 0 {
		return nil
	}
	return write(filepath.Join(mount, group, "pids.max"), strconv.FormatInt(m.pidLimit, 10))
}

// evade moves this process out of the root that is to be destroyed, up to the hierarchy's own root.
func (m *Manager) evade() error {
	self := os.Getpid()
	for _, mount := range m.mounts.roots() {
		for _, dir := range tree(filepath.Join(mount, m.root)) {
			if slices.Contains(procs(dir), self) {
				if err := enter(mount, self); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// write changes a control file, never makes one.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func writeOptional(file, value string) error {
	if err := write(file, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
