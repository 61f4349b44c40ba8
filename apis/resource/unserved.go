// SPDX-License-Identifier: Apache-2.0

// This file lists the fields that the API has but that no part of a cluster acts on, because Kubernetes has them behind
// feature gates that are off: DRADerivedAttributes, DRADeviceCompatibilityGroups, DRAListTypeAttributes,
// DRANodeAllocatableResources, DRAOptionalNodeOperations and DRAPartitionableDevicesType. As there, they are taken out of
// what is written.

package resource

import resourcev1 "k8s.io/api/resource/v1"

func dropUnservedClaimFields(spec *resourcev1.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		request := &spec.Devices.Requests[i]
		if request.Exactly != nil {
			request.Exactly.DerivedAttributes = nil
		}
		for j := range request.FirstAvailable {
			request.FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

func dropUnservedAllocationFields(allocation *resourcev1.AllocationResult) {
	if allocation == nil {
		return
	}
	for i := range allocation.Devices.Results {
		allocation.Devices.Results[i].SkipNodeOperations = nil
	}
}

func dropUnservedSliceFields(spec *resourcev1.ResourceSliceSpec) {
	spec.PartitionTypeAttribute = nil
	spec.SkipNodeOperations = nil
	for i := range spec.Devices {
		device := &spec.Devices[i]
		device.NodeAllocatableResources = nil
		for name, attribute := range device.Attributes {
			attribute.IntValues, attribute.BoolValues, attribute.StringValues, attribute.VersionValues = nil, nil, nil, nil
			device.Attributes[name] = attribute
		}
		for j := range device.ConsumesCounters {
			device.ConsumesCounters[j].CompatibilityGroups = nil
		}
	}
}
