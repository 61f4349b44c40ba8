// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is a file system of a size, in memory, that can be filled. Only root can make one.
type Disk struct {
	dir string
	// Room is for what is kept on the disk.
	Room string
}

// NewDisk mounts a file system of size bytes at dir, which is made.
func NewDisk(dir string, size int64) (*Disk, error) {
	d := &Disk{dir: dir, Room: filepath.Join(dir, "room")}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return nil, fmt.Errorf("mount a file system at %s, which only root can: %w", dir, err)
	}
	if err := os.Mkdir(d.Room, 0o755); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// Fill takes all of the disk but left bytes.
func (d *Disk) Fill(left int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(d.dir, &disk); err != nil {
		return err
	}
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	switch more := int64(disk.Bavail)*disk.Bsize - left; {
	case err != nil:
	case more > 0:
		err = unix.Fallocate(int(f.Fd()), 0, info.Size(), more)
	default:
		err = f.Truncate(max(0, info.Size()+more))
	}
	return errors.Join(err, f.Close())
}

// Empty gives back what Fill took.
func (d *Disk) Empty() error { return os.Remove(d.ballast()) }

// Close unmounts the disk, with all that is on it.
func (d *Disk) Close() error { return unix.Unmount(d.dir, unix.MNT_DETACH) }
