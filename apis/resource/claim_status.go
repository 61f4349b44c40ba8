// SPDX-License-Identifier: Apache-2.0

// This file holds the status of claims: what was allocated, for whom it is reserved, and what drivers say of it.

package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// PrepareResourceClaimForStatusUpdate takes out what is not served, and what drivers said of devices that are no longer
// the claim's.
func PrepareResourceClaimForStatusUpdate(claim, before *resourcev1.ResourceClaim) {
	dropUnservedAllocationFields(claim.Status.Allocation)
	gone := allocatedDevices(before.Status.Allocation).Difference(allocatedDevices(claim.Status.Allocation))
	var kept []resourcev1.AllocatedDeviceStatus
	for _, device := range claim.Status.Devices {
		if !gone.Has(reportedDevice(device)) {
			kept = append(kept, device)
		}
	}
	claim.Status.Devices = kept
}

// ValidateResourceClaimStatusUpdate checks an update of the status. Who may say what in it is not decided here.
func ValidateResourceClaimStatusUpdate(claim, before *resourcev1.ResourceClaim) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&claim.ObjectMeta, &before.ObjectMeta))
	p := field.NewPath("status")
	status := &claim.Status
	l.Add(validateSet(p.Child("reservedFor"), status.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, validateConsumer, consumerUID))
	allocated := allocatedDevices(status.Allocation)
	l.Add(validateSet(p.Child("devices"), status.Devices, unlimited, func(p *field.Path, device resourcev1.AllocatedDeviceStatus) field.ErrorList {
		return validateDeviceStatus(p, device, allocated)
	}, reportedDevice))
	l.Add(validateReservations(p.Child("reservedFor"), claim, before))
	switch p := p.Child("allocation"); {
	case status.Allocation == nil:
	case before.Status.Allocation != nil:
		l.Add(check.Immutable(p, status.Allocation, before.Status.Allocation))
	default:
		l.Add(validateAllocation(p, status.Allocation, namesOfRequests(&claim.Spec.Devices)))
	}
	return l.Errors()
}

// validateReservations checks that only what is allocated is reserved, and nothing anew that is being deleted.
func validateReservations(p *field.Path, claim, before *resourcev1.ResourceClaim) field.ErrorList {
	var l check.List
	switch {
	case len(claim.Status.ReservedFor) == 0:
	case claim.Status.Allocation == nil:
		l.Forbidden(p, "may not be specified when `allocated` is not set")
	case claim.DeletionTimestamp != nil && !sets.New(before.Status.ReservedFor...).HasAll(claim.Status.ReservedFor...):
		l.Forbidden(p, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
	}
	return l.Errors()
}

func validateConsumer(p *field.Path, consumer resourcev1.ResourceClaimConsumerReference) field.ErrorList {
	var l check.List
	for _, part := range []struct{ name, value string }{{"resource", consumer.Resource}, {"name", consumer.Name}, {"uid", string(consumer.UID)}} {
		if part.value == "" {
			l.Required(p.Child(part.name), "")
		}
	}
	return l.Errors()
}

func validateAllocation(p *field.Path, allocation *resourcev1.AllocationResult, names requestNames) field.ErrorList {
	var l check.List
	devices := p.Child("devices")
	l.Add(validateList(devices.Child("results"), allocation.Devices.Results, resourcev1.AllocationResultsMaxSize, func(p *field.Path, result resourcev1.DeviceRequestAllocationResult) field.ErrorList {
		return validateResult(p, result, names)
	}))
	// Those of the class and those of the claim.
	l.Add(validateList(devices.Child("config"), allocation.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, func(p *field.Path, config resourcev1.DeviceAllocationConfiguration) field.ErrorList {
		var l check.List
		l.Add(check.RequiredOneOf(p.Child("source"), config.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass))
		l.Add(validateReferences(p.Child("requests"), config.Requests, names))
		l.Add(validateConfiguration(p, config.DeviceConfiguration, false))
		return l.Errors()
	}))
	if allocation.NodeSelector != nil {
		l.Add(core.ValidateNodeSelector(p.Child("nodeSelector"), allocation.NodeSelector))
	}
	return l.Errors()
}

func validateResult(p *field.Path, result resourcev1.DeviceRequestAllocationResult, names requestNames) field.ErrorList {
	var l check.List
	l.Add(names.validateReference(p.Child("request"), result.Request))
	l.Add(core.ValidateCSIDriverName(p.Child("driver"), result.Driver))
	l.Add(validatePoolName(p.Child("pool"), result.Pool))
	l.Add(validateLabel(p.Child("device"), result.Device))
	l.Add(validateBindingConditions(p, result.BindingConditions, result.BindingFailureConditions))
	if result.ShareID != nil {
		l.Add(validateUID(p.Child("shareID"), string(*result.ShareID)))
	}
	return l.Errors()
}

func validateDeviceStatus(p *field.Path, device resourcev1.AllocatedDeviceStatus, allocated sets.Set[deviceID]) field.ErrorList {
	var l check.List
	l.Add(core.ValidateCSIDriverName(p.Child("driver"), device.Driver))
	l.Add(validatePoolName(p.Child("pool"), device.Pool))
	l.Add(validateLabel(p.Child("device"), device.Device))
	if device.ShareID != nil {
		l.Add(validateUID(p.Child("shareID"), *device.ShareID))
	}
	if id := reportedDevice(device); !allocated.Has(id) {
		l.Invalid(p, id, "must be an allocated device in the claim")
	}
	conditions := p.Child("conditions")
	if len(device.Conditions) > resourcev1.AllocatedDeviceStatusMaxConditions {
		l.TooMany(conditions, len(device.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions)
	}
	l.Add(metavalidation.ValidateConditions(device.Conditions, conditions))
	if device.Data != nil && len(device.Data.Raw) > 0 {
		l.Add(validateRaw(p.Child("data"), *device.Data, false, resourcev1.AllocatedDeviceStatusDataMaxLength))
	}
	if device.NetworkData != nil {
		l.Add(validateNetworkData(p.Child("networkData"), device.NetworkData))
	}
	return l.Errors()
}

func validateNetworkData(p *field.Path, data *resourcev1.NetworkDeviceData) field.ErrorList {
	var l check.List
	if len(data.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		l.TooLong(p.Child("interfaceName"), resourcev1.NetworkDeviceDataInterfaceNameMaxLength)
	}
	if len(data.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		l.TooLong(p.Child("hardwareAddress"), resourcev1.NetworkDeviceDataHardwareAddressMaxLength)
	}
	l.Add(validateSet(p.Child("ips"), data.IPs, resourcev1.NetworkDeviceDataMaxIPs, utilvalidation.IsValidInterfaceAddress, itself))
	return l.Errors()
}
