// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for the security contexts of pods and containers, with the annotations that seccomp and
// AppArmor profiles were once given by.

package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/hivemind-project/hivemind/apis/check"
)

// inHostUsers tells whether the pod runs in the host's user namespace, which is so unless it says otherwise.
func inHostUsers(spec *corev1.PodSpec) bool { return spec.HostUsers == nil || *spec.HostUsers }

func validatePodSecurityContext(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	sc := spec.SecurityContext
	if sc == nil {
		return nil
	}
	var l check.List
	l.Add(validateID(p.Child("fsGroup"), sc.FSGroup, validation.IsValidGroupID))
	l.Add(validateID(p.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID))
	l.Add(validateID(p.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID))
	for i, group := range sc.SupplementalGroups {
		l.Each(p.Child("supplementalGroups").Index(i), group, validation.IsValidGroupID(group))
	}
	if share := spec.ShareProcessNamespace; share != nil && *share && spec.HostPID {
		l.Invalid(p.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	l.Add(validateSysctls(p.Child("sysctls"), spec))
	if sc.FSGroupChangePolicy != nil {
		l.Add(check.OneOf(p.Child("fsGroupChangePolicy"), *sc.FSGroupChangePolicy, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch))
	}
	l.Add(validateSeccompProfile(p.Child("seccompProfile"), sc.SeccompProfile))
	l.Add(validateWindowsOptions(p.Child("windowsOptions"), sc.WindowsOptions))
	l.Add(validateAppArmorProfile(p.Child("appArmorProfile"), sc.AppArmorProfile))
	if sc.SupplementalGroupsPolicy != nil {
		l.Add(check.OneOf(p.Child("supplementalGroupsPolicy"), *sc.SupplementalGroupsPolicy,
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict))
	}
	if sc.SELinuxChangePolicy != nil {
		l.Add(check.OneOf(p.Child("seLinuxChangePolicy"), *sc.SELinuxChangePolicy,
			corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive))
	}
	return l.Errors()
}

func validateID(p *field.Path, id *int64, problems func(int64) []string) field.ErrorList {
	var l check.List
	if id != nil {
		l.Each(p, *id, problems(*id))
	}
	return l.Errors()
}

const (
	sysctlNamePattern   = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
	sysctlNameMaxLength = 253
)

func validateSysctls(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	sysctls := spec.SecurityContext.Sysctls
	if len(sysctls) == 0 {
		return nil
	}
	var l check.List
	valid := regexp.MustCompile(sysctlNamePattern)
	seen := sets.New[string]()
	for i, s := range sysctls {
		p := p.Index(i).Child("name")
		switch {
		case s.Name == "":
			l.Required(p, "")
		case len(s.Name) > sysctlNameMaxLength || !valid.MatchString(s.Name):
			l.Invalid(p, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", sysctlNameMaxLength, sysctlNamePattern))
		case seen.Has(s.Name):
			l.Duplicate(p, s.Name)
		}
		switch namespace, _, _ := sysctl.GetNamespace(s.Name); {
		case spec.HostNetwork && namespace == sysctl.NetNamespace:
			l.Invalid(p, s.Name, "may not be specified when 'hostNetwork' is true")
		case spec.HostIPC && namespace == sysctl.IPCNamespace:
			l.Invalid(p, s.Name, "may not be specified when 'hostIPC' is true")
		}
		seen.Insert(s.Name)
	}
	return l.Errors()
}

func validateSecurityContext(p *field.Path, sc *corev1.SecurityContext, hostUsers bool) field.ErrorList {
	if sc == nil {
		return nil
	}
	var l check.List
	l.Add(validateID(p.Child("runAsUser"), sc.RunAsUser, validation.IsValidUserID))
	l.Add(validateID(p.Child("runAsGroup"), sc.RunAsGroup, validation.IsValidGroupID))
	if mount := sc.ProcMount; mount != nil {
		l.Add(check.OneOf(p.Child("procMount"), *mount, corev1.DefaultProcMount, corev1.UnmaskedProcMount))
		if hostUsers && *mount == corev1.UnmaskedProcMount {
			l.Invalid(p.Child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	l.Add(validateSeccompProfile(p.Child("seccompProfile"), sc.SeccompProfile))
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if sc.Privileged != nil && *sc.Privileged {
			l.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if sc.Capabilities != nil {
			for _, capability := range sc.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" {
					l.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	l.Add(validateWindowsOptions(p.Child("windowsOptions"), sc.WindowsOptions))
	l.Add(validateAppArmorProfile(p.Child("appArmorProfile"), sc.AppArmorProfile))
	return l.Errors()
}

func validateSeccompProfile(p *field.Path, profile *corev1.SeccompProfile) field.ErrorList {
	if profile == nil {
		return nil
	}
	var l check.List
	if profile.Type == "" {
		l.Required(p.Child("type"), "type is required when seccompProfile is set")
	} else {
		l.Add(check.OneOf(p.Child("type"), profile.Type,
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined))
	}
	p = p.Child("localhostProfile")
	switch local := profile.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && profile.LocalhostProfile == nil:
		l.Required(p, "must be set when seccomp type is Localhost")
	case local:
		l.Add(validateRelativePath(p, *profile.LocalhostProfile))
	case profile.LocalhostProfile != nil:
		l.Invalid(p, profile, "can only be set when seccomp type is Localhost")
	}
	return l.Errors()
}

func validateAppArmorProfile(p *field.Path, profile *corev1.AppArmorProfile) field.ErrorList {
	if profile == nil {
		return nil
	}
	var l check.List
	const longest = 4095 // PATH_MAX without the final zero
	local := p.Child("localhostProfile")
	switch profile.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if profile.LocalhostProfile == nil {
			l.Required(local, "must be set when AppArmor type is Localhost")
			break
		}
		if name := *profile.LocalhostProfile; strings.TrimSpace(name) != name {
			l.Invalid(local, name, "must not be padded with whitespace")
		} else if name == "" {
			l.Required(local, "must be set when AppArmor type is Localhost")
		}
		if len(*profile.LocalhostProfile) > longest {
			l.TooLong(local, longest)
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if profile.LocalhostProfile != nil {
			l.Invalid(local, profile.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		l.Required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		l.Add(check.OneOf(p.Child("type"), profile.Type,
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined))
	}
	return l.Errors()
}

// validateProfileAnnotations checks the annotations that came before the profile fields.
func validateProfileAnnotations(p *field.Path, annotations map[string]string, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	names := sets.New[string]()
	visitContainers(nil, spec, func(_ *field.Path, c *corev1.Container) { names.Insert(c.Name) })
	for key, value := range annotations {
		if key == corev1.SeccompPodAnnotationKey || strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix) {
			l.Add(validateSeccompAnnotation(p.Child(key), value))
		}
		if name, ok := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix); ok {
			if !names.Has(name) {
				l.Invalid(p.Key(key), name, "container not found")
			}
			switch {
			case value == "", value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
			case !strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
				l.Invalid(p.Key(key), value, fmt.Sprintf("invalid AppArmor profile name: %q", value))
			}
		}
	}
	return l.Errors()
}

func validateSeccompAnnotation(p *field.Path, value string) field.ErrorList {
	switch value {
	case corev1.SeccompProfileRuntimeDefault, corev1.DeprecatedSeccompProfileDockerDefault, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if local, ok := strings.CutPrefix(value, corev1.SeccompLocalhostProfileNamePrefix); ok {
		return validateRelativePath(p, local)
	}
	return field.ErrorList{field.Invalid(p, value, "must be a valid seccomp profile")}
}

// validateProfilesMatch reports a profile given both by annotation and by field, and differently.
func validateProfilesMatch(p *field.Path, meta *metav1.ObjectMeta, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	var podAppArmor *corev1.AppArmorProfile
	if sc := spec.SecurityContext; sc != nil {
		podAppArmor = sc.AppArmorProfile
		if annotation, ok := meta.Annotations[corev1.SeccompPodAnnotationKey]; ok {
			l.Add(matchSeccomp(p.Child("securityContext", "seccompProfile"), annotation, sc.SeccompProfile))
		}
	}
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		appArmor := podAppArmor
		if sc := c.SecurityContext; sc != nil {
			if annotation, ok := meta.Annotations[corev1.SeccompContainerAnnotationKeyPrefix+c.Name]; ok {
				l.Add(matchSeccomp(p.Child("securityContext", "seccompProfile"), annotation, sc.SeccompProfile))
			}
			if sc.AppArmorProfile != nil {
				appArmor = sc.AppArmorProfile
			}
		}
		annotation, ok := meta.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if windows := spec.OS != nil && spec.OS.Name == corev1.Windows; ok && appArmor != nil && !windows {
			l.Add(matchAppArmor(p.Child("securityContext", "appArmorProfile"), annotation, appArmor))
		}
	})
	return l.Errors()
}

func matchSeccomp(p *field.Path, annotation string, profile *corev1.SeccompProfile) field.ErrorList {
	if profile == nil {
		return nil
	}
	same := true
	switch profile.Type {
	case corev1.SeccompProfileTypeUnconfined:
		same = annotation == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		same = annotation == corev1.SeccompProfileRuntimeDefault || annotation == corev1.DeprecatedSeccompProfileDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		var local string
		if local, same = strings.CutPrefix(annotation, corev1.SeccompLocalhostProfileNamePrefix); same {
			if profile.LocalhostProfile == nil || local != *profile.LocalhostProfile {
				return field.ErrorList{field.Forbidden(p.Child("localhostProfile"), "seccomp profile in annotation and field must match")}
			}
		}
	}
	if same {
		return nil
	}
	return field.ErrorList{field.Forbidden(p.Child("type"), "seccomp type in annotation and field must match")}
}

func matchAppArmor(p *field.Path, annotation string, profile *corev1.AppArmorProfile) field.ErrorList {
	same := true
	switch profile.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		same = annotation == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		same = annotation == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		var local string
		if local, same = strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix); same {
			if profile.LocalhostProfile == nil || local != *profile.LocalhostProfile {
				return field.ErrorList{field.Forbidden(p.Child("localhostProfile"), "apparmor profile in annotation and field must match")}
			}
		}
	}
	if same {
		return nil
	}
	return field.ErrorList{field.Forbidden(p.Child("type"), "apparmor type in annotation and field must match")}
}
