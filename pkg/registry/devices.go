// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/apis/resource"
)

// deviceRows are the kinds of dynamic resource allocation. claim.go says who may write what of a claim.
func deviceRows() []*Resource {
	v1 := resourcev1.SchemeGroupVersion
	return []*Resource{
		Kind[resourcev1.DeviceClass]{
			ReturnDeleted: true,
			Resource:      "deviceclasses", Singular: "deviceclass", Cluster: true, Generation: true,
			List:     func() runtime.Object { return &resourcev1.DeviceClassList{} },
			Validate: resource.ValidateDeviceClass, ValidateUpdate: resource.ValidateDeviceClassUpdate,
		}.in(v1, "DeviceClass"),
		Kind[resourcev1.ResourceClaim]{
			ReturnDeleted: true, StatusResets: []string{"metadata"},
			Resource: "resourceclaims", Singular: "resourceclaim", Status: true,
			List:             func() runtime.Object { return &resourcev1.ResourceClaimList{} },
			SetDefaults:      resource.SetDefaultsResourceClaim,
			PrepareForCreate: resource.PrepareResourceClaimForCreate, PrepareForUpdate: resource.PrepareResourceClaimForUpdate,
			PrepareForStatusUpdate: resource.PrepareResourceClaimForStatusUpdate,
			Validate:               resource.ValidateResourceClaim, ValidateUpdate: resource.ValidateResourceClaimUpdate,
			ValidateStatusUpdate: resource.ValidateResourceClaimStatusUpdate,
		}.in(v1, "ResourceClaim"),
		Kind[resourcev1.ResourceClaimTemplate]{
			ReturnDeleted: true,
			Resource:      "resourceclaimtemplates", Singular: "resourceclaimtemplate",
			List:             func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
			SetDefaults:      resource.SetDefaultsResourceClaimTemplate,
			PrepareForCreate: resource.PrepareResourceClaimTemplateForCreate, PrepareForUpdate: resource.PrepareResourceClaimTemplateForUpdate,
			Validate: resource.ValidateResourceClaimTemplate, ValidateUpdate: resource.ValidateResourceClaimTemplateUpdate,
		}.in(v1, "ResourceClaimTemplate"),
		Kind[resourcev1.ResourceSlice]{
			ReturnDeleted: true,
			Resource:      "resourceslices", Singular: "resourceslice", Cluster: true, Generation: true,
			List:             func() runtime.Object { return &resourcev1.ResourceSliceList{} },
			SetDefaults:      resource.SetDefaultsResourceSlice,
			PrepareForCreate: resource.PrepareResourceSliceForCreate, PrepareForUpdate: resource.PrepareResourceSliceForUpdate,
			Validate: resource.ValidateResourceSlice, ValidateUpdate: resource.ValidateResourceSliceUpdate,
			Fields: resource.ResourceSliceFields, UnknownField: "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: %s",
			Warnings: resource.WarningsResourceSlice,
		}.in(v1, "ResourceSlice"),
	}
}

// NodeOfResourceSlice returns the node whose devices the slice has, "" where it is of no single node.
func (r *Registry) NodeOfResourceSlice(ctx context.Context, name string) (string, error) {
	obj, err := r.Store("resource.k8s.io", "resourceslices").Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if node := obj.(*resourcev1.ResourceSlice).Spec.NodeName; node != nil {
		return *node, nil
	}
	return "", nil
}
