// SPDX-License-Identifier: Apache-2.0

// Package subpath mounts a part of a volume into a container without letting the container choose which part. A container that
// may write to the volume could swap a directory for a symbolic link between our check and the runtime's mount; so the
// part is opened below the volume's root, and what was opened is bound to a path that no container sees. One mount a use.
package subpath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bind makes sub, below the volume, available at a path that may be handed to the runtime, and returns that path. It creates
// sub as a directory where it does not exist. Without the right to mount, the plain path is returned.
func Bind(volume, sub, target string) (string, error) {
	if os.Geteuid() != 0 {
		path := filepath.Join(volume, sub)
		return path, os.MkdirAll(path, 0o750)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", fmt.Errorf("open volume: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		mode := fs.FileMode(0o750)
		if info, err := os.Stat(volume); err == nil {
			mode = info.Mode().Perm()
		}
		if err := root.MkdirAll(sub, mode); err != nil {
			return "", fmt.Errorf("create %s: %w", sub, err)
		}
	}
	part, err := root.OpenFile(sub, unix.O_PATH, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", sub, err)
	}
	defer part.Close()
	info, err := part.Stat()
	if err != nil {
		return "", fmt.Errorf("stat %s: %w", sub, err)
	}
	if err := release(target); err != nil {
		return "", err
	}
	if err := place(target, info.IsDir()); err != nil {
		return "", err
	}
	source := fmt.Sprintf("/proc/self/fd/%d", part.Fd())
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind %s to %s: %w", sub, target, err)
	}
	return target, nil
}

// Cleanup undoes every Bind below a pod's directory; it may be repeated. Directories are removed one by one, never with their
// content: what is under a mount that could not be undone is the volume's.
func Cleanup(podDir string) error {
	dir := filepath.Join(podDir, "volume-subpaths")
	targets, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		return fmt.Errorf("list subpaths: %w", err)
	}
	var errs []error
	for _, target := range targets {
		errs = append(errs, release(target), gone(os.Remove(target)))
	}
	for _, pattern := range []string{"*/*", "*"} {
		parents, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, parent := range parents {
			errs = append(errs, gone(os.Remove(parent)))
		}
	}
	return errors.Join(append(errs, gone(os.Remove(dir)))...)
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// release unmounts target and all that may be mounted over it.
func release(target string) error {
	for {
		switch err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
}

// place makes the mount point.
func place(target string, dir bool) error {
	if err := gone(os.Remove(target)); err != nil {
		return fmt.Errorf("clear mount point: %w", err)
	}
	parent := target
	if !dir {
		parent = filepath.Dir(target)
	}
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return fmt.Errorf("create mount point: %w", err)
	}
	if dir {
		return nil
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return fmt.Errorf("create mount point: %w", err)
	}
	return f.Close()
}
