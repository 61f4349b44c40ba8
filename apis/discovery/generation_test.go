// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestEndpointSliceChanged(t *testing.T) {
	const base = `{metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]}`
	for _, c := range []struct {
		name, change string
		want         bool
	}{
		{"same", ``, false},
		{"annotation", `metadata: {annotations: {a: b}}`, false},
		{"label", `metadata: {labels: {a: b}}`, true},
		{"endpoint", `endpoints: [{addresses: [10.0.0.2]}]`, true},
		{"port", `ports: []`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			slice, before := apitest.Object[discoveryv1.EndpointSlice](t, base, c.change), apitest.Object[discoveryv1.EndpointSlice](t, base)
			if got := EndpointSliceChanged(slice, before); got != c.want {
				t.Errorf("changed = %t, want %t", got, c.want)
			}
		})
	}
}
