// SPDX-License-Identifier: Apache-2.0

// Package node is this machine as a Node object: it registers it, renews its lease and keeps its status true. One lease update
// every ten seconds; the status is computed as often and sent only when it says something new, at least every five minutes.
package node

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine is what a node says of the machine that it is.
type Machine struct {
	MachineID, SystemUUID, BootID string
	Kernel, OSImage               string
	Capacity                      v1.ResourceList // cpu, memory, ephemeral-storage, huge pages
}

// Inspect reads what this machine is. rootDir is on the file system whose size is the node's ephemeral storage.
func Inspect(rootDir string) Machine {
	m := Machine{
		MachineID:  firstLine("/etc/machine-id", "/var/lib/dbus/machine-id"),
		SystemUUID: firstLine("/sys/class/dmi/id/product_uuid", "/proc/device-tree/vm,uuid", "/etc/machine-id"),
		BootID:     firstLine("/proc/sys/kernel/random/boot_id"),
		OSImage:    osImage(),
		Capacity:   v1.ResourceList{v1.ResourceCPU: *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI)},
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if bytes := MemoryBytes(); bytes > 0 {
		m.Capacity[v1.ResourceMemory] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	var fs unix.Statfs_t
	if unix.Statfs(rootDir, &fs) == nil {
		m.Capacity[v1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI)
	}
	for name, q := range hugePages() {
		m.Capacity[name] = q
	}
	return m
}

// MemoryBytes is the machine's memory.
func MemoryBytes() int64 {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err == nil {
				return kib * 1024
			}
		}
	}
	return 0
}

func hugePages() v1.ResourceList {
	dirs, err := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	if err != nil {
		return nil
	}
	list := v1.ResourceList{}
	for _, dir := range dirs {
		size := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		kib, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			continue
		}
		count, err := strconv.ParseInt(firstLine(filepath.Join(dir, "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		page := resource.NewQuantity(kib*1024, resource.BinarySI)
		list[v1.ResourceName(v1.ResourceHugePagesPrefix+page.String())] = *resource.NewQuantity(kib*1024*count, resource.BinarySI)
	}
	return list
}

func osImage() string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return "Linux"
}

func firstLine(paths ...string) string {
	for _, path := range paths {
		if content, err := os.ReadFile(path); err == nil {
			line, _, _ := strings.Cut(string(content), "\n")
			if line = strings.TrimSpace(strings.TrimRight(line, "\x00")); line != "" {
				return line
			}
		}
	}
	return ""
}
