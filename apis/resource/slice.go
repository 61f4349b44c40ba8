// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// ResourceSliceFields are what field selectors select slices by.
func ResourceSliceFields(slice *resourcev1.ResourceSlice) fields.Set {
	set := fields.Set{
		resourcev1.ResourceSliceSelectorNodeName: "",
		resourcev1.ResourceSliceSelectorDriver:   slice.Spec.Driver,
		resourcev1.ResourceSliceSelectorPoolName: slice.Spec.Pool.Name,
	}
	if slice.Spec.NodeName != nil {
		set[resourcev1.ResourceSliceSelectorNodeName] = *slice.Spec.NodeName
	}
	return set
}

// PrepareResourceSliceForCreate takes out what is not served.
func PrepareResourceSliceForCreate(slice *resourcev1.ResourceSlice) {
	dropUnservedSliceFields(&slice.Spec)
}

// PrepareResourceSliceForUpdate takes out what is not served.
func PrepareResourceSliceForUpdate(slice, _ *resourcev1.ResourceSlice) {
	dropUnservedSliceFields(&slice.Spec)
}

// WarningsResourceSlice tells of a driver's name that is not in small letters.
func WarningsResourceSlice(slice, _ *resourcev1.ResourceSlice) []string {
	if driver := slice.Spec.Driver; driver != strings.ToLower(driver) {
		return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", driver)}
	}
	return nil
}

// ValidateResourceSlice checks a new ResourceSlice.
func ValidateResourceSlice(slice *resourcev1.ResourceSlice) field.ErrorList {
	errs := check.ClusterMetadata(&slice.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateSliceSpec(&slice.Spec, nil)...)
}

// ValidateResourceSliceUpdate checks an update of a ResourceSlice: it stays one of the driver, of the pool and of the node.
func ValidateResourceSliceUpdate(slice, before *resourcev1.ResourceSlice) field.ErrorList {
	errs := check.MetadataUpdate(&slice.ObjectMeta, &before.ObjectMeta)
	return append(errs, validateSliceSpec(&slice.Spec, &before.Spec)...)
}

func validateSliceSpec(spec, before *resourcev1.ResourceSliceSpec) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(core.ValidateCSIDriverName(p.Child("driver"), spec.Driver))
	l.Add(validatePool(p.Child("pool"), spec.Pool))
	if before != nil {
		l.Add(check.Immutable(p.Child("pool", "name"), spec.Pool.Name, before.Pool.Name))
		l.Add(check.Immutable(p.Child("driver"), spec.Driver, before.Driver))
		l.Add(check.Immutable(p.Child("nodeName"), spec.NodeName, before.NodeName))
	}
	l.Add(validateWhere(p, spec))
	if spec.SharedCounters != nil && spec.Devices != nil {
		l.Invalid(p, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	taints := map[string][]resourcev1.DeviceTaint{}
	if before != nil {
		for i := len(before.Devices) - 1; i >= 0; i-- {
			taints[before.Devices[i].Name] = before.Devices[i].Taints
		}
	}
	l.Add(validateSet(p.Child("devices"), spec.Devices, maxDevices(spec), func(p *field.Path, device resourcev1.Device) field.ErrorList {
		stored, known := taints[device.Name]
		return validateDevice(p, &device, stored, known, isTrue(spec.PerDeviceNodeSelection))
	}, func(device resourcev1.Device) string { return device.Name }))
	l.Add(validateSet(p.Child("sharedCounters"), spec.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, validateCounterSet,
		func(set resourcev1.CounterSet) string { return set.Name }))
	return l.Errors()
}

// maxDevices is how many devices a slice may have: fewer where they are described at length.
func maxDevices(spec *resourcev1.ResourceSliceSpec) int {
	for i := range spec.Devices {
		if len(spec.Devices[i].Taints) > 0 || len(spec.Devices[i].ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func validatePool(p *field.Path, pool resourcev1.ResourcePool) field.ErrorList {
	var l check.List
	l.Add(validatePoolName(p.Child("name"), pool.Name))
	l.Add(check.Positive(p.Child("resourceSliceCount"), pool.ResourceSliceCount))
	if pool.Generation < 0 {
		l.Invalid(p.Child("generation"), pool.Generation, "must be greater than or equal to zero")
	}
	return l.Errors()
}

// validateWhere checks that there is one answer to which nodes the devices can be used on.
func validateWhere(p *field.Path, spec *resourcev1.ResourceSliceSpec) field.ErrorList {
	const exactlyOne = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	var l check.List
	var set []string
	if name := spec.NodeName; name != nil && *name == "" {
		l.Invalid(p.Child("nodeName"), *name, "must be either unset or set to a non-empty string")
	} else if name != nil {
		set = append(set, "`nodeName`")
		l.Add(check.DNSSubdomain(p.Child("nodeName"), *name))
	}
	if selector := spec.NodeSelector; selector != nil {
		set = append(set, "`nodeSelector`")
		l.Add(core.ValidateNodeSelector(p.Child("nodeSelector"), selector))
		if len(selector.NodeSelectorTerms) != 1 {
			l.Invalid(p.Child("nodeSelector", "nodeSelectorTerms"), selector.NodeSelectorTerms, "must have exactly one node selector term")
		}
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", spec.AllNodes}, {"perDeviceNodeSelection", spec.PerDeviceNodeSelection}} {
		if isTrue(flag.value) {
			set = append(set, "`"+flag.name+"`")
		} else if flag.value != nil {
			l.Invalid(p.Child(flag.name), false, "must be either unset or set to true")
		}
	}
	switch len(set) {
	case 0:
		l.Required(p, exactlyOne)
	case 1:
	default:
		l.Invalid(p, joined(set), exactlyOne+", but multiple fields are set")
	}
	return l.Errors()
}

func validateCounterSet(p *field.Path, set resourcev1.CounterSet) field.ErrorList {
	var l check.List
	l.Add(validateRequiredLabel(p.Child("name"), set.Name))
	l.Add(validateCounters(p.Child("counters"), set.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet))
	return l.Errors()
}

func validateRequiredLabel(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return validateLabel(p, name)
}

func validateCounters(p *field.Path, counters map[string]resourcev1.Counter, limit int) field.ErrorList {
	if len(counters) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	return validateMap(p, counters, limit, utilvalidation.DNS1123LabelMaxLength, validateLabel, func(*field.Path, resourcev1.Counter) field.ErrorList { return nil })
}
