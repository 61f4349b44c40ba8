// SPDX-License-Identifier: Apache-2.0

// Package cgroup lays out and limits the control groups of pods, on cgroup v1, v2 and the hybrid of both.
//
// Everything of a cluster lives below one root (config.Config.CgroupRoot), pods as the kubelet names them with the
// cgroupfs driver:
//
//	<root>/pods/pod<uid>               guaranteed
//	<root>/pods/burstable/pod<uid>     cpu weight of the class: the sum of its pods' requests
//	<root>/pods/besteffort/pod<uid>    the least cpu weight
//	<root>/containerd                  the runtime and its shims
//
// Container groups below a pod are made by runc. The cost is a handful of small writes a pod at its start, and one
// directory a controller; nothing is polled.
package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mounts says where this machine's cgroup file systems are.
type Mounts struct {
	// V1 is the mount point by controller; named hierarchies as "name=systemd".
	V1 map[string]string
	// V2 is the mount point of the unified hierarchy, empty where there is none.
	V2 string
	// V2Controllers are those that the unified hierarchy offers at its root; none in a hybrid set-up that gives all to v1.
	V2Controllers []string
}

// Detect reads the mount table of this process.
func Detect() (*Mounts, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("detect cgroups: %w", err)
	}
	defer f.Close()
	m, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("detect cgroups: %w", err)
	}
	if m.V2 != "" {
		have, err := os.ReadFile(filepath.Join(m.V2, "cgroup.controllers"))
		if err != nil {
			return nil, fmt.Errorf("detect cgroups: %w", err)
		}
		m.V2Controllers = strings.Fields(string(have))
	}
	if len(m.V1) == 0 && m.V2 == "" {
		return nil, fmt.Errorf("detect cgroups: no cgroup file system is mounted; mount one with `mount -t cgroup2 none /sys/fs/cgroup`")
	}
	return m, nil
}

// Unified tells whether v2 alone is mounted: what runc and the kubelet call cgroup v2.
func (m *Mounts) Unified() bool { return len(m.V1) == 0 }

// Version names the set-up: "v1", "v2" or "hybrid".
func (m *Mounts) Version() string {
	switch {
	case m.V2 == "":
		return "v1"
	case len(m.V1) == 0:
		return "v2"
	}
	return "hybrid"
}

// roots are all mount points, each once: where a group of ours may have a directory.
func (m *Mounts) roots() []string {
	var out []string
	for _, p := range m.V1 {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if m.V2 != "" {
		out = append(out, m.V2)
	}
	slices.Sort(out)
	return out
}

// Controller returns the mount point that serves the controller, and whether that is v2's; "" where it is absent.
func (m *Mounts) Controller(name string) (mount string, v2 bool) {
	if p, ok := m.V1[name]; ok {
		return p, false
	}
	if slices.Contains(m.V2Controllers, name) {
		return m.V2, true
	}
	return "", false
}

// notControllers are the super options of a v1 mount that name no controller.
var notControllers = []string{"rw", "ro", "none", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"}

// parseMounts reads mountinfo(5): optional fields end at "-", then type, source and super options. Of two mounts of one
// hierarchy the shorter path is the real one (the other is a container's or a chroot's copy).
func parseMounts(r io.Reader) (*Mounts, error) {
	m := &Mounts{V1: map[string]string{}}
	shorter := func(old, new string) string {
		if old == "" || len(new) < len(old) {
			return new
		}
		return old
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		f := strings.Fields(s.Text())
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+4 {
			continue
		}
		point := unescape(f[4])
		switch f[dash+1] {
		case "cgroup2":
			m.V2 = shorter(m.V2, point)
		case "cgroup":
			for _, opt := range strings.Split(f[dash+3], ",") {
				if !slices.Contains(notControllers, opt) && !strings.HasPrefix(opt, "release_agent=") {
					m.V1[opt] = shorter(m.V1[opt], point)
				}
			}
		}
	}
	return m, s.Err()
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
