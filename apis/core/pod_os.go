// SPDX-License-Identifier: Apache-2.0

// This file holds the rules that depend on the operating system that a pod names: what a Windows pod may not have, what
// only a Windows pod may have, and the options of Windows containers.

package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateOS(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	var l check.List
	if spec.OS.Name == "" {
		l.Required(p.Child("os", "name"), "")
		return l.Errors()
	}
	l.Add(check.OneOf(p.Child("os"), spec.OS.Name, corev1.Linux, corev1.Windows))
	switch spec.OS.Name {
	case corev1.Linux:
		l.Add(validateLinux(p, spec))
	case corev1.Windows:
		l.Add(validateWindows(p, spec))
	}
	return l.Errors()
}

func validateLinux(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	const why = "windows options cannot be set for a linux pod"
	if sc := spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		l.Forbidden(p.Child("securityContext", "windowsOptions"), why)
	}
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
			l.Forbidden(p.Child("securityContext", "windowsOptions"), why)
		}
	})
	return l.Errors()
}

func validateWindows(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	forbid := func(p *field.Path, set bool) {
		if set {
			l.Forbidden(p, "cannot be set for a windows pod")
		}
	}
	sc, at := spec.SecurityContext, p.Child("securityContext")
	if sc == nil {
		sc = &corev1.PodSecurityContext{}
	}
	forbid(at.Child("appArmorProfile"), sc.AppArmorProfile != nil)
	forbid(at.Child("seLinuxOptions"), sc.SELinuxOptions != nil)
	forbid(p.Child("hostUsers"), spec.HostUsers != nil)
	forbid(p.Child("hostPID"), spec.HostPID)
	forbid(p.Child("hostIPC"), spec.HostIPC)
	forbid(at.Child("seccompProfile"), sc.SeccompProfile != nil)
	forbid(at.Child("fsGroup"), sc.FSGroup != nil)
	forbid(at.Child("fsGroupChangePolicy"), sc.FSGroupChangePolicy != nil)
	forbid(at.Child("sysctls"), len(sc.Sysctls) > 0)
	forbid(p.Child("shareProcessNamespace"), spec.ShareProcessNamespace != nil)
	forbid(at.Child("runAsUser"), sc.RunAsUser != nil)
	forbid(at.Child("runAsGroup"), sc.RunAsGroup != nil)
	forbid(at.Child("supplementalGroups"), sc.SupplementalGroups != nil)
	forbid(at.Child("supplementalGroupsPolicy"), sc.SupplementalGroupsPolicy != nil)
	forbid(at.Child("seLinuxChangePolicy"), sc.SELinuxChangePolicy != nil)
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		sc, at := c.SecurityContext, p.Child("securityContext")
		if sc == nil {
			return
		}
		forbid(at.Child("appArmorProfile"), sc.AppArmorProfile != nil)
		forbid(at.Child("seLinuxOptions"), sc.SELinuxOptions != nil)
		forbid(at.Child("seccompProfile"), sc.SeccompProfile != nil)
		forbid(at.Child("capabilities"), sc.Capabilities != nil)
		forbid(at.Child("readOnlyRootFilesystem"), sc.ReadOnlyRootFilesystem != nil)
		forbid(at.Child("privileged"), sc.Privileged != nil)
		forbid(at.Child("allowPrivilegeEscalation"), sc.AllowPrivilegeEscalation != nil)
		forbid(at.Child("procMount"), sc.ProcMount != nil)
		forbid(at.Child("runAsUser"), sc.RunAsUser != nil)
		forbid(at.Child("runAsGroup"), sc.RunAsGroup != nil)
	})
	return l.Errors()
}

// validateHostProcess checks that either all containers of a pod are Windows host processes, in the host's network, or none.
func validateHostProcess(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	var podWide *bool
	if sc := spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		podWide = sc.WindowsOptions.HostProcess
	}
	containers, hostProcesses := 0, 0
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		containers++
		effective := podWide
		if sc := c.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			own := sc.WindowsOptions.HostProcess
			if podWide != nil && *podWide != *own {
				l.Invalid(p.Child("securityContext", "windowsOptions", "hostProcess"), *own,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *podWide))
			}
			effective = own
		}
		if effective != nil && *effective {
			hostProcesses++
		}
	})
	if hostProcesses > 0 {
		if hostProcesses != containers {
			l.Invalid(p, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
		}
		if !spec.HostNetwork {
			l.Invalid(p.Child("hostNetwork"), spec.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers")
		}
	}
	return l.Errors()
}

func validateWindowsOptions(p *field.Path, options *corev1.WindowsSecurityContextOptions) field.ErrorList {
	if options == nil {
		return nil
	}
	var l check.List
	const maxCredentialSpecKiB = 64
	if name := options.GMSACredentialSpecName; name != nil {
		l.Each(p.Child("gmsaCredentialSpecName"), name, validation.IsDNS1123Subdomain(*name))
	}
	if spec := options.GMSACredentialSpec; spec != nil {
		if *spec == "" {
			l.Invalid(p.Child("gmsaCredentialSpec"), spec, "gmsaCredentialSpec cannot be an empty string")
		} else if len(*spec) > maxCredentialSpecKiB*1024 {
			l.Invalid(p.Child("gmsaCredentialSpec"), spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialSpecKiB))
		}
	}
	if name := options.RunAsUserName; name != nil {
		l.Each(p.Child("runAsUserName"), name, windowsUserProblems(*name))
	}
	return l.Errors()
}

// windowsUserProblems checks DOMAIN\user or user. Windows pods are rare: the patterns are compiled when used.
func windowsUserProblems(name string) []string {
	const maxDomain, maxUser = 256, 104
	parts := strings.Split(name, "\\")
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case regexp.MustCompile(`[[:cntrl:]]+`).MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case len(parts) > 2:
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var problems []string
	user := parts[len(parts)-1]
	if len(parts) == 2 {
		domain := parts[0]
		if len(domain) >= maxDomain {
			problems = append(problems, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", maxDomain))
		}
		const netBIOS = `[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}`
		const label = `[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
		if !regexp.MustCompile(`^(` + netBIOS + `|` + label + `(?:\.` + label + `)*)$`).MatchString(domain) {
			problems = append(problems, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
		}
	}
	if user == "" {
		problems = append(problems, "runAsUserName's User cannot be empty")
	} else if len(user) > maxUser {
		problems = append(problems, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", maxUser))
	}
	if user != "" && strings.Trim(user, ". ") == "" {
		problems = append(problems, "runAsUserName's User cannot contain only periods or spaces")
	}
	if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
		problems = append(problems, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return problems
}
