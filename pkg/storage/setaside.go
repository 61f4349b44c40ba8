// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// blockUnit is what stat(2) counts blocks in, in bytes.
const blockUnit = 512

// setAside tells whether etcd in dir, whose database has this size, can go on without another block of the disk: whether there are blocks for the rest of its log's
// file and for some growth of the database's file. It is looked for only while the disk is full, and costs a read of logMargin.
//
// etcd takes the blocks for a file of its log in advance, and those for the file after it. When that one is begun it takes blocks for another, and if it
// cannot, it ends with the file it has. So the last part of a file is left for what is under way.
func setAside(dir string, size int64) bool {
	return logHasRoom(filepath.Join(dir, "member", "wal")) && hasBlocks(filepath.Join(dir, "member", "snap", "db"), size+small)
}

// nextFiles are the names of the file that follows in the log, by turns; etcd begins with the first whenever it starts.
var nextFiles = [...]string{"0.tmp", "1.tmp"}

// keepNext has an etcd that starts in dir go on with the file that it has taken blocks for. It would leave one of the second name, and on a full disk have none, and
// end when its log's file does.
func keepNext(dir string) error {
	first, second := filepath.Join(dir, "member", "wal", nextFiles[0]), filepath.Join(dir, "member", "wal", nextFiles[1])
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.Open(second)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4096)
	if n, err := io.ReadFull(f, head); err != nil || len(bytes.Trim(head[:n], "\x00")) > 0 {
		return nil // it had been begun, or was never made
	}
	return os.Rename(second, first)
}

// logMargin is which part of a log's file has to be unused.
const logMargin = 32

// logHasRoom tells whether the end of the log's last file is unused and has blocks, and the file after it is there.
func logHasRoom(dir string) bool {
	entries, err := os.ReadDir(dir) // by name, which is by age
	if err != nil {
		return false
	}
	last := ""
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".wal") {
			last = filepath.Join(dir, e.Name())
		}
	}
	if last == "" {
		return false
	}
	f, err := os.Open(last)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	follows := func(name string) bool { return hasBlocks(filepath.Join(dir, name), info.Size()) }
	if err != nil || !hasBlocks(last, info.Size()) || !slices.ContainsFunc(nextFiles[:], follows) {
		return false
	}
	end := make([]byte, info.Size()/logMargin)
	if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil && err != io.EOF {
		return false
	}
	return len(end) > 0 && len(bytes.Trim(end, "\x00")) == 0 // records are not zeros alone
}

// hasBlocks tells whether a file has blocks for that many bytes.
func hasBlocks(name string, size int64) bool {
	var stat unix.Stat_t
	return unix.Stat(name, &stat) == nil && stat.Blocks*blockUnit >= size
}
