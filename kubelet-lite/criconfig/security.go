// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"errors"
	"fmt"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Image is what a container's configuration needs to know of its image.
type Image struct {
	Ref      string
	UID      *int64 // the user that the image names by number
	Username string // or by name
}

// Effective merges a container's security context over its pod's.
func Effective(pod *v1.Pod, container *v1.Container) *v1.SecurityContext {
	sc := &v1.SecurityContext{}
	if c := container.SecurityContext; c != nil {
		sc = c.DeepCopy()
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return sc
	}
	if sc.SELinuxOptions == nil {
		sc.SELinuxOptions = p.SELinuxOptions
	}
	if sc.RunAsUser == nil {
		sc.RunAsUser = p.RunAsUser
	}
	if sc.RunAsGroup == nil {
		sc.RunAsGroup = p.RunAsGroup
	}
	if sc.RunAsNonRoot == nil {
		sc.RunAsNonRoot = p.RunAsNonRoot
	}
	if sc.SeccompProfile == nil {
		sc.SeccompProfile = p.SeccompProfile
	}
	if sc.AppArmorProfile == nil {
		sc.AppArmorProfile = p.AppArmorProfile
	}
	return sc
}

func (b *Builder) security(pod *v1.Pod, container *v1.Container, image Image) (*runtimeapi.LinuxContainerSecurityContext, error) {
	sc := Effective(pod, container)
	if err := verifyNonRoot(pod, container, sc, image); err != nil {
		return nil, err
	}
	result := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: namespaces(pod),
		RunAsUser:        int64Value(sc.RunAsUser),
		RunAsGroup:       int64Value(sc.RunAsGroup),
		SelinuxOptions:   selinux(sc.SELinuxOptions),
		Privileged:       sc.Privileged != nil && *sc.Privileged,
		ReadonlyRootfs:   sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem,
		NoNewPrivs:       sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		MaskedPaths:      []string{},
		ReadonlyPaths:    []string{},
	}
	if result.RunAsUser == nil {
		result.RunAsUser = int64Value(image.UID)
		result.RunAsUsername = image.Username
	}
	if c := sc.Capabilities; c != nil {
		result.Capabilities = &runtimeapi.Capability{}
		for _, name := range c.Add {
			result.Capabilities.AddCapabilities = append(result.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range c.Drop {
			result.Capabilities.DropCapabilities = append(result.Capabilities.DropCapabilities, string(name))
		}
	}
	if p := pod.Spec.SecurityContext; p != nil {
		result.SupplementalGroups = groups(p)
		var err error
		if result.SupplementalGroupsPolicy, err = groupsPolicy(p); err != nil {
			return nil, err
		}
	}
	if sc.ProcMount == nil || *sc.ProcMount != v1.UnmaskedProcMount {
		result.MaskedPaths = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
		result.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	}
	var err error
	if result.Seccomp, err = b.seccomp(sc.SeccompProfile); err != nil {
		return nil, err
	}
	result.Apparmor, err = apparmor(sc.AppArmorProfile)
	return result, err
}

// verifyNonRoot holds a container to runAsNonRoot before it is created: only a user given by number can be judged.
func verifyNonRoot(pod *v1.Pod, container *v1.Container, sc *v1.SecurityContext, image Image) error {
	if sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
		return nil
	}
	name := PodName(pod)
	switch {
	case sc.RunAsUser != nil:
		if *sc.RunAsUser == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", name, container.Name)
		}
		return nil
	case image.UID != nil && *image.UID == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", name, container.Name)
	case image.UID == nil && image.Username != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", image.Username, name, container.Name)
	}
	return nil
}

func (b *Builder) seccomp(p *v1.SeccompProfile) (*runtimeapi.SecurityProfile, error) {
	switch {
	case p == nil || p.Type == v1.SeccompProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case p.Type == v1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case p.LocalhostProfile == nil || *p.LocalhostProfile == "":
		return nil, errors.New("localhostProfile must be set if seccompProfile type is Localhost.")
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost,
		LocalhostRef: filepath.Join(b.RootDir, "seccomp", *p.LocalhostProfile)}, nil
}

func apparmor(p *v1.AppArmorProfile) (*runtimeapi.SecurityProfile, error) {
	if p == nil {
		return nil, nil
	}
	switch p.Type {
	case v1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	case v1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	}
	if p.LocalhostProfile == nil {
		return nil, errors.New("missing localhost apparmor profile name")
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *p.LocalhostProfile}, nil
}

func selinux(o *v1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func int64Value(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}
