// SPDX-License-Identifier: Apache-2.0

// Package networking says what Ingress, IngressClass, NetworkPolicy, IPAddress and ServiceCIDR are. The functions are
// named to the rule of package core and linear in the number of rules.
//
// This file holds Ingress and IngressClass.
package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

const ingressClassAnnotation = "kubernetes.io/ingress.class"

// ValidateIngress checks a new Ingress.
func ValidateIngress(ingress *networkingv1.Ingress) field.ErrorList {
	var l check.List
	l.Add(validateIngress(ingress))
	class, ok := ingress.Annotations[ingressClassAnnotation]
	if name := ingress.Spec.IngressClassName; ok && name != nil && class != *name {
		l.Invalid(field.NewPath("annotations", ingressClassAnnotation), class, "must match `ingressClassName` when both are specified")
	}
	return l.Errors()
}

// ValidateIngressUpdate checks an update of an Ingress.
func ValidateIngressUpdate(ingress, before *networkingv1.Ingress) field.ErrorList {
	return append(check.MetadataUpdate(&ingress.ObjectMeta, &before.ObjectMeta), validateIngress(ingress)...)
}

func validateIngress(ingress *networkingv1.Ingress) field.ErrorList {
	var l check.List
	p, spec := field.NewPath("spec"), &ingress.Spec
	l.Add(check.Metadata(&ingress.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		l.Invalid(p, spec.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if spec.DefaultBackend != nil {
		l.Add(validateBackend(p.Child("defaultBackend"), spec.DefaultBackend))
	}
	for i, rule := range spec.Rules {
		p := p.Child("rules").Index(i)
		if rule.Host != "" {
			if netutils.ParseIPSloppy(rule.Host) != nil {
				l.Invalid(p.Child("host"), rule.Host, "must be a DNS name, not an IP address")
			}
			l.Add(validateHost(p.Child("host"), rule.Host))
		}
		if rule.HTTP == nil {
			continue
		}
		if len(rule.HTTP.Paths) == 0 {
			l.Required(p.Child("http", "paths"), "")
		}
		for j := range rule.HTTP.Paths {
			l.Add(validateHTTPPath(p.Child("http", "paths").Index(j), &rule.HTTP.Paths[j]))
		}
	}
	for i, tls := range spec.TLS {
		p := p.Child("tls").Index(i)
		for j, host := range tls.Hosts {
			l.Add(validateHost(p.Child("hosts").Index(j), host))
		}
		if tls.SecretName != "" {
			l.Each(p.Child("secretName"), tls.SecretName, apivalidation.NameIsDNSSubdomain(tls.SecretName, false))
		}
	}
	if name := spec.IngressClassName; name != nil {
		l.Each(p.Child("ingressClassName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))
	}
	return l.Errors()
}

func validateHost(p *field.Path, host string) field.ErrorList {
	var l check.List
	if strings.Contains(host, "*") {
		l.Each(p, host, validation.IsWildcardDNS1123Subdomain(host))
	} else {
		l.Each(p, host, validation.IsDNS1123Subdomain(host))
	}
	return l.Errors()
}

func validateHTTPPath(p *field.Path, path *networkingv1.HTTPIngressPath) field.ErrorList {
	var l check.List
	if path.PathType == nil {
		l.Required(p.Child("pathType"), "pathType must be specified")
		return l.Errors()
	}
	at := p.Child("path")
	switch kind := *path.PathType; kind {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(path.Path, "/") {
			l.Invalid(at, path.Path, "must be an absolute path")
		}
		for _, sequence := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(path.Path, sequence) {
				l.Invalid(at, path.Path, fmt.Sprintf("must not contain '%s'", sequence))
			}
		}
		for _, suffix := range []string{"/..", "/."} {
			if strings.HasSuffix(path.Path, suffix) {
				l.Invalid(at, path.Path, fmt.Sprintf("cannot end with '%s'", suffix))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if path.Path != "" && !strings.HasPrefix(path.Path, "/") {
			l.Invalid(at, path.Path, "must be an absolute path")
		}
	default:
		l.Add(check.OneOf(p.Child("pathType"), kind,
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix))
	}
	l.Add(validateBackend(p.Child("backend"), &path.Backend))
	return l.Errors()
}

func validateBackend(p *field.Path, backend *networkingv1.IngressBackend) field.ErrorList {
	var l check.List
	switch service := backend.Service; {
	case service != nil && backend.Resource != nil:
		l.Invalid(p, "", "cannot set both resource and service backends")
	case service == nil && backend.Resource == nil:
		l.Invalid(p, "", "resource or service backend is required")
	case service == nil:
		ref := backend.Resource
		l.Add(validateReference(p.Child("resource"), ref.APIGroup, ref.Kind, ref.Name))
	default:
		if service.Name == "" {
			l.Required(p.Child("service", "name"), "")
		} else {
			l.Each(p.Child("service", "name"), service.Name, apivalidation.NameIsDNSLabel(service.Name, false))
		}
		port := p.Child("service", "port")
		switch name, number := service.Port.Name, service.Port.Number; {
		case name != "" && number != 0:
			l.Invalid(p, "", "cannot set both port name & port number")
		case name != "":
			l.Each(port.Child("name"), name, validation.IsValidPortName(name))
		case number != 0:
			l.Each(port.Child("number"), number, validation.IsValidPortNum(int(number)))
		default:
			l.Required(p, "port name or number is required")
		}
	}
	return l.Errors()
}

func validateReference(p *field.Path, group *string, kind, name string) field.ErrorList {
	var l check.List
	if group != nil {
		l.Each(p.Child("apiGroup"), *group, validation.IsDNS1123Subdomain(*group))
	}
	for _, f := range []struct{ name, value string }{{"kind", kind}, {"name", name}} {
		if f.value == "" {
			l.Required(p.Child(f.name), "")
		} else {
			l.Each(p.Child(f.name), f.value, check.PathSegmentName(f.value, false))
		}
	}
	return l.Errors()
}

// ValidateIngressStatusUpdate checks an update of an Ingress's status.
func ValidateIngressStatusUpdate(ingress, before *networkingv1.Ingress) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&ingress.ObjectMeta, &before.ObjectMeta))
	var known []string
	for _, point := range before.Status.LoadBalancer.Ingress {
		known = append(known, point.IP)
	}
	for i, point := range ingress.Status.LoadBalancer.Ingress {
		p := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if point.IP != "" {
			l.Add(check.IP(p.Child("ip"), point.IP, known...))
		}
		if point.Hostname != "" {
			l.Each(p.Child("hostname"), point.Hostname, validation.IsDNS1123Subdomain(point.Hostname))
			if netutils.ParseIPSloppy(point.Hostname) != nil {
				l.Invalid(p.Child("hostname"), point.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors()
}

// SetDefaultsIngressClass makes parameters cluster-scoped unless they say otherwise.
func SetDefaultsIngressClass(class *networkingv1.IngressClass) {
	if parameters := class.Spec.Parameters; parameters != nil && parameters.Scope == nil {
		parameters.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

// ValidateIngressClass checks a new IngressClass.
func ValidateIngressClass(class *networkingv1.IngressClass) field.ErrorList {
	const maxController = 250
	var l check.List
	p, spec := field.NewPath("spec"), &class.Spec
	l.Add(check.ClusterMetadata(&class.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	if len(spec.Controller) > maxController {
		l.TooLong(p.Child("controller"), maxController)
	}
	l.Add(validation.IsDomainPrefixedPath(p.Child("controller"), spec.Controller))
	parameters := spec.Parameters
	if parameters == nil {
		return l.Errors()
	}
	p = p.Child("parameters")
	l.Add(validateReference(p, parameters.APIGroup, parameters.Kind, parameters.Name))
	if parameters.Scope == nil {
		l.Required(p.Child("scope"), "")
		return l.Errors()
	}
	switch *parameters.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if parameters.Namespace == nil {
			l.Required(p.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
		} else {
			l.Each(p.Child("namespace"), *parameters.Namespace, apivalidation.ValidateNamespaceName(*parameters.Namespace, false))
		}
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if parameters.Namespace != nil {
			l.Forbidden(p.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
		}
	default:
		l.Add(check.OneOf(p.Child("scope"), *parameters.Scope,
			networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace))
	}
	return l.Errors()
}

// ValidateIngressClassUpdate checks an update of an IngressClass.
func ValidateIngressClassUpdate(class, before *networkingv1.IngressClass) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&class.ObjectMeta, &before.ObjectMeta))
	l.Add(check.Immutable(field.NewPath("spec", "controller"), class.Spec.Controller, before.Spec.Controller))
	l.Add(ValidateIngressClass(class))
	return l.Errors()
}
