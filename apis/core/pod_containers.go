// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for containers: regular ones, init containers (and sidecars among them) and ephemeral ones.

package core

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// containerScope is what the rules for one container need to know of the pod around it.
type containerScope struct {
	spec    *corev1.PodSpec
	volumes map[string]corev1.VolumeSource
	claims  sets.Set[string]
}

// visitContainers calls visit for every container of the pod with its field path.
func visitContainers(p *field.Path, spec *corev1.PodSpec, visit func(p *field.Path, c *corev1.Container)) {
	for i := range spec.InitContainers {
		visit(p.Child("initContainers").Index(i), &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		visit(p.Child("containers").Index(i), &spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		visit(p.Child("ephemeralContainers").Index(i), (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func validateContainers(p *field.Path, scope *containerScope) field.ErrorList {
	var l check.List
	if len(scope.spec.Containers) == 0 {
		l.Required(p, "")
		return l.Errors()
	}
	names := sets.New[string]()
	for i := range scope.spec.Containers {
		c, p := &scope.spec.Containers[i], p.Index(i)
		l.Add(validateContainer(p, c, scope))
		if names.Has(c.Name) {
			l.Duplicate(p.Child("name"), c.Name)
		}
		names.Insert(c.Name)
		l.Add(validateLifecycle(p.Child("lifecycle"), c.Lifecycle, scope.spec))
		l.Add(validateProbes(p, c, scope.spec.TerminationGracePeriodSeconds))
		l.Add(validateContainerRestart(p, c))
	}
	l.Add(validateUniqueHostPorts(p, scope.spec.Containers))
	return l.Errors()
}

func validateInitContainers(p *field.Path, scope *containerScope) field.ErrorList {
	var l check.List
	names := sets.New[string]()
	for i := range scope.spec.Containers {
		names.Insert(scope.spec.Containers[i].Name)
	}
	for i := range scope.spec.InitContainers {
		c, at := &scope.spec.InitContainers[i], p.Index(i)
		l.Add(validateContainer(at, c, scope))
		l.Add(validateContainerRestart(at, c))
		if names.Has(c.Name) {
			l.Duplicate(at.Child("name"), c.Name)
		} else if c.Name != "" {
			names.Insert(c.Name)
		}
		l.Add(validateUniqueHostPorts(p, scope.spec.InitContainers[i:i+1]))
		if isSidecar(c) {
			l.Add(validateLifecycle(at.Child("lifecycle"), c.Lifecycle, scope.spec))
			l.Add(validateProbes(at, c, scope.spec.TerminationGracePeriodSeconds))
			continue
		}
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"lifecycle", c.Lifecycle != nil},
			{"livenessProbe", c.LivenessProbe != nil},
			{"readinessProbe", c.ReadinessProbe != nil},
			{"startupProbe", c.StartupProbe != nil},
		} {
			if f.set {
				l.Forbidden(at.Child(f.name), "may not be set for init containers without restartPolicy=Always")
			}
		}
		for j, policy := range c.ResizePolicy {
			if policy.RestartPolicy == corev1.RestartContainer {
				l.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), policy.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers")
			}
		}
	}
	return l.Errors()
}

func validateEphemeralContainers(p *field.Path, scope *containerScope) field.ErrorList {
	if len(scope.spec.EphemeralContainers) == 0 {
		return nil
	}
	var l check.List
	targets, names := sets.New[string](), sets.New[string]()
	for _, containers := range [][]corev1.Container{scope.spec.Containers, scope.spec.InitContainers} {
		for i := range containers {
			targets.Insert(containers[i].Name)
			names.Insert(containers[i].Name)
		}
	}
	for i := range scope.spec.EphemeralContainers {
		ephemeral, p := &scope.spec.EphemeralContainers[i], p.Index(i)
		c := (*corev1.Container)(&ephemeral.EphemeralContainerCommon)
		l.Add(validateContainer(p, c, scope))
		l.Add(validateImageWhitespace(p, c))
		if names.Has(c.Name) {
			l.Duplicate(p.Child("name"), c.Name)
		}
		names.Insert(c.Name)
		if ephemeral.TargetContainerName != "" && !targets.Has(ephemeral.TargetContainerName) {
			l.NotFound(p.Child("targetContainerName"), ephemeral.TargetContainerName)
		}
		// What an ephemeral container may not have is what needs the pod to be set up for it, or a kubelet to act on it.
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"ports", c.Ports != nil},
			{"resources", !reflect.ValueOf(c.Resources).IsZero()},
			{"resizePolicy", c.ResizePolicy != nil},
			{"restartPolicy", c.RestartPolicy != nil},
			{"restartPolicyRules", c.RestartPolicyRules != nil},
			{"livenessProbe", c.LivenessProbe != nil},
			{"readinessProbe", c.ReadinessProbe != nil},
			{"startupProbe", c.StartupProbe != nil},
			{"lifecycle", c.Lifecycle != nil},
		} {
			if f.set {
				l.Forbidden(p.Child(f.name), "cannot be set for an Ephemeral Container")
			}
		}
		for j, mount := range c.VolumeMounts {
			at := p.Child("volumeMounts").Index(j)
			if mount.SubPath != "" {
				l.Forbidden(at.Child("subPath"), "cannot be set for an Ephemeral Container")
			}
			if mount.SubPathExpr != "" {
				l.Forbidden(at.Child("subPathExpr"), "cannot be set for an Ephemeral Container")
			}
		}
	}
	return l.Errors()
}

// validateContainer holds the rules that every kind of container follows.
func validateContainer(p *field.Path, c *corev1.Container, scope *containerScope) field.ErrorList {
	var l check.List
	if c.Name == "" {
		l.Required(p.Child("name"), "")
	} else {
		l.Add(check.DNSLabel(p.Child("name"), c.Name))
	}
	if c.Image == "" {
		l.Required(p.Child("image"), "")
	}
	l.Add(check.RequiredOneOf(p.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError))
	l.Add(validateContainerPorts(p.Child("ports"), c.Ports))
	l.Add(validateEnv(p.Child("env"), c.Env))
	l.Add(validateEnvFrom(p.Child("envFrom"), c.EnvFrom))
	l.Add(validateVolumeMounts(p.Child("volumeMounts"), c, scope.volumes))
	l.Add(validateVolumeDevices(p.Child("volumeDevices"), c, scope.volumes))
	l.Add(validatePullPolicy(p.Child("imagePullPolicy"), c.ImagePullPolicy))
	l.Add(validateContainerResources(p.Child("resources"), &c.Resources, scope.claims))
	l.Add(validateResizePolicy(p.Child("resizePolicy"), c.ResizePolicy, scope.spec.RestartPolicy))
	l.Add(validateSecurityContext(p.Child("securityContext"), c.SecurityContext, inHostUsers(scope.spec)))
	return l.Errors()
}

func validatePullPolicy(p *field.Path, policy corev1.PullPolicy) field.ErrorList {
	return check.RequiredOneOf(p, policy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// validateImageWhitespace applies to pods alone: a template may still be filled in by someone.
func validateImageWhitespace(p *field.Path, c *corev1.Container) field.ErrorList {
	var l check.List
	if strings.TrimSpace(c.Image) != c.Image {
		l.Invalid(p.Child("image"), c.Image, "must not have leading or trailing whitespace")
	}
	return l.Errors()
}

func validateContainerPorts(p *field.Path, ports []corev1.ContainerPort) field.ErrorList {
	var l check.List
	names := sets.New[string]()
	for i, port := range ports {
		p := p.Index(i)
		if port.Name != "" {
			if messages := validation.IsValidPortName(port.Name); len(messages) > 0 {
				l.Each(p.Child("name"), port.Name, messages)
			} else if names.Has(port.Name) {
				l.Duplicate(p.Child("name"), port.Name)
			} else {
				names.Insert(port.Name)
			}
		}
		if port.ContainerPort == 0 {
			l.Required(p.Child("containerPort"), "")
		} else {
			l.Each(p.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))
		}
		if port.HostPort != 0 {
			l.Each(p.Child("hostPort"), port.HostPort, validation.IsValidPortNum(int(port.HostPort)))
		}
		l.Add(validateProtocol(p.Child("protocol"), port.Protocol))
	}
	return l.Errors()
}

func validateProtocol(p *field.Path, protocol corev1.Protocol) field.ErrorList {
	return check.RequiredOneOf(p, protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

// validateUniqueHostPorts reports host ports that two of the containers would both bind.
func validateUniqueHostPorts(p *field.Path, containers []corev1.Container) field.ErrorList {
	var l check.List
	bound := sets.New[string]()
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if bound.Has(key) {
				l.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key)
			}
			bound.Insert(key)
		}
	}
	return l.Errors()
}

func validateResizePolicy(p *field.Path, policies []corev1.ContainerResizePolicy, podRestart corev1.RestartPolicy) field.ErrorList {
	var l check.List
	seen := sets.New[corev1.ResourceName]()
	for i, policy := range policies {
		if seen.Has(policy.ResourceName) {
			l.Duplicate(p.Index(i), policy.ResourceName)
		}
		seen.Insert(policy.ResourceName)
		l.Add(check.RequiredOneOf(p, policy.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory))
		l.Add(check.RequiredOneOf(p, policy.RestartPolicy, corev1.NotRequired, corev1.RestartContainer))
		if podRestart == corev1.RestartPolicyNever && policy.RestartPolicy != corev1.NotRequired {
			l.Invalid(p, policy.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
	return l.Errors()
}

// validateContainerRestart checks the restart policy that a container has of its own, and its rules by exit code (KEP-5307).
func validateContainerRestart(p *field.Path, c *corev1.Container) field.ErrorList {
	var l check.List
	const maxRules, maxExitCodes = 20, 255
	if c.RestartPolicy == nil {
		if len(c.RestartPolicyRules) == 0 {
			return nil
		}
		l.Required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
	} else {
		l.Add(check.OneOf(p.Child("restartPolicy"), *c.RestartPolicy,
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure))
	}
	if n := len(c.RestartPolicyRules); n > maxRules {
		l.TooMany(p.Child("restartPolicyRules"), n, maxRules)
	}
	for i, rule := range c.RestartPolicyRules {
		p := p.Child("restartPolicyRules").Index(i)
		l.Add(check.OneOf(p.Child("action"), rule.Action,
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers))
		if rule.ExitCodes == nil {
			l.Required(p.Child("exitCodes"), "must be specified")
			continue
		}
		l.Add(check.OneOf(p.Child("exitCodes", "operator"), rule.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn))
		if n := len(rule.ExitCodes.Values); n > maxExitCodes {
			l.TooMany(p.Child("exitCodes", "values"), n, maxExitCodes)
		}
	}
	return l.Errors()
}
