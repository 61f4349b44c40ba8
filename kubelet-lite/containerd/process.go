// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a containerd, a child of ours or one that an earlier process of ours left.
type process struct {
	pid   int
	ended chan struct{} // closed when it has ended
	fd    *os.File      // pidfd of one that is no child
}

// launch starts containerd in a session of its own and in the cluster's cgroup.
func (s *Supervisor) launch(config string) (*process, error) {
	out, err := openLog(s.opts.logFile())
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(s.opts.binary(), "--config", s.opts.configFile())
	cmd.Dir = "/"
	cmd.Env = s.environ()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		// How it ended is in its log; that it ended is all that matters here.
		_ = cmd.Wait()
		close(p.ended)
	}()
	err = s.cgroups.Join("containerd", p.pid)
	if err == nil || errors.Is(err, syscall.ESRCH) { // one that ended at once is started again like any other
		err = os.WriteFile(s.opts.pidFile(), []byte(fmt.Sprintf("%d %s %s\n", p.pid, startTime(p.pid), digestOf(config))), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, p.end(context.Background(), 0))
	}
	return p, nil
}

// environ is this process's environment with our binaries first in PATH and a heap that is collected early: containerd
// idles most of its life, and its memory is the pods' loss.
func (s *Supervisor) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "GOGC", "GOMEMLIMIT", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
			return true
		}
		return false
	})
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env = append(env, "PATH="+s.opts.BinDir+":"+path, "GOGC=50")
	if s.opts.MemoryMiB > 0 {
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%dMiB", s.opts.MemoryMiB))
	}
	return env
}

// adopt returns the containerd that an earlier process of ours left, if it is the one that would be started now; one that
// is not is stopped. It returns nil where a new one has to be started.
func (s *Supervisor) adopt(ctx context.Context, config string) (*process, error) {
	pid, same := s.recorded(digestOf(config))
	if pid == 0 {
		// A start may have been cut short before it was recorded.
		for _, other := range find(func(args []string) bool { return s.isContainerd(args) }) {
			pid, same = other, false
		}
	}
	if pid == 0 {
		return nil, nil
	}
	p, err := attach(pid)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil, nil
		}
		return nil, err
	}
	if same && sameFile(fmt.Sprintf("/proc/%d/exe", pid), s.opts.binary()) && s.answers(ctx, p) {
		return p, nil
	}
	return nil, p.end(ctx, stopWithin)
}

// recorded reads the pid file. Process numbers are used again: the start time tells a stranger from ours.
func (s *Supervisor) recorded(config string) (pid int, same bool) {
	data, err := os.ReadFile(s.opts.pidFile())
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(data))
	if len(f) != 3 {
		return 0, false
	}
	pid, err = strconv.Atoi(f[0])
	if err != nil || startTime(pid) != f[1] || f[1] == "" {
		return 0, false
	}
	return pid, f[2] == config
}

func (s *Supervisor) isContainerd(args []string) bool {
	return filepath.Base(args[0]) == "containerd" && slices.Contains(args, s.opts.configFile())
}

// attach watches a process that is no child of ours.
func attach(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p := &process{pid: pid, ended: make(chan struct{}), fd: os.NewFile(uintptr(fd), "pidfd")}
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, p.fd.Close())
	}
	go func() {
		// A pidfd becomes readable when its process ends; the runtime's poller waits without holding a thread.
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 && err == nil
		})
		if err == nil {
			close(p.ended)
		}
		_ = p.fd.Close()
	}()
	return p, nil
}

// end asks the process to end and kills it when it does not within the time given or ctx's.
func (p *process) end(ctx context.Context, within time.Duration) error {
	if p == nil {
		return nil
	}
	wait := time.NewTimer(within)
	defer wait.Stop()
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-wait.C:
	case <-ctx.Done():
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
		return fmt.Errorf("process %d does not end", p.pid)
	}
}

// forget stops watching a process that is no child of ours; a child has to be waited for in any case.
func (p *process) forget() {
	if p.fd != nil {
		_ = p.fd.Close() // wakes the goroutine that waits on it
	}
}

// find returns the processes, this one left out, whose arguments are wanted.
func find(wanted func(args []string) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(data) == 0 {
			continue
		}
		if wanted(strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")) {
			out = append(out, pid)
		}
	}
	return out
}

// startTime is field 22 of proc(5)'s stat, "" for a process that is gone. The name before it may hold anything.
func startTime(pid int) string {
	if f := statFields(pid); len(f) > 19 {
		return f[19]
	}
	return ""
}

// statFields are the fields after the name, the state first; none for a zombie, which has ended for our purposes.
func statFields(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) == 0 || f[0] == "Z" || f[0] == "X" {
		return nil
	}
	return f
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// openLog opens the log to append to; one that has grown past 10 MiB is put aside first.
func openLog(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > 10<<20 {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

// tail returns the last lines of a file.
func tail(name string, lines int) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 16<<10 {
		if _, err := f.Seek(-16<<10, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
