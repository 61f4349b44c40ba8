// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetDefaultsResourceClaim fills in the defaults of a ResourceClaim: a request is for exactly one device.
func SetDefaultsResourceClaim(claim *resourcev1.ResourceClaim) {
	setClaimDefaults(&claim.Spec)
	if claim.Status.Allocation != nil {
		for i := range claim.Status.Allocation.Devices.Results {
			setTolerationDefaults(claim.Status.Allocation.Devices.Results[i].Tolerations)
		}
	}
}

// SetDefaultsResourceClaimTemplate fills in the defaults of the claims that are made of a ResourceClaimTemplate.
func SetDefaultsResourceClaimTemplate(template *resourcev1.ResourceClaimTemplate) {
	setClaimDefaults(&template.Spec.Spec)
}

// SetDefaultsResourceSlice fills in the defaults of a ResourceSlice: a taint is as old as the moment it is written.
func SetDefaultsResourceSlice(slice *resourcev1.ResourceSlice) {
	for i := range slice.Spec.Devices {
		for j := range slice.Spec.Devices[i].Taints {
			if taint := &slice.Spec.Devices[i].Taints[j]; taint.TimeAdded == nil {
				taint.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
			}
		}
	}
}

func setClaimDefaults(spec *resourcev1.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		request := &spec.Devices.Requests[i]
		if exactly := request.Exactly; exactly != nil {
			setCountDefaults(&exactly.AllocationMode, &exactly.Count)
			setTolerationDefaults(exactly.Tolerations)
		}
		for j := range request.FirstAvailable {
			sub := &request.FirstAvailable[j]
			setCountDefaults(&sub.AllocationMode, &sub.Count)
			setTolerationDefaults(sub.Tolerations)
		}
	}
}

func setCountDefaults(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}

func setTolerationDefaults(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}
