// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listing is what a tar says of each entry, in order.
func listing(t *testing.T, tree Tree) []string {
	t.Helper()
	var buf bytes.Buffer
	if err := tree.WriteTar(&buf); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := tar.NewReader(&buf); ; {
		h, err := in.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %v", h.Name, h.ModTime)
		}
		line := fmt.Sprintf("%c %o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
		if h.Linkname != "" {
			line += " > " + h.Linkname
		}
		lines = append(lines, line)
	}
}

func TestWriteTar(t *testing.T) {
	tree := Tree{
		"bin/[":     HardLink("bin/tool"),
		"bin/tool":  {Mode: 0o4755, Data: []byte("x"), UID: 5, GID: 6},
		"bin/alias": Symlink("tool"),
		"a/b/c":     Text("deep"),
		"tmp":       Directory(0o1777),
	}
	want := []string{
		"5 755 0:0 a/", "5 755 0:0 a/b/", "0 644 0:0 a/b/c",
		"5 755 0:0 bin/", "2 777 0:0 bin/alias > tool", "0 4755 5:6 bin/tool", "5 1777 0:0 tmp/",
		"1 4755 5:6 bin/[ > bin/tool", // last, and as the file is
	}
	for range 2 {
		if diff := cmp.Diff(want, listing(t, tree)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	err := Tree{"a": HardLink("b")}.WriteTar(io.Discard)
	if err == nil || !strings.Contains(err.Error(), "a is a link to b, which is not there") {
		t.Errorf("a link to nothing: %v", err)
	}
}

func TestMergeUsr(t *testing.T) {
	tree := Tree{"bin/sh": Text("sh"), "bin/ash": HardLink("bin/sh"), "lib64/ld.so": Symlink("/lib/x/ld.so"), "sbin": Directory(0o755), "usr/bin/env": Text("env"), "etc/x": Text("x"), "library": Text("y")}
	want := []string{
		"2 777 0:0 bin > usr/bin", "5 755 0:0 etc/", "0 644 0:0 etc/x", "2 777 0:0 lib64 > usr/lib64", "0 644 0:0 library", "2 777 0:0 sbin > usr/sbin",
		"5 755 0:0 usr/", "5 755 0:0 usr/bin/", "0 644 0:0 usr/bin/env", "0 644 0:0 usr/bin/sh", "5 755 0:0 usr/lib64/", "2 777 0:0 usr/lib64/ld.so > /lib/x/ld.so",
		"5 755 0:0 usr/sbin/", "1 644 0:0 usr/bin/ash > usr/bin/sh",
	}
	if diff := cmp.Diff(want, listing(t, tree.MergeUsr())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
