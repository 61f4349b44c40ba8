// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func checkRoot(m *Machine) Result {
	if m.UID == 0 {
		return ok("runs as root")
	}
	return Result{Severity: Fail, What: fmt.Sprintf("runs as user %d, not as root", m.UID),
		Why:  "containers need mounts, namespaces and control groups, which the kernel gives to root",
		Mend: "sudo hivemind up (or, for pods without containers: hivemind up --runtime simulated)"}
}

// neededControllers limit and account what pods use.
var neededControllers = [...]string{"cpu", "memory", "pids"}

func checkCgroups(m *Machine) Result {
	if text, err := m.read("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		have := strings.Fields(text)
		for _, c := range neededControllers {
			if !slices.Contains(have, c) {
				return Result{Severity: Fail, What: "cgroup v2 without the controller " + c, Why: "pods' " + c + " could not be limited",
					Mend: "boot with cgroup_enable=" + c + " (on a Raspberry Pi in /boot/firmware/cmdline.txt)"}
			}
		}
		return ok("cgroup v2 with %s", strings.Join(neededControllers[:], ", "))
	}
	text, err := m.read("/proc/self/mountinfo")
	if err != nil {
		return Result{Severity: Fail, What: "/proc/self/mountinfo cannot be read: " + err.Error(), Mend: "mount -t proc proc /proc"}
	}
	for _, c := range neededControllers {
		if !mountedV1(text, c) {
			return Result{Severity: Fail, What: "no cgroup hierarchy with the controller " + c + " is mounted", Why: "pods' " + c + " could not be limited",
				Mend: "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or boot with systemd, which does"}
		}
	}
	return ok("cgroup v1 with %s", strings.Join(neededControllers[:], ", "))
}

func mountedV1(mountinfo, controller string) bool {
	for line := range strings.Lines(mountinfo) {
		// …  - cgroup cgroup rw,cpu,cpuacct
		_, after, ok := strings.Cut(line, " - cgroup ")
		if !ok {
			continue
		}
		words := strings.Fields(after)
		if len(words) > 0 && slices.Contains(strings.Split(words[len(words)-1], ","), controller) {
			return true
		}
	}
	return false
}

func checkFilesystems(m *Machine) Result {
	for _, name := range []string{"overlay", "tmpfs"} {
		if m.hasFilesystem(name) || loads(name) {
			continue
		}
		return Result{Severity: Fail, What: "the kernel has no " + name + " file system", Why: "container images are laid over each other with it",
			Mend: "modprobe " + name + " && echo " + name + " > /etc/modules-load.d/hivemind.conf"}
	}
	return ok("overlay")
}

func (m *Machine) hasFilesystem(name string) bool {
	text, err := m.read("/proc/filesystems")
	return err == nil && slices.Contains(strings.Fields(text), name)
}

// loads asks for a file system that is not listed, which makes the kernel load its module.
func loads(filesystem string) bool {
	fd, err := unix.Fsopen(filesystem, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// checkForwarding only foretells: the agent switches forwarding on itself.
func checkForwarding(m *Machine) Result {
	const path = "/proc/sys/net/ipv4/ip_forward"
	text, err := m.read(path)
	if err != nil {
		return Result{Severity: Fail, What: path + " cannot be read: " + err.Error(), Why: "pods' packets pass through this machine", Mend: "mount -t proc proc /proc"}
	}
	if strings.TrimSpace(text) == "1" {
		return ok("IPv4 is forwarded")
	}
	if m.UID == 0 && unix.Access(m.path(path), unix.W_OK) != nil {
		return Result{Severity: Fail, What: "IPv4 is not forwarded, and /proc/sys is read-only", Why: "pods would reach nothing outside of this machine",
			Mend: "sysctl -w net.ipv4.ip_forward=1, outside of the container that this is"}
	}
	return ok("IPv4 will be forwarded once the cluster starts")
}

func checkCapabilities(m *Machine) Result {
	text, err := m.read("/proc/self/status")
	if err != nil {
		return Result{Severity: Warn, What: "/proc/self/status cannot be read: " + err.Error()}
	}
	var effective uint64
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			if _, err := fmt.Sscanf(strings.TrimSpace(value), "%x", &effective); err != nil {
				return Result{Severity: Warn, What: "capabilities cannot be read: " + err.Error()}
			}
		}
	}
	for _, need := range []struct {
		bit  int
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if m.UID == 0 && effective&(1<<need.bit) == 0 {
			return Result{Severity: Fail, What: "root without " + need.name, Why: "mounts, namespaces and links need it",
				Mend: "start the container that this is with --privileged or --cap-add " + strings.TrimPrefix(need.name, "CAP_")}
		}
	}
	if effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return Result{Severity: Warn, What: "CAP_SYS_RESOURCE is missing", Why: "processes cannot be shielded from the out-of-memory killer; pods run all the same"}
	}
	return ok("all that is needed")
}

func (m *Machine) path(path string) string { return filepath.Join(m.Root, path) }

func (m *Machine) read(path string) (string, error) {
	text, err := os.ReadFile(m.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fs.ErrNotExist
	}
	return string(text), err
}
