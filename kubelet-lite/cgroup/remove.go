// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long removeTree waits for killed processes to be gone: the kernel frees a group only when the last has been reaped.
const (
	removeWithin = 5 * time.Second
	removePoll   = 5 * time.Millisecond
)

// removeTree kills what runs in the group and removes it from every hierarchy, deepest directory first.
func (m *Manager) removeTree(group string) error {
	deadline := time.Now().Add(removeWithin)
	for {
		var errs []error
		for _, mount := range m.mounts.roots() {
			errs = append(errs, removeDir(filepath.Join(mount, group)))
		}
		err := errors.Join(errs...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(removePoll)
	}
}

func removeDir(dir string) error {
	dirs := tree(dir)
	if len(dirs) == 0 {
		return nil
	}
	var errs []error
	// On v2 since Linux 5.14; elsewhere the processes are found and killed below.
	_ = writeOptional(filepath.Join(dir, "cgroup.kill"), "1")
	for _, d := range slices.Backward(dirs) {
		err := syscall.Rmdir(d)
		if errors.Is(err, syscall.EBUSY) {
			// What is frozen on v1 does not even die.
			_ = writeOptional(filepath.Join(d, "freezer.state"), "THAWED")
			for _, pid := range procs(d) {
				if pid != os.Getpid() {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself: the next round tells
				}
			}
			err = syscall.Rmdir(d)
		}
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, &fs.PathError{Op: "rmdir", Path: d, Err: err})
		}
	}
	return errors.Join(errs...)
}

// tree lists dir and the groups below it, parents first; none where dir does not exist.
func tree(dir string) []string {
	var out []string
	// Groups may vanish while they are walked; what is gone needs no removing.
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, p)
		}
		return nil
	})
	return out
}

// procs are the processes in the group itself.
func procs(dir string) []int {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out
}

// enter makes the group and puts the process into it.
func enter(dir string, pid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}
