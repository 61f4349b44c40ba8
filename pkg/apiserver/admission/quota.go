// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	resourcequotaapi "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/hivemind-project/hivemind/pkg/quota"
)

// quotaWorkers charge quotas side by side, each one namespace at a time.
const quotaWorkers = 5

// uncounted are what is never stored, and Events.
var uncounted = map[schema.GroupResource]struct{}{
	{Resource: "bindings"}:                                                 {},
	{Resource: "componentstatuses"}:                                        {},
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             {},
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:       {},
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      {},
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  {},
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: {},
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   {},
	{Resource: "events"}:                         {},
	{Group: "events.k8s.io", Resource: "events"}: {},
}

// ResourceQuota charges what is created to the quotas of its namespace, and refuses what they have no room for. It is the library's
// plugin; a namespace without a quota passes it by.
type ResourceQuota struct {
	*resourcequota.QuotaAdmission
	quotas corelisters.ResourceQuotaLister
}

// NewResourceQuota returns the plugin; its workers end with stop.
func NewResourceQuota(client kubernetes.Interface, informers informers.SharedInformerFactory, stop <-chan struct{}) (*ResourceQuota, error) {
	library, err := resourcequota.NewResourceQuota(&resourcequotaapi.Configuration{}, quotaWorkers)
	if err != nil {
		return nil, fmt.Errorf("prepare admission by quota: %w", err)
	}
	library.SetDrainedNotification(stop)
	library.SetExternalKubeClientSet(client)
	library.SetExternalKubeInformerFactory(informers)
	library.SetQuotaConfiguration(generic.NewConfiguration(quota.Evaluators(nil), uncounted))
	if err := library.ValidateInitialization(); err != nil {
		return nil, fmt.Errorf("prepare admission by quota: %w", err)
	}
	return &ResourceQuota{library, informers.Core().V1().ResourceQuotas().Lister()}, nil
}

// Validate implements admission.ValidationInterface. A quota limits nothing before its controller has seen it, so a cache is
// as good as the storage here.
func (q *ResourceQuota) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if a.GetNamespace() == "" {
		return nil
	}
	if quotas, _ := q.quotas.ResourceQuotas(a.GetNamespace()).List(labels.Everything()); len(quotas) == 0 { // reading a cache does not fail
		return nil
	}
	return q.QuotaAdmission.Validate(ctx, a, o)
}

var _ admission.ValidationInterface = (*ResourceQuota)(nil)
