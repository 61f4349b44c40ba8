// SPDX-License-Identifier: Apache-2.0

package networking

import (
	"testing"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestWarnings(t *testing.T) {
	apitest.Warnings(t, `metadata: {name: i}`, WarningsIngress,
		apitest.Warned{Name: "class by annotation", Change: `metadata: {annotations: {kubernetes.io/ingress.class: x}}`,
			Want: []string{`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`}},
		apitest.Warned{Name: "class by both", Change: `{metadata: {annotations: {kubernetes.io/ingress.class: x}}, spec: {ingressClassName: x}}`})
	apitest.Warnings(t, `status: {loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: h}]}}`, WarningsIngressStatus,
		apitest.Warned{Name: "address", Change: `status: {loadBalancer: {ingress: [{ip: 1.2.3.04}]}}`,
			Want: []string{`status.loadBalancer.ingress[0]: non-standard IP address "1.2.3.04" is invalid: use "1.2.3.4"`}})
	apitest.Warnings(t, `spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {}}]}]}`, WarningsNetworkPolicy,
		apitest.Warned{Name: "ranges", Change: `spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/016]}}]}], egress: [{to: [{ipBlock: {cidr: 'FD00::/8'}}]}]}`, Want: []string{
			`spec.ingress[0].from[0].ipBlock.except[0]: non-standard CIDR value "10.1.0.0/016" is invalid: use "10.1.0.0/16"`,
			`spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")`}})
}
