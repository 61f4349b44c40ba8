// SPDX-License-Identifier: Apache-2.0

// Package criconfig turns a pod and its containers into what the container runtime is told: sandbox and container
// configurations. It computes and writes small files (hosts, termination message), and calls no one; the cost is linear in
// the pod's size.
package criconfig

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubetypes "k8s.io/kubelet/pkg/types"

	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// Builder builds configurations for the pods of one node.
type Builder struct {
	// RootDir has pods' own files in <RootDir>/pods/<uid>. Where it and PodLogDir are empty there are no files: no log directories, hosts
	// files and termination messages are made.
	RootDir        string
	PodLogDir      string
	Resolver       *podnet.Resolver
	MemoryCapacity int64 // bytes
	// NoSeccomp says that the runtime cannot filter system calls: a pod's first process, which asks for it by default, then goes
	// without. Containers that ask for it fail.
	NoSeccomp bool
	// CgroupParent names the cgroup that a pod's containers are to be in; nil leaves that to the runtime.
	CgroupParent func(*v1.Pod) string
	// SubPath returns where a part of a volume is for one mount of a container: volume.Manager's method.
	SubPath func(pod types.UID, volume, container string, index int, from volume.Mounted, subPath string) (string, error)
}

// PodDir is where a pod's own files are.
func (b *Builder) PodDir(pod *v1.Pod) string {
	return filepath.Join(b.RootDir, "pods", string(pod.UID))
}

// LogDir is where a pod's container logs are, if they are in files; the name is part of the CRI's contract with log collectors.
func (b *Builder) LogDir(pod *v1.Pod) string {
	if b.PodLogDir == "" {
		return ""
	}
	return filepath.Join(b.PodLogDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// Sandbox returns the configuration of a pod's sandbox. warning, if any, is about DNS and for an event.
func (b *Builder) Sandbox(pod *v1.Pod, attempt uint32) (config *runtimeapi.PodSandboxConfig, warning string, err error) {
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		return nil, "", errors.New("user namespaces (hostUsers: false) are not supported by this node")
	}
	config = &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		Labels:       podLabels(pod),
		Annotations:  maps.Clone(pod.Annotations),
		LogDirectory: b.LogDir(pod),
	}
	config.DnsConfig, warning = b.Resolver.Config(pod)
	if !pod.Spec.HostNetwork {
		name, domain, err := podnet.Hostname(pod, b.Resolver.ClusterDomain)
		if err != nil {
			return nil, "", err
		}
		if config.Hostname, err = podnet.KernelHostname(pod, name, domain); err != nil {
			return nil, "", err
		}
		config.PortMappings = portMappings(pod)
	}
	linux := &runtimeapi.LinuxPodSandboxConfig{
		Sysctls:   map[string]string{},
		Overhead:  listResources(pod.Spec.Overhead, pod.Spec.Overhead),
		Resources: podResources(pod),
		SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			Privileged:       hasPrivileged(pod),
			Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
			NamespaceOptions: namespaces(pod),
		},
	}
	if b.NoSeccomp {
		linux.SecurityContext.Seccomp.ProfileType = runtimeapi.SecurityProfile_Unconfined
	}
	if b.CgroupParent != nil {
		linux.CgroupParent = b.CgroupParent(pod)
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		for _, s := range sc.Sysctls {
			linux.Sysctls[s.Name] = s.Value
		}
		linux.SecurityContext.RunAsUser = int64Value(sc.RunAsUser)
		linux.SecurityContext.RunAsGroup = int64Value(sc.RunAsGroup)
		linux.SecurityContext.SelinuxOptions = selinux(sc.SELinuxOptions)
		linux.SecurityContext.SupplementalGroups = groups(sc)
		if linux.SecurityContext.SupplementalGroupsPolicy, err = groupsPolicy(sc); err != nil {
			return nil, "", err
		}
	}
	config.Linux = linux
	return config, warning, nil
}

func podLabels(pod *v1.Pod) map[string]string {
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[kubetypes.KubernetesPodNameLabel] = pod.Name
	labels[kubetypes.KubernetesPodNamespaceLabel] = pod.Namespace
	labels[kubetypes.KubernetesPodUIDLabel] = string(pod.UID)
	return labels
}

func portMappings(pod *v1.Pod) []*runtimeapi.PortMapping {
	var mappings []*runtimeapi.PortMapping
	add := func(containers []v1.Container) {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				mappings = append(mappings, &runtimeapi.PortMapping{Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP})
			}
		}
	}
	add(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if IsSidecar(&c) {
			add([]v1.Container{c})
		}
	}
	return mappings
}

func protocol(p v1.Protocol) runtimeapi.Protocol {
	switch p {
	case v1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case v1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	default:
		return runtimeapi.Protocol_TCP
	}
}

func namespaces(pod *v1.Pod) *runtimeapi.NamespaceOption {
	options := &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_POD,
		Pid:     runtimeapi.NamespaceMode_CONTAINER,
		Ipc:     runtimeapi.NamespaceMode_POD,
	}
	if pod.Spec.HostNetwork {
		options.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		options.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		options.Pid = runtimeapi.NamespaceMode_NODE
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		options.Pid = runtimeapi.NamespaceMode_POD
	}
	return options
}

func groups(sc *v1.PodSecurityContext) []int64 {
	var list []int64
	if sc.FSGroup != nil {
		list = append(list, *sc.FSGroup)
	}
	return append(list, sc.SupplementalGroups...)
}

func groupsPolicy(sc *v1.PodSecurityContext) (runtimeapi.SupplementalGroupsPolicy, error) {
	if sc.SupplementalGroupsPolicy == nil {
		return runtimeapi.SupplementalGroupsPolicy_Merge, nil
	}
	value, ok := runtimeapi.SupplementalGroupsPolicy_value[string(*sc.SupplementalGroupsPolicy)]
	if !ok {
		return 0, fmt.Errorf("unsupported supplementalGroupsPolicy: %s", *sc.SupplementalGroupsPolicy)
	}
	return runtimeapi.SupplementalGroupsPolicy(value), nil
}

func hasPrivileged(pod *v1.Pod) bool {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
				return true
			}
		}
	}
	return false
}
