// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/subpath"
)

// Volume is where one of the pod's volumes is on this machine; for an image volume Image is its reference instead.
type Volume struct {
	HostPath string
	ReadOnly bool
	Image    string
}

// Mounts returns a container's mounts: its volumes, and the pod's hosts file unless the container brings its own.
func (b *Builder) Mounts(pod *v1.Pod, c *v1.Container, podIPs []string, env []envvars.Var, volumes map[string]Volume) ([]*runtimeapi.Mount, error) {
	var mounts []*runtimeapi.Mount
	ownHosts := false
	for i, m := range c.VolumeMounts {
		ownHosts = ownHosts || m.MountPath == "/etc/hosts"
		volume, ok := volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub, err := subPathOf(m, env)
		if err != nil {
			return nil, err
		}
		mount := &runtimeapi.Mount{
			ContainerPath:     m.MountPath,
			HostPath:          volume.HostPath,
			Readonly:          m.ReadOnly || volume.ReadOnly,
			RecursiveReadOnly: m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled,
		}
		if !filepath.IsAbs(mount.ContainerPath) {
			mount.ContainerPath = "/" + mount.ContainerPath
		}
		if mount.Propagation, err = propagation(m.MountPropagation); err != nil {
			return nil, err
		}
		switch {
		case volume.Image != "":
			mount.Image = &runtimeapi.ImageSpec{Image: volume.Image}
			mount.ImageSubPath = sub
			mount.Readonly = true
		case sub != "":
			target := filepath.Join(b.PodDir(pod), "volume-subpaths", m.Name, c.Name, fmt.Sprint(i))
			// What went wrong inside of the volume is for the log of the machine, not for the pod's author.
			if mount.HostPath, err = subpath.Bind(volume.HostPath, sub, target); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", m.Name, c.Name)
			}
		}
		mounts = append(mounts, mount)
	}
	if !ownHosts && (len(podIPs) > 0 || pod.Spec.HostNetwork) {
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
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	if slices.Contains(strings.Split(filepath.ToSlash(sub), "/"), "..") {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
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
