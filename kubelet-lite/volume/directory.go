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

	v1 "k8s.io/api/core/v1"
	helper "k8s.io/component-helpers/resource"
)

// emptyDir makes a directory for the pod's life, on disk or in memory. It is made aside and moved into place, so that
// what is in place is complete and is never set up twice: it is the containers' from then on.
func (m *Manager) emptyDir(pod *v1.Pod, source *v1.EmptyDirVolumeSource, dir string) error {
	switch source.Medium {
	case v1.StorageMediumDefault:
		if _, err := os.Stat(dir); err == nil {
			return nil
		}
		fresh := dir + "~new"
		if err := os.MkdirAll(fresh, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(fresh, 0o777); err != nil { // the umask took some
			return err
		}
		if err := setGroup(fresh, fsGroup(pod), false); err != nil {
			return err
		}
		return os.Rename(fresh, dir)
	case v1.StorageMediumMemory:
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		opts := "mode=1777"
		if g := fsGroup(pod); g != nil {
			opts = fmt.Sprintf("mode=3777,gid=%d", *g)
		}
		if size := m.memorySize(pod, source); size > 0 {
			opts += ",size=" + strconv.FormatInt(size, 10)
		}
		return mountTmpfs(dir, opts)
	}
	return fmt.Errorf("unknown storage medium %q", source.Medium)
}

// memorySize is the least of the volume's limit, the pod's memory limit and the node's memory; 0 where none is known.
func (m *Manager) memorySize(pod *v1.Pod, source *v1.EmptyDirVolumeSource) int64 {
	var size int64
	least := func(n int64) {
		if n > 0 && (size == 0 || n < size) {
			size = n
		}
	}
	if m.Allocatable != nil {
		allocatable := m.Allocatable()
		least(allocatable.Memory().Value())
	}
	if source.SizeLimit != nil {
		least(source.SizeLimit.Value())
	}
	limited := true
	for i := range pod.Spec.Containers {
		limited = limited && !pod.Spec.Containers[i].Resources.Limits.Memory().IsZero()
	}
	if r := pod.Spec.Resources; limited || r != nil && !r.Limits.Memory().IsZero() {
		limits := helper.PodLimits(pod, helper.PodResourcesOptions{})
		least(limits.Memory().Value())
	}
	return size
}

// checkHostPath makes or checks the path as its type wants it.
func checkHostPath(source *v1.HostPathVolumeSource) error {
	path := source.Path
	if slices.Contains(strings.Split(filepath.ToSlash(path), "/"), "..") {
		return fmt.Errorf("invalid HostPath `%s`: must not contain '..'", path)
	}
	kind := v1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	switch kind {
	case v1.HostPathUnset:
		return nil
	case v1.HostPathDirectoryOrCreate:
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(path, 0o755)
		}
	case v1.HostPathFileOrCreate:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	info, err := os.Stat(path)
	is := func(t fs.FileMode) bool { return err == nil && info.Mode()&fs.ModeType == t }
	want := ""
	switch kind {
	case v1.HostPathDirectory, v1.HostPathDirectoryOrCreate:
		if !is(fs.ModeDir) {
			want = "a directory"
		}
	case v1.HostPathFile, v1.HostPathFileOrCreate:
		if !is(0) {
			want = "a file"
		}
	case v1.HostPathSocket:
		if !is(fs.ModeSocket) {
			want = "a socket file"
		}
	case v1.HostPathCharDev:
		if !is(fs.ModeDevice | fs.ModeCharDevice) {
			want = "a character device"
		}
	case v1.HostPathBlockDev:
		if !is(fs.ModeDevice) {
			want = "a block device"
		}
	default:
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if want != "" {
		return fmt.Errorf("hostPath type check failed: %s is not %s", path, want)
	}
	return nil
}

func fsGroup(pod *v1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// setGroup gives everything below dir to the group, lets it read (and write, unless readOnly), and makes new files in its
// directories the group's too. Links are not followed.
func setGroup(dir string, group *int64, readOnly bool) error {
	if group == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(*group)); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		mode := info.Mode() | 0o660
		if readOnly {
			mode = info.Mode() | 0o440
		}
		if d.IsDir() {
			mode |= fs.ModeSetgid | 0o110
		}
		return os.Chmod(path, mode)
	})
}
