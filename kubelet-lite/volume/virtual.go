// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"fmt"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Virtual brings the volumes of pods that have no processes: what a pod refers to must be there, as for a Manager, but nothing is
// mounted or written. A pod at rest costs nothing; files are made up when they are read.
type Virtual struct {
	check, read *Manager
}

// NewVirtual returns a Virtual. Directories are not needed.
func NewVirtual(o Options) *Virtual {
	check := o
	check.Tokens = noTokens{}
	return &Virtual{check: New(check), read: New(o)}
}

// Mount looks whether every volume of the pod can be had; see Manager.Mount. The paths that it returns are empty.
func (v *Virtual) Mount(ctx context.Context, pod *v1.Pod) (map[string]Mounted, error) {
	return mountAll(ctx, pod, func(ctx context.Context, pod *v1.Pod, volume *v1.Volume) (Mounted, error) {
		var mounted Mounted
		switch {
		case isContent(volume):
			mounted.ReadOnly = true
			_, err := v.check.payload(ctx, pod, volume)
			return mounted, err
		case volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil:
			_, readOnly, err := v.check.boundVolume(ctx, pod, volume)
			if err != nil {
				return Mounted{}, &Error{Volume: volume.Name, Unbound: true, Err: err}
			}
			mounted.ReadOnly = readOnly
		}
		return mounted, nil
	})
}

// Refresh has nothing to do: files are always as the objects are that they are from.
func (v *Virtual) Refresh(context.Context, *v1.Pod) error { return nil }

// Unmount forgets the pod's tokens.
func (v *Virtual) Unmount(_ context.Context, uid types.UID) error {
	if v.read.Tokens != nil {
		v.read.Tokens.Forget(uid)
	}
	return nil
}

// List returns none: there are no directories.
func (v *Virtual) List() ([]types.UID, error) { return nil, nil }

// SubPath accepts every path within the volume.
func (v *Virtual) SubPath(_ types.UID, _, _ string, _ int, from Mounted, subPath string) (string, error) {
	if err := checkSubPath(subPath); err != nil {
		return "", err
	}
	return from.HostPath, nil
}

// Files returns what a volume of the pod holds, by path within it: of ConfigMaps, Secrets, tokens and the pod's own fields. Other
// volumes are empty.
func (v *Virtual) Files(ctx context.Context, pod *v1.Pod, volume *v1.Volume) (map[string][]byte, error) {
	if !isContent(volume) {
		return nil, nil
	}
	payload, err := v.read.payload(ctx, pod, volume)
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", volume.Name, err)
	}
	files := make(map[string][]byte, len(payload))
	for path, f := range payload {
		files[path] = f.data
	}
	return files, nil
}

// isContent says whether a volume's files are made up from objects of the API.
func isContent(v *v1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// noTokens stands for tokens that nobody reads yet.
type noTokens struct{}

func (noTokens) Get(context.Context, string, string, authv1.TokenRequestSpec) (string, error) {
	return "", nil
}
func (noTokens) Forget(types.UID) {}

var _ Tokens = noTokens{}
