// SPDX-License-Identifier: Apache-2.0

// Package volume brings the volumes of pods to this machine's file system and takes them away again.
//
// A pod's volumes lie where the kubelet has them, <pods>/<uid>/volumes/kubernetes.io~<plugin>/<name>; sub-paths are bind
// mounts below <pods>/<uid>/volume-subpaths. Nothing else is remembered about what is mounted than what the file system
// and the mount table tell, so a restart needs no recovery. The cost is one directory a volume, a tmpfs for each of
// those that hold secrets or tokens, and one request a claim at a pod's start; content is written again only when it
// changed.
package volume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Mounted is a volume that containers can be given.
type Mounted struct {
	HostPath string
	// ReadOnly says that no container may write to it, whatever its mount says.
	ReadOnly bool
}

// Objects are the ConfigMaps and Secrets of this node's pods; objects.Cache is one.
type Objects interface {
	GetConfigMap(namespace, name string) (*v1.ConfigMap, error)
	GetSecret(namespace, name string) (*v1.Secret, error)
}

// Tokens issue service account tokens, and keep them for a pod until it is forgotten; objects.Tokens does.
type Tokens interface {
	Get(ctx context.Context, namespace, name string, spec authv1.TokenRequestSpec) (string, error)
	Forget(pod types.UID)
}

// Options are what a manager needs.
type Options struct {
	PodsDir  string // pod directories, <data>/kubelet/pods
	LocalDir string // data of volumes that the local provisioner made for this node, <data>/volumes
	Client   kubernetes.Interface
	Objects  Objects
	Tokens   Tokens
	// Allocatable are the node's resources: what a container without a limit is told, and the most a memory volume holds.
	Allocatable func() v1.ResourceList
}

// Manager mounts and unmounts. Calls for one pod must not overlap; those for different pods may.
type Manager struct {
	Options

	mu      sync.Mutex
	written map[types.UID]map[string][sha256.Size]byte // digest of what a volume holds
	claims  map[types.UID]map[string]claimed
}

// New returns a manager.
func New(o Options) *Manager {
	return &Manager{Options: o, written: map[types.UID]map[string][sha256.Size]byte{}, claims: map[types.UID]map[string]claimed{}}
}

// Error is a volume that could not be brought. Its text is the message of the FailedMount event that tells of it.
type Error struct {
	Volume string
	// Unbound is set where the volume's claim is the obstacle: it was not looked at further.
	Unbound bool
	Err     error
}

func (e *Error) Error() string {
	if e.Unbound {
		return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %v", e.Volume, e.Volume, e.Err)
	}
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Errors are the volumes that a Mount or Refresh failed for.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Error
		for _, e := range joined.Unwrap() {
			out = append(out, Errors(e)...)
		}
		return out
	}
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	return nil
}

// Mount brings every volume of the pod, by name; of those that fail the error has one *Error each (see Errors), and the
// others are returned. It may be called again at any time: what is there is kept, what has changed is brought up to date.
// Image volumes are the runtime's, and have no entry.
func (m *Manager) Mount(ctx context.Context, pod *v1.Pod) (map[string]Mounted, error) {
	return mountAll(ctx, pod, m.setUp)
}

func mountAll(ctx context.Context, pod *v1.Pod, setUp func(context.Context, *v1.Pod, *v1.Volume) (Mounted, error)) (map[string]Mounted, error) {
	out := map[string]Mounted{}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image != nil {
			continue
		}
		mounted, err := setUp(ctx, pod, v)
		if err != nil {
			errs = append(errs, asError(v.Name, err))
			continue
		}
		out[v.Name] = mounted
	}
	return out, errors.Join(errs...)
}

