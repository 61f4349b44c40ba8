// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/hivemind-project/hivemind/apis/apiregistration"
)

// aggregationRows are the kinds by which other servers take part in the API; pkg/apiserver/aggregation acts by them.
func aggregationRows() []*Resource {
	return []*Resource{
		Kind[apiregistrationv1.APIService]{
			Resource: "apiservices", Singular: "apiservice", Categories: []string{"api-extensions"}, StatusResets: []string{"metadata"},
			List:    func() runtime.Object { return &apiregistrationv1.APIServiceList{} },
			Cluster: true, Status: true, NeedsResourceVersion: true,
			SetDefaults: apiregistration.SetDefaultsAPIService, PrepareForCreate: apiregistration.PrepareAPIServiceForCreate,
			Validate: apiregistration.ValidateAPIService, ValidateUpdate: apiregistration.ValidateAPIServiceUpdate,
			ValidateStatusUpdate: apiregistration.ValidateAPIServiceStatusUpdate,
		}.in(apiregistrationv1.SchemeGroupVersion, "APIService"),
	}
}
