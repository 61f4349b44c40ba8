// SPDX-License-Identifier: Apache-2.0

// Package rootfs makes file systems of images out of Debian packages and single files, in memory, and writes them as layers. The same
// packages and files give the same bytes: no times, sorted names.
package rootfs

import (
	"archive/tar"
	"embed"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// Code is this package's own, for those who keep what it made until it makes something else.
//
//go:embed *.go
var Code embed.FS

// Tree is what a file system holds, by path without the leading slash.
type Tree map[string]Entry

// Entry is a file, or a directory or link if that is said.
type Entry struct {
	Mode     int64 // permissions, with the bits for set-user-ID, set-group-ID and sticky
	Data     []byte
	Dir      bool
	Link     string // target, where it is a symbolic link
	HardLink string // path of the file that this is another name of
	UID, GID int
}

// File is a file with a mode and a content.
func File(mode int64, data []byte) Entry { return Entry{Mode: mode, Data: data} }

// Text is a file that anyone may read.
func Text(text string) Entry { return Entry{Mode: 0o644, Data: []byte(text)} }

// Directory is a directory.
func Directory(mode int64) Entry { return Entry{Mode: mode, Dir: true} }

// Symlink is a symbolic link.
func Symlink(target string) Entry { return Entry{Mode: 0o777, Link: target} }

// HardLink is another name of the file at a path of the same tree.
func HardLink(target string) Entry { return Entry{HardLink: target} }

// Add takes over everything of others, the later over the earlier.
func (t Tree) Add(others ...Tree) {
	for _, other := range others {
		maps.Copy(t, other)
	}
}

// MergeUsr is t with /bin, /sbin and the /lib directories moved into /usr, and links in their places, as Debian's installations have
// it and its packages do not yet.
func (t Tree) MergeUsr() Tree {
	out := Tree{}
	for name, e := range t {
		if e.HardLink != "" {
			e.HardLink, _ = inUsr(e.HardLink)
		}
		merged, top := inUsr(name)
		if top != "" {
			out[top] = Symlink("usr/" + top)
		}
		out[merged] = e
	}
	return out
}

// inUsr is where a path is once merged, and the directory at the top that has become a link.
func inUsr(name string) (merged, top string) {
	top, _, _ = strings.Cut(name, "/")
	if !slices.Contains([]string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}, top) {
		return name, ""
	}
	return "usr/" + name, top
}

// WriteTar writes t as a layer: what a file lies in comes before it, and hard links come last.
func (t Tree) WriteTar(out io.Writer) error {
	all := maps.Clone(t)
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = Directory(0o755)
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if x, y := all[a].HardLink != "", all[b].HardLink != ""; x != y {
			if x {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	w := tar.NewWriter(out)
	for _, name := range names {
		e := all[name]
		if e.HardLink != "" { // unpackers set the mode and the owner anew with each name
			target, ok := all[e.HardLink]
			if !ok {
				return fmt.Errorf("%s is a link to %s, which is not there", name, e.HardLink)
			}
			e.Mode, e.UID, e.GID = target.Mode, target.UID, target.GID
		}
		if err := w.WriteHeader(e.header(name)); err != nil {
			return err
		}
		if _, err := w.Write(e.Data); err != nil {
			return err
		}
	}
	return w.Close()
}

func (e Entry) header(name string) *tar.Header {
	h := &tar.Header{Name: name, Mode: e.Mode, Typeflag: tar.TypeReg, Size: int64(len(e.Data)), Uid: e.UID, Gid: e.GID, Format: tar.FormatPAX}
	switch {
	case e.Dir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case e.Link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case e.HardLink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.HardLink
	}
	return h
}
