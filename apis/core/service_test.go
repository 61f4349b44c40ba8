// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in Services and Endpoints: the error is the one that kube-apiserver gives.

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestService(t *testing.T) {
	kind := apitest.Kind[corev1.Service]{
		SetDefaults:          SetDefaultsService,
		PrepareForUpdate:     PrepareServiceForUpdate,
		Validate:             ValidateService,
		ValidateUpdate:       ValidateServiceUpdate,
		ValidateStatusUpdate: ValidateServiceStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, selector: {app: web}, ports: [{port: 80}]}
`
	kind.Create(t, base,
		apitest.Case{Name: `no ports`, Change: `spec: {ports: []}`,
			Want: `spec.ports: Required value`},
		apitest.Case{Name: `bad name`, Change: `metadata: {name: web.1}`,
			Want: `metadata.name: Invalid value: "web.1": must not contain dots`},
		apitest.Case{Name: `name that begins with a digit`, Change: `metadata: {name: 1web}`},
		apitest.Case{Name: `unknown type`, Change: `spec: {type: Public}`,
			Want: `spec.type: Unsupported value: "Public": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`},
		apitest.Case{Name: `two ports without name`, Change: `spec: {ports: [{port: 80}, {port: 81}]}`,
			Want: `[spec.ports[0].name: Required value, spec.ports[1].name: Required value]`},
		apitest.Case{Name: `port twice`, Change: `spec: {ports: [{name: a, port: 80}, {name: b, port: 80}]}`,
			Want: `spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}`},
		apitest.Case{Name: `port out of range`, Change: `spec: {ports: [{port: 0}]}`,
			Want: `[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]`},
		apitest.Case{Name: `unknown protocol`, Change: `spec: {ports: [{port: 80, protocol: HTTP}]}`,
			Want: `spec.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"`},
		apitest.Case{Name: `target port name too long`, Change: `spec: {ports: [{port: 80, targetPort: administration-port}]}`,
			Want: `spec.ports[0].targetPort: Invalid value: "administration-port": must be no more than 15 characters`},
		apitest.Case{Name: `node port of a ClusterIP`, Change: `spec: {ports: [{port: 80, nodePort: 30080}]}`,
			Want: "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
		apitest.Case{Name: `headless NodePort`, Change: `spec: {type: NodePort, clusterIP: None, clusterIPs: [None]}`,
			Want: `spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`},
		apitest.Case{Name: `external name missing`, Change: `spec: {type: ExternalName, clusterIP: null, clusterIPs: null, ipFamilies: null, ipFamilyPolicy: null}`,
			Want: `spec.externalName: Required value`},
		apitest.Case{Name: `external name with an address`, Change: `spec: {type: ExternalName, externalName: a.b}`,
			Want: `[spec.clusterIPs: Forbidden: may not be set for ExternalName services, spec.ipFamilies: Forbidden: may not be set for ExternalName services, spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services]`},
		apitest.Case{Name: `affinity too long`, Change: `spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 100000}}}`,
			Want: `spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 100000: must be greater than 0 and less than 86400`},
		apitest.Case{Name: `unknown affinity`, Change: `spec: {sessionAffinity: Cookie}`,
			Want: `spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"`},
		apitest.Case{Name: `bad address`, Change: `spec: {clusterIP: here, clusterIPs: [here]}`,
			Want: `spec.clusterIPs[0]: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		apitest.Case{Name: `addresses that disagree`, Change: `spec: {clusterIPs: [10.96.0.6]}`,
			Want: "spec.clusterIPs: Invalid value: [\"10.96.0.6\"]: first value must match `clusterIP`"},
		apitest.Case{Name: `two addresses of one family`, Change: `spec: {clusterIPs: [10.96.0.5, 10.96.0.6]}`,
			Want: `spec.clusterIPs: Invalid value: ["10.96.0.5","10.96.0.6"]: may specify no more than one IP for each IP family`},
		apitest.Case{Name: `family that disagrees`, Change: `spec: {ipFamilies: [IPv6]}`,
			Want: "spec.clusterIPs[0]: Invalid value: \"10.96.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`"},
		apitest.Case{Name: `loopback as external address`, Change: `spec: {externalIPs: [127.0.0.1]}`,
			Want: `spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`},
		apitest.Case{Name: `external policy of an internal service`, Change: `spec: {externalTrafficPolicy: Local}`,
			Want: `spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`},
		apitest.Case{Name: `source ranges of an internal service`, Change: `spec: {loadBalancerSourceRanges: [10.0.0.0/8]}`,
			Want: "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"},
		apitest.Case{Name: `load balancer class of an internal service`, Change: `spec: {loadBalancerClass: a.io/b}`,
			Want: "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"},
		apitest.Case{Name: `unknown distribution`, Change: `spec: {trafficDistribution: Near}`,
			Want: `spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another address`, Change: `spec: {clusterIP: 10.96.0.6, clusterIPs: [10.96.0.6]}`,
			Want: `spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set`},
		apitest.Case{Name: `address unset`, Change: `spec: {clusterIP: null, clusterIPs: null}`,
			Want: `spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset`},
		apitest.Case{Name: `another family`, Change: `spec: {ipFamilies: [IPv6]}`,
			Want: "[spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set, spec.clusterIPs[0]: Invalid value: \"10.96.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`]"},
		apitest.Case{Name: `becomes external`, Change: `spec: {type: ExternalName, externalName: a.b}`},
		apitest.Case{Name: `second address`, Change: `spec: {clusterIPs: [10.96.0.5, 'fd00::5'], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `ingress of a ClusterIP`, Change: `status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}`,
			Want: "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"},
	)
}

func TestServiceLoadBalancer(t *testing.T) {
	kind := apitest.Kind[corev1.Service]{
		SetDefaults:          SetDefaultsService,
		PrepareForUpdate:     PrepareServiceForUpdate,
		Validate:             ValidateService,
		ValidateUpdate:       ValidateServiceUpdate,
		ValidateStatusUpdate: ValidateServiceStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, loadBalancerClass: a.io/b, externalTrafficPolicy: Local, healthCheckNodePort: 30100, clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, "fd00::5"], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, ports: [{port: 80, nodePort: 30080}]}
`
	kind.Create(t, base,
		apitest.Case{Name: `health check port missing`, Change: `spec: {healthCheckNodePort: null}`,
			Want: `spec.healthCheckNodePort: Required value`},
		apitest.Case{Name: `bad source range`, Change: `spec: {loadBalancerSourceRanges: [10.0.0.0/33]}`,
			Want: `spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/33": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another class`, Change: `spec: {loadBalancerClass: a.io/c}`,
			Want: `spec.loadBalancerClass: Invalid value: "a.io/c": may not change once set`},
		apitest.Case{Name: `another health check port`, Change: `spec: {healthCheckNodePort: 30101}`,
			Want: `spec.healthCheckNodePort: Forbidden: field is immutable`},
		apitest.Case{Name: `second address released`, Change: `spec: {clusterIPs: [10.96.0.5], ipFamilies: [IPv4]}`,
			Want: `[spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP, spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be set to 'SingleStack' when releasing the secondary ipFamily]`},
		apitest.Case{Name: `second address released by policy`, Change: `spec: {clusterIPs: [10.96.0.5], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack}`},
		apitest.Case{Name: `becomes internal`, Change: `spec: {type: ClusterIP}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `bad mode`, Change: `status: {loadBalancer: {ingress: [{ip: 1.2.3.4, ipMode: Odd}]}}`,
			Want: `status.loadBalancer.ingress[0].ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP"`},
		apitest.Case{Name: `address as name`, Change: `status: {loadBalancer: {ingress: [{hostname: 1.2.3.4}]}}`,
			Want: `status.loadBalancer.ingress[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`},
	)
}

func TestEndpoints(t *testing.T) {
	kind := apitest.Kind[corev1.Endpoints]{
		SetDefaults:    SetDefaultsEndpoints,
		Validate:       ValidateEndpoints,
		ValidateUpdate: ValidateEndpointsUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]
`
	kind.Create(t, base,
		apitest.Case{Name: `no addresses`, Change: `subsets: [{ports: [{port: 80}]}]`,
			Want: "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"},
		apitest.Case{Name: `link-local address`, Change: `subsets: [{addresses: [{ip: 169.254.0.1}], ports: [{port: 80}]}]`,
			Want: `subsets[0].addresses[0].ip: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)`},
		apitest.Case{Name: `two ports without name`, Change: `subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}, {port: 81}]}]`,
			Want: `[subsets[0].ports[0].name: Required value, subsets[0].ports[1].name: Required value]`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `bad address`, Change: `subsets: [{addresses: [{ip: 10.0.0.01}]}]`,
			Want: `subsets[0].addresses[0].ip: Invalid value: "10.0.0.01": must not have leading 0s`},
	)
}
