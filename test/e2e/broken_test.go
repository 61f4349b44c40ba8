// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/bundle"
	"github.com/hivemind-project/hivemind/test/cluster"
)

// damagedFile starts a hivemind of which one byte is not what it was.
func (s *suite) damagedFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(s.Root, "bin", "hivemind"))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(filepath.Join(s.Root, "pkg", "bundle", "payload", bundle.File{Name: "containerd"}.PackedName()))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, packed)
	if at < 0 {
		t.Fatal("bin/hivemind does not carry the containerd that was packed last")
	}
	text[at+len(packed)/2] ^= 1
	dir := t.TempDir()
	program := filepath.Join(dir, "hivemind")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Config.Network.PodCIDR, c.Config.Network.ServiceCIDR = "10.146.0.0/16", "10.147.0.0/16" // the suite's cluster has the usual ones
	refused(t, c.Command(t.Context(), program, c.UpArgs("-d")...), "unpack containerd", "the hivemind file is damaged", "\nNext: ")
	if left, err := os.ReadDir(c.Config.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory has %v, %v", left, err)
	}
}

// fullDisk has the data directory on a disk that is too small, and on one that fills up while the cluster runs.
func (s *suite) fullDisk(t *testing.T) {
	t.Run("from the start", func(t *testing.T) {
		d := newDisk(t, 64<<20)
		c := d.cluster(t)
		refused(t, c.Command(t.Context(), s.program(t), c.UpArgs("-d")...), "64 MiB free in "+d.dir, "programs and storage need", "\nNext: ")
		if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
			t.Errorf("on the disk are %v, %v", left, err)
		}
	})
	t.Run("while it runs", func(t *testing.T) {
		d := newDisk(t, 2<<30)
		c := d.cluster(t)
		must(t)(c.Up(t.Context(), "--roles", "server"))
		acknowledged := fill(t, d, c)
		must(t)(c.Kubectl(t.Context(), "", "get", "configmap", acknowledged[0]))

		d.resize(t, 2<<30)
		eventually(t, "writes to go on by themselves", 30*time.Second, func() error {
			out, err := c.Kubectl(t.Context(), "", "create", "configmap", "after")
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		for names := range slices.Chunk(acknowledged, 50) {
			must(t)(c.Kubectl(t.Context(), "", append([]string{"get", "configmap"}, names...)...))
		}
	})
}

// fill leaves d with little space, and writes until the API server refuses that; it returns what was acknowledged.
func fill(t *testing.T, d *disk, c *cluster.Cluster) []string {
	t.Helper()
	d.resize(t, d.used(t)+90<<20)
	var acknowledged []string
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, bytes.Repeat([]byte("a"), 500<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		name := fmt.Sprintf("written-%d", i)
		out, err := c.Kubectl(t.Context(), "", "create", "configmap", name, "--from-file", value)
		if err == nil {
			acknowledged = append(acknowledged, name)
			continue
		}
		see(t, out, "no space left on device: ", " MiB are free in "+c.Config.Path("etcd"), "free space there, and writes go on")
		if len(acknowledged) == 0 {
			t.Fatal("nothing was written before")
		}
		return acknowledged
	}
	t.Fatal("the storage goes on without space")
	return nil
}

// refused checks that a command fails and says so.
func refused(t *testing.T, cmd *exec.Cmd, says ...string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if code := cmd.ProcessState.ExitCode(); err == nil || code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
	see(t, string(out), says...)
}

// disk is a file system of limited size.
type disk struct{ dir string }

// newDisk mounts one until the test ends.
func newDisk(t *testing.T, size int) *disk {
	t.Helper()
	d := &disk{t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, 0); err != nil {
			t.Error(err)
		}
	})
	return d
}

// used is what is on the disk, in bytes.
func (d *disk) used(t *testing.T) int {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Blocks-s.Bfree) * int(s.Bsize)
}

// resize changes how much fits on the disk.
func (d *disk) resize(t *testing.T, size int) {
	t.Helper()
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
}

// cluster is one with its data on the disk. It is gone when the test ends.
func (d *disk) cluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.New(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	c.Config.Network.PodCIDR, c.Config.Network.ServiceCIDR = "10.148.0.0/16", "10.149.0.0/16"
	t.Cleanup(func() {
		out, err := c.Verb(context.Background(), "reset", "--yes")
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return c
}
