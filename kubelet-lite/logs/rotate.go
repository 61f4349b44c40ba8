// SPDX-License-Identifier: Apache-2.0

// Package logs keeps the log files of containers small.
//
// They lie where the kubelet has them, below one root: <namespace>_<pod>_<uid>/<container>/<attempt>.log. A round looks
// at the size of each file and asks the runtime for nothing unless one has grown too large: its cost is a directory
// read a container every ten seconds.
package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// The kubelet's defaults, and the suffixes it gives to what it put aside.
const (
	DefaultMaxSize  = 10 << 20
	DefaultMaxFiles = 5

	every           = 10 * time.Second
	rotatedAt       = "20060102-150405"
	compressed      = ".gz"
	beingCompressed = ".tmp"
)

// PodDir is the directory, below the root, of a pod's logs.
func PodDir(namespace, name string, uid types.UID) string {
	return namespace + "_" + name + "_" + string(uid)
}

// File is the log, below PodDir, of a container's attempt-th run.
func File(container string, attempt int) string {
	return filepath.Join(container, strconv.Itoa(attempt)+".log")
}

// Rotator puts logs aside when they have grown.
type Rotator struct {
	runtime  cri.RuntimeService
	root     string
	maxSize  int64
	maxFiles int
	now      func() time.Time
}

// NewRotator returns a rotator of the logs below root: each container keeps at most maxFiles files of about maxSize bytes,
// the one written to included.
func NewRotator(runtime cri.RuntimeService, root string, maxSize int64, maxFiles int) *Rotator {
	return &Rotator{runtime: runtime, root: root, maxSize: maxSize, maxFiles: max(maxFiles, 2), now: time.Now}
}

// Run rotates until ctx ends.
func (r *Rotator) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.Rotate(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Container logs could not be rotated")
		}
	}
}

// Rotate looks at all logs once.
func (r *Rotator) Rotate(ctx context.Context) error {
	var errs []error
	found, err := filepath.Glob(filepath.Join(r.root, "*", "*", "*.log"))
	if err != nil {
		return err
	}
	for _, path := range found {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() < r.maxSize {
			continue
		}
		id, err := r.writer(ctx, path)
		if err == nil && id != "" {
			err = r.rotate(ctx, path, id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("rotate log %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// writer is the running container that the log belongs to, "" if it has ended: its log grows no more.
func (r *Rotator) writer(ctx context.Context, path string) (string, error) {
	dir := filepath.Dir(path)
	pod := strings.Split(filepath.Base(filepath.Dir(dir)), "_")
	attempt, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".log"), 10, 32)
	if err != nil || len(pod) != 3 {
		return "", nil // not one of ours
	}
	list, err := r.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{
			kubelettypes.KubernetesPodUIDLabel:        pod[2],
			kubelettypes.KubernetesContainerNameLabel: filepath.Base(dir),
		}})
	if err != nil {
		return "", err
	}
	for _, c := range list {
		if c.GetMetadata().GetAttempt() == uint32(attempt) {
			return c.Id, nil
		}
	}
	return "", nil
}

// rotate makes room, compresses what was put aside before, puts the log aside and has the runtime open a new one. The one
// put aside last stays as it is: somebody may be reading it.
func (r *Rotator) rotate(ctx context.Context, path, id string) error {
	aside, err := r.clean(path)
	if err != nil {
		return err
	}
	for len(aside) > r.maxFiles-2 {
		if err := os.Remove(aside[0]); err != nil {
			return err
		}
		aside = aside[1:]
	}
	for _, old := range aside {
		if !strings.HasSuffix(old, compressed) {
			if err := compress(old); err != nil {
				return err
			}
		}
	}
	next := path + "." + r.now().UTC().Format(rotatedAt)
	if _, err := os.Lstat(next); err == nil {
		return nil // within the same second: the next round sees to it
	}
	if err := os.Rename(path, next); err != nil {
		return err
	}
	if err := r.runtime.ReopenContainerLog(ctx, id); err != nil {
		// The runtime still writes to the file put aside: back with it, or that is lost to readers.
		return errors.Join(fmt.Errorf("reopen log of container %s: %w", id, err), os.Rename(next, path))
	}
	return nil
}

// clean lists what was put aside, the oldest first, without what a crash left half done or done twice.
func (r *Rotator) clean(path string) ([]string, error) {
	found, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range found {
		if strings.HasSuffix(p, beingCompressed) || !strings.HasSuffix(p, compressed) && slices.Contains(found, p+compressed) {
			if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		out = append(out, p)
	}
	slices.Sort(out) // the names are times
	return out, nil
}

func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + compressed + beingCompressed
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path+compressed); err != nil {
		return err
	}
	return os.Remove(path)
}
