// SPDX-License-Identifier: Apache-2.0

// This file holds what a Service is, but for the addresses and node ports that the server allocates: those are validated
// after they were allocated.

package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsService fills in what a Service leaves open.
func SetDefaultsService(service *corev1.Service) {
	spec := &service.Spec
	setIfEmpty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	setIfEmpty(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		setIfEmpty(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if externallyAccessible(service) {
		setIfEmpty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		setIfNil(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		setIfNil(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range service.Status.LoadBalancer.Ingress {
			if ingress := &service.Status.LoadBalancer.Ingress[i]; ingress.IP != "" {
				setIfNil(&ingress.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// PrepareServiceForUpdate takes out of an update what depends on the type that the service had and no longer has, as far
// as the writer did not touch it: so that changing the type alone is enough.
func PrepareServiceForUpdate(service, before *corev1.Service) {
	now, older := &service.Spec, &before.Spec
	if older.Type != corev1.ServiceTypeExternalName && now.Type == corev1.ServiceTypeExternalName {
		if now.ClusterIP == older.ClusterIP && slices.Equal(now.ClusterIPs, older.ClusterIPs) {
			now.ClusterIP, now.ClusterIPs = "", nil
		}
		if slices.Equal(now.IPFamilies, older.IPFamilies) {
			now.IPFamilies = nil
		}
		if same(now.IPFamilyPolicy, older.IPFamilyPolicy) {
			now.IPFamilyPolicy = nil
		}
		if same(now.InternalTrafficPolicy, older.InternalTrafficPolicy) {
			now.InternalTrafficPolicy = nil // kube-apiserver leaves it out of what it answers
		}
	}
	if hasNodePorts(before) && !hasNodePorts(service) {
		ports := func(spec *corev1.ServiceSpec) sets.Set[int32] {
			set := sets.New[int32]()
			for _, port := range spec.Ports {
				if port.NodePort != 0 {
					set.Insert(port.NodePort)
				}
			}
			return set
		}
		if ports(older).IsSuperset(ports(now)) {
			for i := range now.Ports {
				now.Ports[i].NodePort = 0
			}
		}
	}
	if needsHealthCheck(before) && !needsHealthCheck(service) && now.HealthCheckNodePort == older.HealthCheckNodePort {
		now.HealthCheckNodePort = 0
	}
	if older.Type == corev1.ServiceTypeLoadBalancer && now.Type != corev1.ServiceTypeLoadBalancer {
		if now.AllocateLoadBalancerNodePorts != nil && same(now.AllocateLoadBalancerNodePorts, older.AllocateLoadBalancerNodePorts) {
			now.AllocateLoadBalancerNodePorts = nil
		}
		if same(now.LoadBalancerClass, older.LoadBalancerClass) {
			now.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(before) && !externallyAccessible(service) && now.ExternalTrafficPolicy == older.ExternalTrafficPolicy {
		now.ExternalTrafficPolicy = ""
	}
	if now.Type != corev1.ServiceTypeLoadBalancer {
		service.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// ValidateService checks a new Service.
func ValidateService(service *corev1.Service) field.ErrorList {
	errs := check.Metadata(&service.ObjectMeta, apivalidation.NameIsDNSLabel)
	return append(errs, validateService(service, &corev1.Service{})...)
}

// ValidateServiceUpdate checks an update of a Service.
func ValidateServiceUpdate(service, before *corev1.Service) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&service.ObjectMeta, &before.ObjectMeta))
	l.Add(validateClusterIPsUpdate(p, &service.Spec, &before.Spec))
	l.Add(validateIPFamiliesUpdate(p, &service.Spec, &before.Spec))
	if balanced := corev1.ServiceTypeLoadBalancer; service.Spec.Type == balanced && before.Spec.Type == balanced &&
		!same(service.Spec.LoadBalancerClass, before.Spec.LoadBalancerClass) {
		l.Invalid(p.Child("loadBalancerClass"), service.Spec.LoadBalancerClass, "may not change once set")
	}
	if needsHealthCheck(before) && needsHealthCheck(service) && service.Spec.HealthCheckNodePort != before.Spec.HealthCheckNodePort {
		l.Forbidden(p.Child("healthCheckNodePort"), "field is immutable")
	}
	l.Add(validateService(service, before))
	return l.Errors()
}

// ValidateServiceStatusUpdate checks an update of a Service's status.
func ValidateServiceStatusUpdate(service, before *corev1.Service) field.ErrorList {
	errs := check.MetadataUpdate(&service.ObjectMeta, &before.ObjectMeta)
	return append(errs, validateLoadBalancerStatus(field.NewPath("status", "loadBalancer", "ingress"), service, before)...)
}

// validateService holds the rules for create and update; before is empty on create.
func validateService(service, before *corev1.Service) field.ErrorList {
	var l check.List
	p, spec := field.NewPath("spec"), &service.Spec
	headless := isHeadless(service)
	mode, hasMode := service.Annotations[corev1.AnnotationTopologyMode]
	hints, hasHints := service.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if hasMode && hasHints && mode != hints {
		l.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))
	}
	if len(spec.Ports) == 0 && !headless && spec.Type != corev1.ServiceTypeExternalName {
		l.Required(p.Child("ports"), "")
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless {
			l.Invalid(p.Child("clusterIPs").Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type))
		}
	case corev1.ServiceTypeExternalName:
		l.Add(validateExternalName(p, spec))
	}
	names := sets.New[string]()
	for i, port := range spec.Ports {
		l.Add(validateServicePort(p.Child("ports").Index(i), port, len(spec.Ports) > 1, names))
	}
	if spec.Selector != nil {
		l.Add(check.Labels(p.Child("selector"), spec.Selector))
	}
	l.Add(check.RequiredOneOf(p.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone))
	l.Add(validateAffinityConfig(p.Child("sessionAffinityConfig"), spec))
	l.Add(validateClusterIPs(p, spec, &before.Spec))
	for i, ip := range spec.ExternalIPs {
		at := p.Child("externalIPs").Index(i)
		if errs := check.IP(at, ip, before.Spec.ExternalIPs...); len(errs) > 0 {
			l.Add(errs)
		} else {
			l.Add(check.EndpointIP(at, ip))
		}
	}
	l.Add(check.RequiredOneOf(p.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort))
	l.Add(validatePortConflicts(p.Child("ports"), spec))
	l.Add(validateLoadBalancer(p, service, before))
	l.Add(validateTrafficPolicies(p, service))
	return l.Errors()
}

func validateExternalName(p *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var l check.List
	const why = "may not be set for ExternalName services"
	if len(spec.ClusterIPs) > 0 {
		l.Forbidden(p.Child("clusterIPs"), why)
	}
	if len(spec.IPFamilies) > 0 {
		l.Forbidden(p.Child("ipFamilies"), why)
	}
	if spec.IPFamilyPolicy != nil {
		l.Forbidden(p.Child("ipFamilyPolicy"), why)
	}
	if name := strings.TrimSuffix(spec.ExternalName, "."); name == "" {
		l.Required(p.Child("externalName"), "")
	} else {
		l.Add(check.DNSSubdomain(p.Child("externalName"), name))
	}
	return l.Errors()
}

func validateServicePort(p *field.Path, port corev1.ServicePort, needName bool, names sets.Set[string]) field.ErrorList {
	var l check.List
	if port.Name != "" {
		l.Add(check.DNSLabel(p.Child("name"), port.Name))
		if names.Has(port.Name) {
			l.Duplicate(p.Child("name"), port.Name)
		}
		names.Insert(port.Name)
	} else if needName {
		l.Required(p.Child("name"), "")
	}
	l.Each(p.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))
	l.Add(validateProtocol(p.Child("protocol"), port.Protocol))
	l.Add(check.PortNumOrName(p.Child("targetPort"), port.TargetPort))
	if port.AppProtocol != nil {
		l.Add(check.QualifiedName(p.Child("appProtocol"), *port.AppProtocol))
	}
	return l.Errors()
}

func validateAffinityConfig(p *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var l check.List
	config := spec.SessionAffinityConfig
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			l.Forbidden(p, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone))
		}
	case corev1.ServiceAffinityClientIP:
		const longest = 86400
		when := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
		switch {
		case config == nil:
			l.Required(p, when)
		case config.ClientIP == nil:
			l.Required(p.Child("clientIP"), when)
		case config.ClientIP.TimeoutSeconds == nil:
			l.Required(p.Child("clientIP", "timeoutSeconds"), when)
		default:
			if seconds := config.ClientIP.TimeoutSeconds; *seconds <= 0 || *seconds > longest {
				l.Invalid(p.Child("clientIP", "timeoutSeconds"), seconds, fmt.Sprintf("must be greater than 0 and less than %d", longest))
			}
		}
	}
	return l.Errors()
}

func validatePortConflicts(p *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var l check.List
	type number struct {
		protocol corev1.Protocol
		port     int32
	}
	nodePorts, ports := sets.New[number](), sets.New[number]()
	for i, port := range spec.Ports {
		if port.NodePort == 0 {
			continue
		}
		if spec.Type == corev1.ServiceTypeClusterIP {
			l.Forbidden(p.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
		}
		n := number{port.Protocol, port.NodePort}
		if nodePorts.Has(n) {
			l.Duplicate(p.Index(i).Child("nodePort"), port.NodePort)
		}
		nodePorts.Insert(n)
	}
	for i, port := range spec.Ports {
		n := number{port.Protocol, port.Port}
		if ports.Has(n) {
			l.Duplicate(p.Index(i), corev1.ServicePort{Protocol: port.Protocol, Port: port.Port})
		}
		ports.Insert(n)
	}
	return l.Errors()
}

func validateTrafficPolicies(p *field.Path, service *corev1.Service) field.ErrorList {
	var l check.List
	spec := &service.Spec
	external := p.Child("externalTrafficPolicy")
	if externallyAccessible(service) {
		l.Add(check.RequiredOneOf(external, spec.ExternalTrafficPolicy,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal))
	} else if spec.ExternalTrafficPolicy != "" {
		l.Invalid(external, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	health := p.Child("healthCheckNodePort")
	switch needed := needsHealthCheck(service); {
	case !needed && spec.HealthCheckNodePort != 0:
		l.Invalid(health, spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case needed && spec.HealthCheckNodePort == 0:
		l.Required(health, "")
	case needed:
		l.Each(health, spec.HealthCheckNodePort, validation.IsValidPortNum(int(spec.HealthCheckNodePort)))
	}
	if spec.InternalTrafficPolicy != nil {
		l.Add(check.OneOf(p.Child("internalTrafficPolicy"), *spec.InternalTrafficPolicy,
			corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal))
	} else if spec.Type == corev1.ServiceTypeClusterIP || hasNodePorts(service) {
		l.Required(p.Child("internalTrafficPolicy"), "")
	}
	if spec.TrafficDistribution != nil {
		l.Add(check.OneOf(p.Child("trafficDistribution"), *spec.TrafficDistribution, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode))
	}
	return l.Errors()
}

func isHeadless(service *corev1.Service) bool {
	return len(service.Spec.ClusterIPs) == 1 && service.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func hasNodePorts(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeNodePort || service.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func externallyAccessible(service *corev1.Service) bool {
	return hasNodePorts(service) || service.Spec.Type == corev1.ServiceTypeClusterIP && len(service.Spec.ExternalIPs) > 0
}

func needsHealthCheck(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// same compares what pointers point to; two nil pointers are the same.
func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// validateLoadBalancer checks the fields that load balancers alone have.
func validateLoadBalancer(p *field.Path, service, before *corev1.Service) field.ErrorList {
	var l check.List
	const only = "may only be used when `type` is 'LoadBalancer'"
	spec, balanced := &service.Spec, service.Spec.Type == corev1.ServiceTypeLoadBalancer
	annotation, annotated := service.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if len(spec.LoadBalancerSourceRanges) > 0 {
		p := p.Child("LoadBalancerSourceRanges")
		if !balanced {
			l.Forbidden(p, only)
		}
		known := make([]string, len(before.Spec.LoadBalancerSourceRanges))
		for i, cidr := range before.Spec.LoadBalancerSourceRanges {
			known[i] = strings.TrimSpace(cidr)
		}
		for i, cidr := range spec.LoadBalancerSourceRanges {
			l.Add(check.CIDR(p.Index(i), strings.TrimSpace(cidr), known...))
		}
	} else if annotated {
		p := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		if !balanced {
			l.Forbidden(p, only)
		}
		if value := strings.TrimSpace(annotation); value != "" && before.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] != annotation {
			for _, cidr := range strings.Split(value, ",") {
				l.Add(check.CIDR(p, strings.TrimSpace(cidr)))
			}
		}
	}
	if allocate := spec.AllocateLoadBalancerNodePorts; allocate != nil && !balanced {
		l.Forbidden(p.Child("allocateLoadBalancerNodePorts"), only)
	} else if allocate == nil && balanced {
		l.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	}
	if class := spec.LoadBalancerClass; class != nil {
		if balanced {
			l.Add(check.QualifiedName(p.Child("loadBalancerClass"), *class))
		} else {
			l.Forbidden(p.Child("loadBalancerClass"), only)
		}
	}
	return l.Errors()
}

func validateLoadBalancerStatus(p *field.Path, service, before *corev1.Service) field.ErrorList {
	var l check.List
	ingresses := service.Status.LoadBalancer.Ingress
	if len(ingresses) > 0 && service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		l.Forbidden(p, "may only be used when `spec.type` is 'LoadBalancer'")
		return l.Errors()
	}
	var known []string
	for _, ingress := range before.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			known = append(known, ingress.IP)
		}
	}
	for i, ingress := range ingresses {
		p := p.Index(i)
		if ingress.IP != "" {
			l.Add(check.IP(p.Child("ip"), ingress.IP, known...))
		}
		switch {
		case ingress.IPMode == nil && ingress.IP != "":
			l.Required(p.Child("ipMode"), "must be specified when `ip` is set")
		case ingress.IPMode != nil && ingress.IP == "":
			l.Forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set")
		case ingress.IPMode != nil:
			l.Add(check.OneOf(p.Child("ipMode"), *ingress.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP))
		}
		if ingress.Hostname != "" {
			l.Each(p.Child("hostname"), ingress.Hostname, validation.IsDNS1123Subdomain(ingress.Hostname))
			if netutils.ParseIPSloppy(ingress.Hostname) != nil {
				l.Invalid(p.Child("hostname"), ingress.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors()
}
