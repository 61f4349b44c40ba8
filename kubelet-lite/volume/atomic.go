// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of a content volume.
type file struct {
	data []byte
	mode int32
	user *int64 // owner, root if nil
}

// dataLink is what readers reach every file through; its target is replaced as a whole, so that they see all of the old
// content or all of the new.
const dataLink = "..data"

// writeAtomically makes dir hold exactly the files:
//
//	dir/name              -> ..data/name
//	dir/..data            -> ..2030_01_01_00_00_00.123
//	dir/..2030_01_01_…/name
//
// New content is written aside, then ..data is swapped by a rename, then names that are gone are removed. Directories that
// serve as mount points for other volumes stay.
func writeAtomically(dir string, files map[string]file, group *int64) error {
	for path := range files {
		if !filepath.IsLocal(path) || strings.HasPrefix(path, "..") || path == "." {
			return fmt.Errorf("invalid path %q: must be relative and not begin with '..'", path)
		}
	}
	link := filepath.Join(dir, dataLink)
	old, err := os.Readlink(link)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == "" || !holds(filepath.Join(dir, old), files) {
		fresh, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
		if err != nil {
			return err
		}
		if err := errors.Join(writeFiles(fresh, files), setGroup(fresh, group, true)); err != nil {
			return errors.Join(err, os.RemoveAll(fresh))
		}
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Base(fresh), next); err != nil {
			return errors.Join(err, os.RemoveAll(fresh))
		}
		if err := os.Rename(next, link); err != nil {
			return errors.Join(err, os.Remove(next), os.RemoveAll(fresh))
		}
	} else {
		old = ""
	}
	if err := linkNames(dir, files); err != nil {
		return err
	}
	if group != nil {
		// The volume's own directory; what is in it has just been seen to.
		if err := errors.Join(os.Lchown(dir, -1, int(*group)), addMode(dir, fs.ModeSetgid|0o550)); err != nil {
			return err
		}
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

func addMode(path string, bits fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, info.Mode()|bits)
}

func writeFiles(dir string, files map[string]file) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for path, f := range files {
		name := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, 0o600); err != nil {
			return err
		}
		if f.user != nil {
			if err := os.Chown(name, int(*f.user), -1); err != nil {
				return err
			}
		}
		if err := os.Chmod(name, fs.FileMode(f.mode)&0o777|setBits(f.mode)); err != nil {
			return err
		}
	}
	return nil
}

// setBits turns the high bits of a Unix mode into Go's.
func setBits(mode int32) (out fs.FileMode) {
	for bit, m := range map[int32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			out |= m
		}
	}
	return out
}

// linkNames makes the links that containers see, and removes those of files that are no more.
func linkNames(dir string, files map[string]file) error {
	want := map[string]bool{}
	for path := range files {
		first, _, _ := strings.Cut(filepath.Clean(path), "/")
		want[first] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") || e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if want[e.Name()] {
			delete(want, e.Name())
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	for name := range want {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// holds tells whether dir has the files and no others.
func holds(dir string, files map[string]file) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := files[rel]
		if !ok {
			return fs.SkipAll
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, f.data) {
			return fs.SkipAll
		}
		found++
		return nil
	})
	return err == nil && found == len(files)
}

// digest identifies the content of a volume.
func digest(files map[string]file) [sha256.Size]byte {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		_ = binary.Write(h, binary.LittleEndian, []int64{int64(len(path)), int64(len(f.data)), int64(f.mode)})
		h.Write([]byte(path))
		h.Write(f.data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
