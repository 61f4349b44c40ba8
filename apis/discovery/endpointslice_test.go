// SPDX-License-Identifier: Apache-2.0

// This file checks what clients get wrong in EndpointSlices: the error is the one that kube-apiserver gives.

package discovery

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestEndpointSlice(t *testing.T) {
	kind := apitest.Kind[discoveryv1.EndpointSlice]{
		SetDefaults:      SetDefaultsEndpointSlice,
		PrepareForCreate: PrepareEndpointSliceForCreate,
		PrepareForUpdate: PrepareEndpointSliceForUpdate,
		Validate:         ValidateEndpointSlice,
		ValidateUpdate:   ValidateEndpointSliceUpdate,
	}
	const base = `
metadata: {name: web-1, namespace: default}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]
ports: [{port: 80}]
`
	kind.Create(t, base,
		apitest.Case{Name: `unknown type of address`, Change: `addressType: MAC`,
			Want: `addressType: Unsupported value: "MAC": supported values: "FQDN", "IPv4", "IPv6"`},
		apitest.Case{Name: `address of the other family`, Change: `endpoints: [{addresses: ['fd00::1']}]`,
			Want: `endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address`},
		apitest.Case{Name: `no address`, Change: `endpoints: [{addresses: []}]`,
			Want: `endpoints[0].addresses: Required value: must contain at least 1 address`},
		apitest.Case{Name: `loopback address`, Change: `endpoints: [{addresses: [127.0.0.1]}]`,
			Want: `endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`},
		apitest.Case{Name: `port name twice`, Change: `ports: [{name: a, port: 80}, {name: a, port: 81}]`,
			Want: `ports[1].name: Duplicate value: "a"`},
		apitest.Case{Name: `zone twice`, Change: `endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}, {name: a}]}}]`,
			Want: `endpoints[0].hints.forZones[1].name: Duplicate value: "a"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another type of address`, Change: `{addressType: IPv6, endpoints: [{addresses: ['fd00::1']}]}`,
			Want: `addressType: Invalid value: "IPv6": field is immutable`},
		apitest.Case{Name: `another type of the same addresses`, Change: `addressType: IPv6`,
			Want: `addressType: Invalid value: "IPv6": field is immutable`},
		apitest.Case{Name: `another endpoint`, Change: `endpoints: [{addresses: [10.0.0.2]}]`},
	)
}
