// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for what runs against a container: probes and lifecycle hooks.

package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// validateProbes checks the three probes of a container; grace is how long the pod has to end, in seconds.
func validateProbes(p *field.Path, c *corev1.Container, grace *int64) field.ErrorList {
	var l check.List
	for _, probe := range []struct {
		name  string
		probe *corev1.Probe
	}{
		{"livenessProbe", c.LivenessProbe},
		{"readinessProbe", c.ReadinessProbe},
		{"startupProbe", c.StartupProbe},
	} {
		if probe.probe == nil {
			continue
		}
		p := p.Child(probe.name)
		l.Add(validateProbe(p, probe.probe, grace))
		if probe.name != "readinessProbe" {
			if probe.probe.SuccessThreshold != 1 {
				l.Invalid(p.Child("successThreshold"), probe.probe.SuccessThreshold, "must be 1")
			}
		} else if seconds := probe.probe.TerminationGracePeriodSeconds; seconds != nil {
			l.Invalid(p.Child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes")
		}
	}
	return l.Errors()
}

func validateProbe(p *field.Path, probe *corev1.Probe, grace *int64) field.ErrorList {
	var l check.List
	l.Add(validateHandler(p, handler{Exec: probe.Exec, HTTPGet: probe.HTTPGet, TCPSocket: probe.TCPSocket, GRPC: probe.GRPC}, grace))
	l.Add(check.NonNegative(p.Child("initialDelaySeconds"), probe.InitialDelaySeconds))
	l.Add(check.NonNegative(p.Child("timeoutSeconds"), probe.TimeoutSeconds))
	l.Add(check.NonNegative(p.Child("periodSeconds"), probe.PeriodSeconds))
	l.Add(check.NonNegative(p.Child("successThreshold"), probe.SuccessThreshold))
	l.Add(check.NonNegative(p.Child("failureThreshold"), probe.FailureThreshold))
	if seconds := probe.TerminationGracePeriodSeconds; seconds != nil && *seconds <= 0 {
		l.Invalid(p.Child("terminationGracePeriodSeconds"), *seconds, "must be greater than 0")
	}
	return l.Errors()
}

func validateLifecycle(p *field.Path, lifecycle *corev1.Lifecycle, spec *corev1.PodSpec) field.ErrorList {
	if lifecycle == nil {
		return nil
	}
	var l check.List
	for _, hook := range []struct {
		name string
		hook *corev1.LifecycleHandler
	}{{"postStart", lifecycle.PostStart}, {"preStop", lifecycle.PreStop}} {
		if h := hook.hook; h != nil {
			l.Add(validateHandler(p.Child(hook.name),
				handler{Exec: h.Exec, HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, Sleep: h.Sleep}, spec.TerminationGracePeriodSeconds))
		}
	}
	if lifecycle.StopSignal != nil {
		l.Add(validateStopSignal(p.Child("stopSignal"), *lifecycle.StopSignal, spec.OS))
	}
	return l.Errors()
}

// handler is what probes and hooks have in common: one way to reach the container.
type handler struct {
	Exec      *corev1.ExecAction
	HTTPGet   *corev1.HTTPGetAction
	TCPSocket *corev1.TCPSocketAction
	GRPC      *corev1.GRPCAction
	Sleep     *corev1.SleepAction
}

func validateHandler(p *field.Path, h handler, grace *int64) field.ErrorList {
	var l check.List
	handlers := 0
	first := func(name string, set bool) bool {
		if !set {
			return false
		}
		if handlers++; handlers > 1 {
			l.Forbidden(p.Child(name), "may not specify more than 1 handler type")
		}
		return handlers == 1
	}
	if first("exec", h.Exec != nil) && len(h.Exec.Command) == 0 {
		l.Required(p.Child("exec", "command"), "")
	}
	if first("httpGet", h.HTTPGet != nil) {
		l.Add(validateHTTPGet(p.Child("httpGet"), h.HTTPGet))
	}
	if first("tcpSocket", h.TCPSocket != nil) {
		l.Add(check.PortNumOrName(p.Child("tcpSocket", "port"), h.TCPSocket.Port))
	}
	if first("grpc", h.GRPC != nil) {
		l.Add(check.PortNumOrName(p.Child("grpc", "port"), intstr.FromInt32(h.GRPC.Port)))
	}
	if first("sleep", h.Sleep != nil) && grace != nil && (h.Sleep.Seconds < 0 || h.Sleep.Seconds > *grace) {
		l.Invalid(p.Child("sleep"), h.Sleep.Seconds,
			fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
	}
	if handlers == 0 {
		l.Required(p, "must specify a handler type")
	}
	return l.Errors()
}

func validateHTTPGet(p *field.Path, get *corev1.HTTPGetAction) field.ErrorList {
	var l check.List
	if get.Path == "" {
		l.Required(p.Child("path"), "")
	}
	l.Add(check.PortNumOrName(p.Child("port"), get.Port))
	l.Add(check.OneOf(p.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS))
	for _, header := range get.HTTPHeaders {
		l.Each(p.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))
	}
	return l.Errors()
}

func validateStopSignal(p *field.Path, signal corev1.Signal, os *corev1.PodOS) field.ErrorList {
	switch {
	case os == nil:
		return field.ErrorList{field.Forbidden(p, "may not be set for containers with empty `spec.os.name`")}
	case os.Name == corev1.Windows:
		return check.OneOf(p, signal, corev1.SIGKILL, corev1.SIGTERM)
	case os.Name == corev1.Linux:
		return check.OneOf(p, signal, linuxSignals()...)
	}
	return nil
}

func linuxSignals() []corev1.Signal {
	signals := []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE,
		corev1.SIGHUP, corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE,
		corev1.SIGPOLL, corev1.SIGPROF, corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP,
		corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP, corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG,
		corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH, corev1.SIGXCPU, corev1.SIGXFSZ,
		corev1.SIGRTMIN, corev1.SIGRTMAX,
	}
	for i := 1; i <= 15; i++ {
		signals = append(signals, corev1.Signal(fmt.Sprintf("SIGRTMIN+%d", i)))
	}
	for i := 1; i <= 14; i++ {
		signals = append(signals, corev1.Signal(fmt.Sprintf("SIGRTMAX-%d", i)))
	}
	slices.Sort(signals)
	return signals
}
