// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// WarningsEndpointSlice returns what is to be said about a slice that is valid but not as it should be. The addresses in those of
// the cluster's own controllers are.
func WarningsEndpointSlice(s, before *discoveryv1.EndpointSlice) []string {
	var w check.Warnings
	if before == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		// The path is kube-apiserver's.
		w.At(field.NewPath("spec", "addressType"), "FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return w.Texts()
	}
	for i := range s.Endpoints {
		for j, address := range s.Endpoints[i].Addresses {
			w.IP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)
		}
	}
	return w.Texts()
}
