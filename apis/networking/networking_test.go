// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in networking kinds: the error is the one that kube-apiserver gives.

package networking

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestIngress(t *testing.T) {
	kind := apitest.Kind[networkingv1.Ingress]{
		Validate:             ValidateIngress,
		ValidateUpdate:       ValidateIngressUpdate,
		ValidateStatusUpdate: ValidateIngressStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {ingressClassName: nginx, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
`
	kind.Create(t, base,
		apitest.Case{Name: `no rules`, Change: `spec: {rules: []}`,
			Want: "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"},
		apitest.Case{Name: `address as host`, Change: `spec: {rules: [{host: 1.2.3.4}]}`,
			Want: `spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`},
		apitest.Case{Name: `star within a host`, Change: `spec: {rules: [{host: 'a.*.b'}]}`,
			Want: "spec.rules[0].host: Invalid value: \"a.*.b\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
		apitest.Case{Name: `relative path`, Change: `spec: {rules: [{http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}`,
			Want: `spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path`},
		apitest.Case{Name: `path that climbs`, Change: `spec: {rules: [{http: {paths: [{path: /a/../b, pathType: Exact, backend: {service: {name: web, port: {number: 80}}}}]}}]}`,
			Want: `spec.rules[0].http.paths[0].path: Invalid value: "/a/../b": must not contain '/../'`},
		apitest.Case{Name: `no path type`, Change: `spec: {rules: [{http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}`,
			Want: `spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified`},
		apitest.Case{Name: `backend without port`, Change: `spec: {defaultBackend: {service: {name: web}}}`,
			Want: `spec.defaultBackend: Required value: port name or number is required`},
		apitest.Case{Name: `backend of nothing`, Change: `spec: {defaultBackend: {}}`,
			Want: `spec.defaultBackend: Invalid value: "": resource or service backend is required`},
		apitest.Case{Name: `class that differs from the annotation`, Change: `metadata: {annotations: {kubernetes.io/ingress.class: haproxy}}`,
			Want: "annotations.kubernetes.io/ingress.class: Invalid value: \"haproxy\": must match `ingressClassName` when both are specified"},
	)
	kind.Update(t, base,
		apitest.Case{Name: `bad secret name`, Change: `spec: {tls: [{secretName: A_b}]}`,
			Want: "spec.tls[0].secretName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `bad address`, Change: `status: {loadBalancer: {ingress: [{ip: here}]}}`,
			Want: `status.loadBalancer.ingress[0].ip: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
	)
}

func TestIngressClass(t *testing.T) {
	kind := apitest.Kind[networkingv1.IngressClass]{
		SetDefaults:    SetDefaultsIngressClass,
		Validate:       ValidateIngressClass,
		ValidateUpdate: ValidateIngressClassUpdate,
	}
	const base = `
metadata: {name: nginx}
spec: {controller: a.io/nginx}
`
	kind.Create(t, base,
		apitest.Case{Name: `no controller`, Change: `spec: {controller: ''}`,
			Want: `spec.controller: Required value`},
		apitest.Case{Name: `parameters of a namespace without it`, Change: `spec: {parameters: {kind: X, name: y, scope: Namespace}}`,
			Want: "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another controller`, Change: `spec: {controller: a.io/other}`,
			Want: `spec.controller: Invalid value: "a.io/other": field is immutable`},
	)
}

func TestNetworkPolicy(t *testing.T) {
	kind := apitest.Kind[networkingv1.NetworkPolicy]{
		SetDefaults:    SetDefaultsNetworkPolicy,
		Validate:       ValidateNetworkPolicy,
		ValidateUpdate: ValidateNetworkPolicyUpdate,
	}
	const base = `
metadata: {name: deny, namespace: default}
spec: {podSelector: {}}
`
	kind.Create(t, base,
		apitest.Case{Name: `peer of nothing`, Change: `spec: {ingress: [{from: [{}]}]}`,
			Want: `spec.ingress[0].from[0]: Required value: must specify a peer`},
		apitest.Case{Name: `block and selector`, Change: `spec: {ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}`,
			Want: `spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer`},
		apitest.Case{Name: `exception outside the block`, Change: `spec: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}`,
			Want: "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"},
		apitest.Case{Name: `block with host bits`, Change: `spec: {egress: [{to: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}`,
			Want: `spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length`},
		apitest.Case{Name: `range that goes back`, Change: `spec: {ingress: [{ports: [{port: 90, endPort: 80}]}]}`,
			Want: "spec.ingress[0].ports[0].endPort: Invalid value: 90: must be greater than or equal to `port`"},
		apitest.Case{Name: `unknown type`, Change: `spec: {policyTypes: [Both]}`,
			Want: `spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `unknown protocol`, Change: `spec: {ingress: [{ports: [{protocol: HTTP}]}]}`,
			Want: `spec.ingress[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "TCP", "UDP", "SCTP"`},
	)
}

func TestIPAddress(t *testing.T) {
	kind := apitest.Kind[networkingv1.IPAddress]{
		Validate:       ValidateIPAddress,
		ValidateUpdate: ValidateIPAddressUpdate,
	}
	const base = `
metadata: {name: 10.96.0.1}
spec: {parentRef: {resource: services, name: web, namespace: default}}
`
	kind.Create(t, base,
		apitest.Case{Name: `name that is no address`, Change: `metadata: {name: web}`,
			Want: `metadata.name: Invalid value: "web": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		apitest.Case{Name: `no parent`, Change: `spec: {parentRef: null}`,
			Want: `spec.parentRef: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another parent`, Change: `spec: {parentRef: {name: other}}`,
			Want: `spec.parentRef: Invalid value: {"Group":"","Resource":"services","Namespace":"default","Name":"other"}: field is immutable`},
	)
}

func TestServiceCIDR(t *testing.T) {
	kind := apitest.Kind[networkingv1.ServiceCIDR]{
		Validate:             ValidateServiceCIDR,
		ValidateUpdate:       ValidateServiceCIDRUpdate,
		ValidateStatusUpdate: ValidateServiceCIDRStatusUpdate,
	}
	const base = `
metadata: {name: main}
spec: {cidrs: [10.96.0.0/16]}
`
	kind.Create(t, base,
		apitest.Case{Name: `no subnet`, Change: `spec: {cidrs: []}`,
			Want: `spec.cidrs: Required value: at least one CIDR required`},
		apitest.Case{Name: `two of one family`, Change: `spec: {cidrs: [10.96.0.0/16, 10.97.0.0/16]}`,
			Want: `spec.cidrs: Invalid value: ["10.96.0.0/16","10.97.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another subnet`, Change: `spec: {cidrs: [10.97.0.0/16]}`,
			Want: `spec.cidrs[0]: Invalid value: "10.97.0.0/16": field is immutable`},
		apitest.Case{Name: `second family`, Change: `spec: {cidrs: [10.96.0.0/16, 'fd00::/112']}`},
	)
}
