// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the resident memory of a process, in MiB: now, and at most since Forget.
type Memory struct{ Now, Peak float64 }

// ReadMemory reads it from /proc.
func ReadMemory(pid int) (Memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	var m Memory
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*float64{"VmRSS": &m.Now, "VmHWM": &m.Peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			return Memory{}, fmt.Errorf("read the memory of process %d: %s: %w", pid, name, err)
		}
		*into = kib / 1024
	}
	if m.Now == 0 || m.Peak == 0 {
		return Memory{}, fmt.Errorf("read the memory of process %d: it has ended", pid)
	}
	return m, nil
}

// Forget begins the peak anew (proc_pid_clear_refs(5)).
func Forget(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("forget the peak of process %d: %w", pid, err)
	}
	return nil
}
