// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"testing"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestWarnings(t *testing.T) {
	apitest.Warnings(t, `{addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}`, WarningsEndpointSlice,
		apitest.Warned{Name: "names", Change: `{addressType: FQDN, endpoints: [{addresses: [a.example.com]}]}`, Want: []string{"spec.addressType: FQDN endpoints are deprecated"}},
		apitest.Warned{Name: "address", Change: `endpoints: [{addresses: [10.0.0.01]}]`, Want: []string{`endpoints[0].addresses[0]: non-standard IP address "10.0.0.01" is invalid: use "10.0.0.1"`}},
		apitest.Warned{Name: "address of a controller", Change: `{metadata: {labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}, endpoints: [{addresses: [10.0.0.01]}]}`})
}
