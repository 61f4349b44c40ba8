// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

// apiServices is the table of APIServices: who answers for each, and whether it can be reached.
func apiServices() *table[apiregistrationv1.APIService] {
	return of(
		name[apiregistrationv1.APIService](),
		text("Service", "The reference to the service that hosts this API endpoint.", func(s *apiregistrationv1.APIService) any {
			if s.Spec.Service == nil {
				return "Local"
			}
			return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
		}),
		text("Available", "Whether this service is available.", func(s *apiregistrationv1.APIService) any {
			c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
			switch {
			case c == nil:
				return string(apiregistrationv1.ConditionUnknown)
			case c.Status != apiregistrationv1.ConditionTrue && c.Reason != "":
				return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
			}
			return string(c.Status)
		}),
		age[apiregistrationv1.APIService](),
	)
}
