// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"
)

// mountTmpfs mounts a tmpfs on dir unless something is mounted there.
func mountTmpfs(dir, options string) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// isMountPoint compares file systems with the parent's: it sees every mount but a bind mount within one file system.
func isMountPoint(dir string) (bool, error) {
	var here, above syscall.Stat_t
	if err := syscall.Lstat(dir, &here); err != nil {
		return false, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if err := syscall.Lstat(filepath.Dir(dir), &above); err != nil {
		return false, &os.PathError{Op: "stat", Path: filepath.Dir(dir), Err: err}
	}
	return here.Dev != above.Dev, nil
}

// mountNFS uses the system's mount program, as NFS is mounted with its help (package nfs-common).
func mountNFS(ctx context.Context, source *v1.NFSVolumeSource, options []string, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	options = slices.Clone(options)
	if source.ReadOnly {
		options = append(options, "ro")
	}
	args := []string{"-t", "nfs"}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	args = append(args, source.Server+":"+source.Path, dir)
	if out, err := exec.CommandContext(ctx, "mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mount failed: %w\nMounting command: mount\nMounting arguments: %s\nOutput: %s", err, strings.Join(args, " "), out)
	}
	return nil
}

// unmountBelow unmounts all that is mounted below dir, the last mounted first. What is in use is detached, as the pod that
// used it is gone.
func unmountBelow(ctx context.Context, dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := syscall.Unmount(p, unmountNoFollow)
		if errors.Is(err, syscall.EBUSY) {
			err = syscall.Unmount(p, unmountNoFollow|syscall.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// unmountNoFollow is UMOUNT_NOFOLLOW: a link that a container made must not lead to another mount.
const unmountNoFollow = 0x8

// mountsBelow lists mount points below dir in the order they were mounted.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		w := strings.Fields(s.Text())
		if len(w) < 5 {
			continue
		}
		if p := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(w[4]); strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	return out, s.Err()
}