// Refresh writes what changed in ConfigMaps, Secrets, tokens and the pod's own fields to volumes that Mount brought.
func (m *Manager) Refresh(ctx context.Context, pod *v1.Pod) error {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !isContent(v) {
			continue
		}
		if _, err := m.setUp(ctx, pod, v); err != nil {
			errs = append(errs, asError(v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Unmount unmounts all that is mounted below the pod's directory and removes its volumes. The data of claims and host
// paths is not below it. It is content where there is nothing.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	dir := m.podDir(uid)
	if uid == "" || strings.ContainsRune(string(uid), '/') {
		return fmt.Errorf("unmount volumes of pod %q: not a uid", uid)
	}
	if err := unmountBelow(ctx, dir); err != nil {
		return fmt.Errorf("unmount volumes of pod %s: %w", uid, err)
	}
	for _, sub := range []string{"volumes", "volume-subpaths"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
		}
	}
	if m.Tokens != nil {
		m.Tokens.Forget(uid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.written, uid)
	delete(m.claims, uid)
	return nil
}

// List returns the pods that have a directory.
func (m *Manager) List() ([]types.UID, error) {
	entries, err := os.ReadDir(m.PodsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list pod directories: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}

func (m *Manager) podDir(uid types.UID) string { return filepath.Join(m.PodsDir, string(uid)) }

func (m *Manager) volumeDir(pod *v1.Pod, plugin, name string) string {
	return filepath.Join(m.podDir(pod.UID), "volumes", "kubernetes.io~"+plugin, name)
}

func (m *Manager) setUp(ctx context.Context, pod *v1.Pod, v *v1.Volume) (Mounted, error) {
	switch {
	case v.EmptyDir != nil:
		dir := m.volumeDir(pod, "empty-dir", v.Name)
		return Mounted{HostPath: dir}, m.emptyDir(pod, v.EmptyDir, dir)
	case v.HostPath != nil:
		return Mounted{HostPath: v.HostPath.Path}, checkHostPath(v.HostPath)
	case v.ConfigMap != nil:
		// On disk, as nothing in it is secret.
		return m.content(ctx, pod, v, "configmap", false)
	case v.Secret != nil:
		return m.content(ctx, pod, v, "secret", true)
	case v.DownwardAPI != nil:
		return m.content(ctx, pod, v, "downward-api", true)
	case v.Projected != nil:
		return m.content(ctx, pod, v, "projected", true)
	case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
		return m.claim(ctx, pod, v)
	case v.NFS != nil:
		dir := m.volumeDir(pod, "nfs", v.Name)
		return Mounted{HostPath: dir, ReadOnly: v.NFS.ReadOnly}, mountNFS(ctx, v.NFS, nil, dir)
	}
	return Mounted{}, errors.New("no volume plugin matched")
}

// content brings a volume whose files are made up from objects.
func (m *Manager) content(ctx context.Context, pod *v1.Pod, v *v1.Volume, plugin string, inMemory bool) (Mounted, error) {
	files, err := m.payload(ctx, pod, v)
	if err != nil {
		return Mounted{}, err
	}
	dir := m.volumeDir(pod, plugin, v.Name)
	sum := digest(files)
	m.mu.Lock()
	before, known := m.written[pod.UID][v.Name]
	m.mu.Unlock()
	mounted := Mounted{HostPath: dir, ReadOnly: true}
	if known && before == sum {
		return mounted, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Mounted{}, err
	}
	if inMemory {
		if err := mountTmpfs(dir, "mode=1777"); err != nil {
			return Mounted{}, err
		}
	} else if err := os.Chmod(dir, 0o777); err != nil {
		return Mounted{}, err
	}
	if err := nestedMountPoints(pod, v.Name, dir); err != nil {
		return Mounted{}, err
	}
	if err := writeAtomically(dir, files, fsGroup(pod)); err != nil {
		return Mounted{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written[pod.UID] == nil {
		m.written[pod.UID] = map[string][sha256.Size]byte{}
	}
	m.written[pod.UID][v.Name] = sum
	return mounted, nil
}

// nestedMountPoints makes the directories that other volumes are mounted on inside this one, which a container could not
// make in a read-only volume.
func nestedMountPoints(pod *v1.Pod, volume, dir string) error {
	each := func(c *v1.Container) error {
		for _, outer := range c.VolumeMounts {
			if outer.Name != volume || outer.SubPath != "" || outer.SubPathExpr != "" {
				continue
			}
			for _, inner := range c.VolumeMounts {
				rel, err := filepath.Rel(outer.MountPath, inner.MountPath)
				if inner.Name == volume || err != nil || rel == "." || !filepath.IsLocal(rel) || strings.HasPrefix(rel, "..") {
					continue
				}
				if err := os.MkdirAll(filepath.Join(dir, rel), 0o755); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for i := range pod.Spec.InitContainers {
		if err := each(&pod.Spec.InitContainers[i]); err != nil {
			return err
		}
	}
	for i := range pod.Spec.Containers {
		if err := each(&pod.Spec.Containers[i]); err != nil {
			return err
		}
	}
	return nil
}

func asError(volume string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Volume: volume, Err: err}
}
