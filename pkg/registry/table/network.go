// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forNetwork knows Services, endpoints, and the groups networking.k8s.io and discovery.k8s.io.
func forNetwork(kind schema.GroupKind) rest.TableConvertor {
	switch kind {
	case schema.GroupKind{Kind: "Service"}:
		return services()
	case schema.GroupKind{Kind: "Endpoints"}:
		return of(name[corev1.Endpoints](),
			text("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"], endpoints),
			age[corev1.Endpoints]())
	case schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}:
		return endpointSlices()
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}:
		return ingresses()
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"}:
		return ingressClasses()
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:
		return of(name[networkingv1.NetworkPolicy](),
			text("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"], func(p *networkingv1.NetworkPolicy) any {
				return metav1.FormatLabelSelector(&p.Spec.PodSelector)
			}),
			age[networkingv1.NetworkPolicy]())
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"}:
		return of(name[networkingv1.ServiceCIDR](),
			text("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"], func(c *networkingv1.ServiceCIDR) any { return strings.Join(c.Spec.CIDRs, ",") }),
			age[networkingv1.ServiceCIDR]())
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "IPAddress"}:
		return of(name[networkingv1.IPAddress](),
			text("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"], parentOfAddress))
	}
	return nil
}

func services() *table[corev1.Service] {
	spec := corev1.ServiceSpec{}.SwaggerDoc()
	return of(
		name[corev1.Service](),
		text("Type", spec["type"], func(s *corev1.Service) any { return string(s.Spec.Type) }),
		text("Cluster-IP", spec["clusterIP"], func(s *corev1.Service) any {
			if len(s.Spec.ClusterIPs) == 0 {
				return "<none>"
			}
			return s.Spec.ClusterIPs[0]
		}),
		text("External-IP", spec["externalIPs"], externalIPs),
		text("Port(s)", spec["ports"], func(s *corev1.Service) any {
			return or(list(s.Spec.Ports, func(p *corev1.ServicePort) string {
				if p.NodePort > 0 {
					return fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
				}
				return fmt.Sprintf("%d/%s", p.Port, p.Protocol)
			}), "<none>")
		}),
		age[corev1.Service](),
		text("Selector", spec["selector"], func(s *corev1.Service) any { return labels.FormatLabels(s.Spec.Selector) }).wide(),
	)
}

func externalIPs(s *corev1.Service) any {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return or(strings.Join(s.Spec.ExternalIPs, ","), "<none>")
	case corev1.ServiceTypeLoadBalancer:
		var given []string
		for _, i := range s.Status.LoadBalancer.Ingress {
			given = append(given, or(i.IP, i.Hostname))
		}
		return or(strings.Join(append(distinct(given), s.Spec.ExternalIPs...), ","), "<pending>")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return "<unknown>"
}

// distinct sorts the values and drops empty ones and repetitions.
func distinct(values []string) []string {
	slices.Sort(values)
	return slices.DeleteFunc(slices.Compact(values), func(s string) bool { return s == "" })
}

func endpoints(e *corev1.Endpoints) any {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var all []string
	for _, s := range e.Subsets {
		// A headless Service may have addresses and no ports.
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return firstOf(all, 3, ",")
}

func endpointSlices() *table[discoveryv1.EndpointSlice] {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return of(
		name[discoveryv1.EndpointSlice](),
		text("AddressType", doc["addressType"], func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }),
		text("Ports", doc["ports"], func(s *discoveryv1.EndpointSlice) any {
			var all []string
			for _, p := range s.Ports {
				switch {
				case p.Port != nil:
					all = append(all, strconv.Itoa(int(*p.Port)))
				default:
					all = append(all, deref(p.Name, "*"))
				}
			}
			return or(firstOf(all, 3, ","), "<unset>")
		}),
		text("Endpoints", doc["endpoints"], func(s *discoveryv1.EndpointSlice) any {
			var all []string
			for _, e := range s.Endpoints {
				all = append(all, e.Addresses...)
			}
			return or(firstOf(all, 3, ","), "<unset>")
		}),
		age[discoveryv1.EndpointSlice](),
	)
}

func ingresses() *table[networkingv1.Ingress] {
	return of(
		name[networkingv1.Ingress](),
		text("Class", "The name of the IngressClass resource that should be used for additional configuration", func(i *networkingv1.Ingress) any {
			return deref(i.Spec.IngressClassName, "<none>")
		}),
		text("Hosts", "Hosts that incoming requests are matched against before the ingress rule", ingressHosts),
		text("Address", "Address is a list containing ingress points for the load-balancer", func(i *networkingv1.Ingress) any {
			var given []string
			for _, at := range i.Status.LoadBalancer.Ingress {
				given = append(given, or(at.IP, at.Hostname))
			}
			return strings.Join(distinct(given), ",")
		}),
		text("Ports", "Ports of TLS configurations that open", func(i *networkingv1.Ingress) any {
			if len(i.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}),
		age[networkingv1.Ingress](),
	)
}

// ingressHosts names up to three hosts. Rules count whether they name one or not.
func ingressHosts(i *networkingv1.Ingress) any {
	var hosts []string
	rest := 0
	for at, rule := range i.Spec.Rules {
		if len(hosts) == 3 {
			rest = len(i.Spec.Rules) - 3
			break
		}
		if i.Spec.Rules[at].Host != "" {
			hosts = append(hosts, rule.Host)
		}
	}
	switch {
	case len(hosts) == 0:
		return "*"
	case rest > 0:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), rest)
	}
	return strings.Join(hosts, ",")
}

func ingressClasses() *table[networkingv1.IngressClass] {
	return of(
		nameBy(func(c *networkingv1.IngressClass) any {
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				return c.Name + " (default)"
			}
			return c.Name
		}),
		text("Controller", "Controller that is responsible for handling this class", func(c *networkingv1.IngressClass) any { return c.Spec.Controller }),
		text("Parameters", "A reference to a resource with additional parameters", func(c *networkingv1.IngressClass) any {
			p := c.Spec.Parameters
			if p == nil {
				return "<none>"
			}
			kind := p.Kind
			if p.APIGroup != nil {
				kind += "." + *p.APIGroup
			}
			return kind + "/" + p.Name
		}),
		age[networkingv1.IngressClass](),
	)
}

func parentOfAddress(a *networkingv1.IPAddress) any {
	ref := a.Spec.ParentRef
	if ref == nil {
		return "<none>"
	}
	parent := strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())
	if ref.Namespace != "" {
		parent += "/" + ref.Namespace
	}
	return parent + "/" + ref.Name
}
