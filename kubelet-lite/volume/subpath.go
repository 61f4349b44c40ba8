// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// SubPath returns what a container gets for a part of a volume: a bind mount of it below the pod's directory. subPath is
// the mount's, with SubPathExpr expanded by the caller; index is the mount's place in the container's list. What does not
// exist is made as a directory. The containers of the pod can write to the volume and may swap its parts for links at
// any time, so that the kernel resolves the path (openat2, RESOLVE_BENEATH) and what it found is mounted by handle: a path
// that leads out of the volume is refused, with an error that tells nothing about the host.
func (m *Manager) SubPath(uid types.UID, volume, container string, index int, mounted Mounted, subPath string) (string, error) {
	if err := checkSubPath(subPath); err != nil {
		return "", err
	}
	part, err := openBeneath(mounted.HostPath, filepath.Clean(subPath))
	if err != nil {
		klog.ErrorS(err, "Failed to create subPath directory for volumeMount of the container", "podUID", uid, "containerName", container, "volumeMountName", volume)
		return "", fmt.Errorf("failed to create subPath directory for volumeMount %q of container %q", volume, container)
	}
	defer part.Close()
	target := filepath.Join(m.podDir(uid), "volume-subpaths", volume, container, strconv.Itoa(index))
	if err := bind(part, target); err != nil {
		klog.ErrorS(err, "Failed to prepare subPath for volumeMount of the container", "podUID", uid, "containerName", container, "volumeMountName", volume)
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", volume, container)
	}
	return target, nil
}

func checkSubPath(subPath string) error {
	if filepath.IsAbs(subPath) {
		return fmt.Errorf("error SubPath `%s` must not be an absolute path", subPath)
	}
	if slices.Contains(strings.Split(subPath, "/"), "..") {
		return fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", subPath)
	}
	return nil
}

// openBeneath opens path below root, and makes the directories that are missing, with root's mode and group.
func openBeneath(root, path string) (*os.File, error) {
	base, err := os.OpenFile(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return nil, err
	}
	look := func(p string) (*os.File, error) {
		fd, err := unix.Openat2(int(base.Fd()), p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		if err != nil {
			return nil, &fs.PathError{Op: "openat2", Path: filepath.Join(root, p), Err: err}
		}
		return os.NewFile(uintptr(fd), filepath.Join(root, p)), nil
	}
	at := ""
	parent, err := look(".")
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Split(path, "/") {
		at = filepath.Join(at, name)
		next, err := look(at)
		if errors.Is(err, fs.ErrNotExist) {
			if err = unix.Mkdirat(int(parent.Fd()), name, uint32(info.Mode().Perm())); err == nil || errors.Is(err, unix.EEXIST) {
				next, err = look(at)
			}
			if err == nil {
				// The umask took some of the mode; the setgid bit of a pod's group comes with the parent's.
				err = os.Chmod(handle(next), info.Mode().Perm()|info.Mode()&(fs.ModeSetgid|fs.ModeSticky))
			}
		}
		_ = parent.Close()
		if err != nil {
			return nil, err
		}
		parent = next
	}
	return parent, nil
}

// handle is a path to the open file itself, whatever has become of its name.
func handle(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// bind mounts the open file or directory on target. Where it is mounted already it is kept, where another is, that is
// replaced: the volume's content changed between two starts of the container.
func bind(part *os.File, target string) error {
	info, err := part.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(target); err == nil {
		if os.SameFile(there, info) {
			return nil
		}
		for {
			if err := syscall.Unmount(target, unmountNoFollow|syscall.MNT_DETACH); err != nil {
				break // nothing is mounted any more
			}
		}
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o750)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o750); err == nil {
		err = os.WriteFile(target, nil, 0o640)
	}
	if err != nil {
		return err
	}
	if err := syscall.Mount(handle(part), target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", part.Name(), target, err)
	}
	return nil
}

// groupOwns tells whether dir is as setGroup leaves it.
func groupOwns(dir string, group int64) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Gid) == group && info.Mode()&fs.ModeSetgid != 0 && info.Mode().Perm()&0o770 == 0o770
}
