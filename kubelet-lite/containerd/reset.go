// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Reset removes all that containerd and its containers are on this machine: processes, mounts below the run directory
// (network namespaces among them) and below the data directory's containerd/ and kubelet/, cgroups, and containerd's own
// files. It needs no running containerd and no Start before it, and can be repeated after any failure: every step is
// tried, and what went wrong is joined. A disk that the administrator mounted elsewhere below the data directory stays.
func (s *Supervisor) Reset(ctx context.Context) error {
	errs := []error{s.Stop(ctx)}
	// containerd first, or it would start cleaning up after the shims.
	errs = append(errs, s.killAll(ctx, func(args []string) bool { return s.isContainerd(args) }))
	errs = append(errs, s.killAll(ctx, s.isRuntime))
	if err := s.cgroups.Destroy(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, unmountBelow(s.opts.RunDir), unmountBelow(s.opts.root()), unmountBelow(filepath.Join(s.opts.DataDir, "kubelet")))
	for _, dir := range []string{s.opts.state(), filepath.Join(s.opts.RunDir, "s"), filepath.Join(s.opts.RunDir, "runc"), s.opts.root()} {
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset containerd: %w", err)
	}
	return nil
}

// isRuntime tells a shim or a runc of this cluster by the run directory in its arguments.
func (s *Supervisor) isRuntime(args []string) bool {
	switch filepath.Base(args[0]) {
	case "containerd-shim-runc-v2", "runc":
		return slices.ContainsFunc(args[1:], func(a string) bool { return strings.Contains(a, s.opts.RunDir+"/") })
	}
	return false
}

// killAll kills the wanted processes with all their descendants: a container is its shim's child. A process that forks
// meanwhile is met in the next round.
func (s *Supervisor) killAll(ctx context.Context, wanted func([]string) bool) error {
	deadline := time.Now().Add(stopWithin)
	var children map[int][]int
	var kill func(pid int)
	kill = func(pid int) {
		for _, c := range children[pid] {
			kill(c)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone is as good
	}
	for {
		pids := slices.DeleteFunc(find(wanted), func(pid int) bool { return len(statFields(pid)) == 0 })
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("processes %v do not end", pids)
		}
		children = childrenOf()
		for _, pid := range pids {
			kill(pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// childrenOf maps each process to its children.
func childrenOf() map[int][]int {
	out := map[int][]int{}
	for _, pid := range find(func([]string) bool { return true }) {
		if f := statFields(pid); len(f) > 1 {
			if parent, err := strconv.Atoi(f[1]); err == nil {
				out[parent] = append(out[parent], pid)
			}
		}
	}
	return out
}

// unmountBelow detaches every mount below dir, the last made first.
func unmountBelow(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		w := strings.Fields(s.Text())
		if len(w) < 5 {
			continue
		}
		p := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(w[4])
		if strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
	errs := []error{s.Err()}
	for _, p := range slices.Backward(points) {
		if err := syscall.Unmount(p, syscall.MNT_DETACH|unmountNoFollow); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// unmountNoFollow is UMOUNT_NOFOLLOW: a link that a container made must not lead us to another mount.
const unmountNoFollow = 0x8
