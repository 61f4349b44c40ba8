// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/hivemind-project/hivemind/kubelet-lite/volume/local"
)

// claimed is a claim of a running pod that has been looked up and set up.
type claimed struct {
	mounted Mounted
	pv      *v1.PersistentVolume
}

// claim finds the persistent volume that a claim is bound to and brings it. The server is asked until that has worked once
// for the pod; a bound claim stays bound.
func (m *Manager) claim(ctx context.Context, pod *v1.Pod, v *v1.Volume) (Mounted, error) {
	m.mu.Lock()
	done, ok := m.claims[pod.UID][v.Name]
	m.mu.Unlock()
	if ok {
		return done.mounted, nil
	}
	pv, readOnly, err := m.boundVolume(ctx, pod, v)
	if err != nil {
		return Mounted{}, &Error{Volume: v.Name, Unbound: true, Err: err}
	}
	mounted, err := m.setUpPersistent(ctx, pod, pv, readOnly)
	if err != nil {
		return Mounted{}, &Error{Volume: pv.Name, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[pod.UID] == nil {
		m.claims[pod.UID] = map[string]claimed{}
	}
	m.claims[pod.UID][v.Name] = claimed{mounted, pv}
	return mounted, nil
}

// boundVolume follows claim and volume both ways.
func (m *Manager) boundVolume(ctx context.Context, pod *v1.Pod, v *v1.Volume) (pv *v1.PersistentVolume, readOnly bool, err error) {
	name := ""
	if v.Ephemeral != nil {
		name = ephemeral.VolumeClaimName(pod, v)
	} else {
		name, readOnly = v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly
	}
	fail := func(err error) (*v1.PersistentVolume, bool, error) {
		return nil, false, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	pvc, err := m.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err != nil:
		return fail(fmt.Errorf("failed to fetch PVC from API server: %w", err))
	case pvc.DeletionTimestamp != nil && !slices.Contains(pvc.Finalizers, "kubernetes.io/pvc-protection"):
		return fail(errors.New("PVC is being deleted"))
	case pvc.Status.Phase != v1.ClaimBound:
		return fail(errors.New("PVC is not bound"))
	case pvc.Spec.VolumeName == "":
		return fail(errors.New("PVC has empty pvc.Spec.VolumeName"))
	}
	if v.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(pod, pvc); err != nil {
			return nil, false, err
		}
	}
	pv, err = m.Client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	switch {
	case err != nil:
		return fail(fmt.Errorf("failed to fetch PV %s from API server: %w", pvc.Spec.VolumeName, err))
	case pv.Spec.ClaimRef == nil:
		return fail(fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", pv.Name))
	case pv.Spec.ClaimRef.UID != pvc.UID:
		return fail(fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", pv.Name, pv.Spec.ClaimRef.UID, pvc.UID))
	}
	mode := v1.PersistentVolumeFilesystem
	if pv.Spec.VolumeMode != nil {
		mode = *pv.Spec.VolumeMode
	}
	mounts, devices := uses(pod, v.Name)
	if mounts && mode != v1.PersistentVolumeFilesystem {
		return nil, false, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", v.Name, mode)
	}
	if devices && mode != v1.PersistentVolumeBlock {
		return nil, false, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", v.Name, mode)
	}
	return pv, readOnly, nil
}

// uses tells whether containers mount the volume, and whether they use it as a device.
func uses(pod *v1.Pod, volume string) (mounts, devices bool) {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, vm := range list[i].VolumeMounts {
				mounts = mounts || vm.Name == volume
			}
			for _, d := range list[i].VolumeDevices {
				devices = devices || d.Name == volume
			}
		}
	}
	return mounts, devices
}

// setUpPersistent brings a volume that is a directory of this machine (nothing is mounted: containers get the directory
// itself) or an NFS export.
func (m *Manager) setUpPersistent(ctx context.Context, pod *v1.Pod, pv *v1.PersistentVolume, readOnly bool) (Mounted, error) {
	switch {
	case local.Provisioned(pv):
		dir := filepath.Join(m.LocalDir, pv.Name)
		if err := os.MkdirAll(m.LocalDir, 0o711); err != nil {
			return Mounted{}, err
		}
		if err := os.Mkdir(dir, 0o777); err == nil {
			if err := os.Chmod(dir, 0o777); err != nil {
				return Mounted{}, err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return Mounted{}, err
		}
		return Mounted{HostPath: dir, ReadOnly: readOnly}, m.own(pod, dir, readOnly)
	case pv.Spec.Local != nil:
		path := pv.Spec.Local.Path
		info, err := os.Stat(path)
		if err != nil {
			return Mounted{}, fmt.Errorf("path %q does not exist", path)
		}
		if !info.IsDir() {
			if info.Mode()&fs.ModeDevice == 0 {
				return Mounted{}, errors.New("only directory and block device are supported")
			}
			if pv.Spec.VolumeMode == nil || *pv.Spec.VolumeMode != v1.PersistentVolumeBlock {
				return Mounted{}, fmt.Errorf("block device %q must be formatted and mounted on a directory first", path)
			}
			return Mounted{HostPath: path, ReadOnly: readOnly}, nil
		}
		return Mounted{HostPath: path, ReadOnly: readOnly}, m.own(pod, path, readOnly)
	case pv.Spec.HostPath != nil:
		return Mounted{HostPath: pv.Spec.HostPath.Path, ReadOnly: readOnly}, checkHostPath(pv.Spec.HostPath)
	case pv.Spec.NFS != nil:
		dir := m.volumeDir(pod, "nfs", pv.Name)
		source := pv.Spec.NFS.DeepCopy()
		source.ReadOnly = source.ReadOnly || readOnly
		return Mounted{HostPath: dir, ReadOnly: source.ReadOnly}, mountNFS(ctx, source, pv.Spec.MountOptions, dir)
	}
	return Mounted{}, errors.New("no volume plugin matched")
}

// own gives the volume to the pod's group. With fsGroupChangePolicy OnRootMismatch the root directory speaks for all in it.
func (m *Manager) own(pod *v1.Pod, dir string, readOnly bool) error {
	group := fsGroup(pod)
	if group == nil || readOnly {
		return nil
	}
	policy := pod.Spec.SecurityContext.FSGroupChangePolicy
	if policy != nil && *policy == v1.FSGroupChangeOnRootMismatch && groupOwns(dir, *group) {
		return nil
	}
	return setGroup(dir, group, false)
}
