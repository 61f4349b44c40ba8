// SPDX-License-Identifier: Apache-2.0

// This file holds who may write what of a ResourceClaim. Access to a device as an administrator is for namespaces that are
// labelled so. Allocating and reserving needs a right to the subresource "binding", and what is said of a device one to
// the subresource "driver"; neither is served, both exist for roles alone. See
// https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/.

package registry

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

// administration tells which namespaces may have access to devices as administrators.
type administration struct{ namespaces *Store }

func (a administration) validate(ctx context.Context, p *field.Path) field.ErrorList {
	obj, err := a.namespaces.Get(ctx, genericrequest.NamespaceValue(ctx), &metav1.GetOptions{})
	if err != nil {
		return field.ErrorList{field.InternalError(p, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	}
	if obj.(*corev1.Namespace).Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
		return field.ErrorList{field.Forbidden(p, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
	}
	return nil
}

// claimStrategy creates ResourceClaims and templates of them. That a claim of a namespace without the label has such
// access from before is fine: it cannot change.
type claimStrategy struct {
	strategy
	administration
	devices func(runtime.Object) *resourcev1.DeviceClaim
}

// attachAdministration has the stores of claims and of their templates ask namespaces.
func attachAdministration(claims, templates, namespaces *Store) {
	attach := func(s *Store, devices func(runtime.Object) *resourcev1.DeviceClaim) {
		s.CreateStrategy = claimStrategy{s.CreateStrategy.(strategy), administration{namespaces}, devices}
	}
	attach(claims, func(obj runtime.Object) *resourcev1.DeviceClaim { return &obj.(*resourcev1.ResourceClaim).Spec.Devices })
	attach(templates, func(obj runtime.Object) *resourcev1.DeviceClaim {
		return &obj.(*resourcev1.ResourceClaimTemplate).Spec.Spec.Devices
	})
}

// Validate implements rest.RESTCreateStrategy.
func (s claimStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	var errs field.ErrorList
	requests := s.devices(obj).Requests
	for i := range requests {
		if exactly := requests[i].Exactly; exactly != nil && exactly.AdminAccess != nil && *exactly.AdminAccess {
			errs = s.administration.validate(ctx, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
			break
		}
	}
	return append(errs, s.strategy.Validate(ctx, obj)...)
}

// claimStatusStrategy serves resourceclaims/status.
type claimStatusStrategy struct {
	statusStrategy
	administration
	authorizer authorizer.Authorizer
}

func newClaimStatusREST(claims, namespaces *Store, a authorizer.Authorizer) *statusREST {
	status := newStatusREST(claims)
	status.store.UpdateStrategy = claimStatusStrategy{status.store.UpdateStrategy.(statusStrategy), administration{namespaces}, a}
	return status
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s claimStatusStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	status, before := &obj.(*resourcev1.ResourceClaim).Status, &old.(*resourcev1.ResourceClaim).Status
	var errs field.ErrorList
	if administered(before.Allocation) < 0 {
		if i := administered(status.Allocation); i >= 0 {
			errs = s.administration.validate(ctx, field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"))
		}
	}
	errs = append(errs, s.mayBind(ctx, status, before)...)
	if status.Allocation != nil {
		errs = append(errs, s.mayReport(ctx, status, before)...)
	}
	return append(errs, s.statusStrategy.ValidateUpdate(ctx, obj, old)...)
}

// administered is the first device that was allocated for access as an administrator, -1 where there is none.
func administered(allocation *resourcev1.AllocationResult) int {
	if allocation == nil {
		return -1
	}
	return slices.IndexFunc(allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
		return r.AdminAccess != nil && *r.AdminAccess
	})
}

// mayBind checks the right to allocate and to reserve, which is one to all claims of the cluster.
func (s claimStatusStrategy) mayBind(ctx context.Context, status, before *resourcev1.ResourceClaimStatus) field.ErrorList {
	if equality.Semantic.DeepEqual(status.Allocation, before.Allocation) && equality.Semantic.DeepEqual(status.ReservedFor, before.ReservedFor) {
		return nil
	}
	p := field.NewPath("status", "allocation")
	request, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(p, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	verb := request.GetVerb()
	if err := s.authorize(ctx, claimRight{Attributes: request, verb: verb, subresource: resourcev1.SubresourceBinding}); err != nil {
		return field.ErrorList{field.Forbidden(p, fmt.Sprintf(`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, verb, err))}
	}
	return nil
}

// mayReport checks the right to speak for the driver of every device of which something else is said than before. Those
// on the claim's own node may have that right for their node alone.
func (s claimStatusStrategy) mayReport(ctx context.Context, status, before *resourcev1.ResourceClaimStatus) field.ErrorList {
	drivers := changedDrivers(status.Devices, before.Devices)
	if len(drivers) == 0 {
		return nil
	}
	p := field.NewPath("status", "devices")
	request, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(p, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	var verbs []string
	if node := allocatedNode(status.Allocation); node != "" && node == nodeOfServiceAccount(request.GetUser()) {
		verbs = append(verbs, resourcev1.VerbPrefixAssociatedNode+request.GetVerb())
	}
	verbs = append(verbs, resourcev1.VerbPrefixArbitraryNode+request.GetVerb())
	var errs field.ErrorList
	for _, driver := range drivers {
		if err := s.authorizeAny(ctx, request, verbs, driver); err != nil {
			errs = append(errs, field.Forbidden(p, fmt.Sprintf(`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, err)))
		}
	}
	return errs
}

// authorizeAny returns why the first verb is refused, unless any of them is allowed.
func (s claimStatusStrategy) authorizeAny(ctx context.Context, request authorizer.Attributes, verbs []string, driver string) error {
	var first error
	for _, verb := range verbs {
		err := s.authorize(ctx, claimRight{request, verb, resourcev1.SubresourceDriver, request.GetNamespace(), driver})
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (s claimStatusStrategy) authorize(ctx context.Context, right claimRight) error {
	decision, reason, err := s.authorizer.Authorize(ctx, right)
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return responsewriters.ForbiddenStatusError(right, reason)
}

// changedDrivers are the drivers, in order, of devices that were added, removed or changed.
func changedDrivers(devices, before []resourcev1.AllocatedDeviceStatus) []string {
	type id struct{ driver, pool, device, share string }
	of := func(d *resourcev1.AllocatedDeviceStatus) id {
		key := id{driver: d.Driver, pool: d.Pool, device: d.Device}
		if d.ShareID != nil {
			key.share = *d.ShareID
		}
		return key
	}
	was := map[id]*resourcev1.AllocatedDeviceStatus{}
	for i := range before {
		was[of(&before[i])] = &before[i]
	}
	drivers := sets.New[string]()
	for i := range devices {
		key := of(&devices[i])
		if old, ok := was[key]; !ok || !equality.Semantic.DeepEqual(*old, devices[i]) {
			drivers.Insert(devices[i].Driver)
		}
		delete(was, key)
	}
	for key := range was {
		drivers.Insert(key.driver)
	}
	return sets.List(drivers)
}

// allocatedNode is the one node on which the devices can be used, "" where that is not said by its name.
func allocatedNode(allocation *resourcev1.AllocationResult) string {
	if allocation == nil || allocation.NodeSelector == nil || len(allocation.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := allocation.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	name := term.MatchFields[0]
	if name.Key != metav1.ObjectNameField || name.Operator != corev1.NodeSelectorOpIn || len(name.Values) != 1 {
		return ""
	}
	return name.Values[0]
}

// nodeOfServiceAccount is the node of the pod that the user's token is bound to, "" where there is none.
func nodeOfServiceAccount(u user.Info) string {
	if _, _, err := serviceaccount.SplitUsername(u.GetName()); err != nil {
		return ""
	}
	names := u.GetExtra()[serviceaccount.NodeNameKey]
	if len(names) != 1 || len(apivalidation.NameIsDNSSubdomain(names[0], false)) > 0 {
		return ""
	}
	return names[0]
}

// claimRight is a request for a right of the one who sent the request.
type claimRight struct {
	authorizer.Attributes
	verb, subresource, namespace, name string
}

func (r claimRight) GetVerb() string        { return r.verb }
func (r claimRight) GetSubresource() string { return r.subresource }
func (r claimRight) GetNamespace() string   { return r.namespace }
func (r claimRight) GetName() string        { return r.name }
