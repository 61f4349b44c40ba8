// SPDX-License-Identifier: Apache-2.0

// Package daemon is what hivemind and hivemindd know of each other: the lock that says that a cluster runs, the
// status file that says what of it, and the progress that hivemindd tells while it starts. All of it is in the run
// directory, so a reboot clears it. The cost is one small file written once a component.
package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const pidFile = "hivemindd.pid"

// RunningError is returned by Lock where another process holds the lock.
type RunningError struct{ PID int }

func (e *RunningError) Error() string { return fmt.Sprintf("already runs as process %d", e.PID) }

// Lock makes this process the one that runs the cluster of runDir, until it ends or the returned function is called.
// The kernel drops the lock with the process, however that ends, so a stale file means nothing.
func Lock(runDir string) (unlock func(), err error) {
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	path := filepath.Join(runDir, pidFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cluster: %w", err)
	}
	// A lock of the open file, not of the process: it can be asked for without being taken (Running).
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EAGAIN) {
			return nil, &RunningError{PID: readPID(path)}
		}
		return nil, fmt.Errorf("lock cluster: %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock cluster: %w", err), f.Close())
	}
	return func() { f.Close() }, nil
}

// endWithin bounds how long the kernel may take to close the files of a process that has ended.
const endWithin = 5 * time.Second

// Running returns the process that runs the cluster of runDir, or 0. A process that was killed may go on until a processor is
// free for it to end on, and holds the lock for some milliseconds longer, as its memory goes before its files: that is waited for.
func Running(runDir string) (pid int, err error) {
	path := filepath.Join(runDir, pidFile)
	for deadline := time.Now().Add(endWithin); ; time.Sleep(time.Millisecond) {
		pid, err := holder(path)
		if pid == 0 || err != nil || !ended(pid) || time.Now().After(deadline) {
			return pid, err
		}
	}
}

// ended tells of a process that it has no program any more, or will have none at its next step.
func ended(pid int) bool {
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); errors.Is(err, os.ErrNotExist) {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return errors.Is(err, os.ErrNotExist) || killed(string(status))
}

// killed reads in a process's status (proc_pid_status(5)) whether SIGKILL is pending for it.
func killed(status string) bool {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && mask&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// holder returns the process that holds the lock, or 0.
func holder(path string) (pid int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	held := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &held); err != nil {
		return 0, fmt.Errorf("look who holds %s: %w", path, err)
	}
	if held.Type == unix.F_UNLCK {
		return 0, nil
	}
	return waitPID(path)
}

// waitPID reads the id of a process that has just taken the lock and may not have written it yet.
func waitPID(path string) (int, error) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if pid := readPID(path); pid != 0 {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("%s is locked and names no process", path)
}

func readPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
