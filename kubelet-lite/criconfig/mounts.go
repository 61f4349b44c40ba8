// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"fmt"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// Volumes are a pod's volumes by name: on this machine, or for image volumes the reference of the image.
type Volumes struct {
	Mounted map[string]volume.Mounted
	Images  map[string]string
}

// Mounts returns a container's mounts: its volumes, and the pod's hosts file unless the container brings its own.
func (b *Builder) Mounts(pod *v1.Pod, c *v1.Container, podIPs []string, env []envvars.Var, volumes Volumes) ([]*runtimeapi.Mount, error) {
	var mounts []*runtimeapi.Mount
	ownHosts := false
	for i, m := range c.VolumeMounts {
		ownHosts = ownHosts || m.MountPath == "/etc/hosts"
		from, ok := volumes.Mounted[m.Name]
		image := volumes.Images[m.Name]
		if !ok && image == "" {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub, err := subPathOf(m, env)
		if err != nil {
			return nil, err
		}
		mount := &runtimeapi.Mount{
			ContainerPath:     m.MountPath,
			HostPath:          from.HostPath,
			Readonly:          m.ReadOnly || from.ReadOnly,
			RecursiveReadOnly: m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled,
		}
		if !filepath.IsAbs(mount.ContainerPath) {
			mount.ContainerPath = "/" + mount.ContainerPath
		}
		if mount.Propagation, err = propagation(m.MountPropagation); err != nil {
			return nil, err
		}
		switch {
		case image != "":
			mount.Image = &runtimeapi.ImageSpec{Image: image}
			mount.ImageSubPath = sub
			mount.Readonly = true
		case sub != "":
			if mount.HostPath, err = b.SubPath(pod.UID, m.Name, c.Name, i, from, sub); err != nil {
				return nil, err
			}
		}
		mounts = append(mounts, mount)
	}
	if !ownHosts && b.RootDir != "" && (len(podIPs) > 0 || pod.Spec.HostNetwork) {
		hosts, err := b.hostsMount(pod, podIPs)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, hosts)
	}
	return mounts, nil
}

func (b *Builder) hostsMount(pod *v1.Pod, podIPs []string) (*runtimeapi.Mount, error) {
	name, domain, err := podnet.Hostname(pod, b.Resolver.ClusterDomain)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.PodDir(pod), 0o750); err != nil {
		return nil, fmt.Errorf("create directory of pod %s: %w", PodName(pod), err)
	}
	path := filepath.Join(b.PodDir(pod), "etc-hosts")
	if err := podnet.WriteHosts(path, pod, name, domain, podIPs); err != nil {
		return nil, err
	}
	return &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: path, SelinuxRelabel: true}, nil
}

func subPathOf(m v1.VolumeMount, env []envvars.Var) (string, error) {
	sub := m.SubPath
	if m.SubPathExpr != "" {
		lookup, missing := lookupIn(env), ""
		sub = envvars.Expand(m.SubPathExpr, func(name string) (string, bool) {
			value, ok := lookup(name)
			if !ok {
				missing = name
			}
			return value, ok
		})
		if missing != "" {
			return "", fmt.Errorf("missing value for %q", missing)
		}
	}
	return sub, nil
}

func propagation(mode *v1.MountPropagationMode) (runtimeapi.MountPropagation, error) {
	switch {
	case mode == nil || *mode == v1.MountPropagationNone:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE, nil
	case *mode == v1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, nil
	case *mode == v1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL, nil
	}
	return 0, fmt.Errorf("invalid MountPropagation mode: %q", *mode)
}
