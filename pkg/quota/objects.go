// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// byClass is what stands between a storage class and what is limited of it: gold.storageclass.storage.k8s.io/requests.storage.
const byClass = ".storageclass.storage.k8s.io/"

var claimResources = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}

// claims measures PersistentVolumeClaims.
func claims(list List) apiquota.Evaluator {
	return &evaluator[corev1.PersistentVolumeClaim]{
		resource: schema.GroupResource{Resource: "persistentvolumeclaims"}, list: list,
		handles: func(a admission.Attributes) bool {
			switch a.GetSubresource() {
			case "":
				return a.GetOperation() == admission.Create || a.GetOperation() == admission.Update
			case "status":
				claim, err := as[corev1.PersistentVolumeClaim](a.GetObject())
				old, errOld := as[corev1.PersistentVolumeClaim](a.GetOldObject())
				return err == nil && errOld == nil && ClaimChanged(old, claim)
			}
			return false
		},
		matching: func(name corev1.ResourceName) bool {
			return name == count("persistentvolumeclaims") || slices.ContainsFunc(claimResources, func(r corev1.ResourceName) bool {
				return name == r || strings.HasSuffix(string(name), byClass+string(r))
			})
		},
		usage: claimUsage,
		inScope: func(selector corev1.ScopedResourceSelectorRequirement, claim *corev1.PersistentVolumeClaim) (bool, error) {
			if selector.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
				return false, nil
			}
			return selects(selector, attributesClasses(claim)...)
		},
	}
}

// ClaimChanged tells whether a claim's status means another usage than before.
func ClaimChanged(old, claim *corev1.PersistentVolumeClaim) bool {
	return !old.Status.AllocatedResources.Storage().Equal(*claim.Status.AllocatedResources.Storage()) ||
		!slices.Equal(attributesClasses(old), attributesClasses(claim))
}

func claimUsage(claim *corev1.PersistentVolumeClaim) corev1.ResourceList {
	usage := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: number(1), count("persistentvolumeclaims"): number(1)}
	class := storagehelpers.GetPersistentVolumeClaimClass(claim)
	if class != "" {
		usage[corev1.ResourceName(class+byClass)+corev1.ResourcePersistentVolumeClaims] = number(1)
	}
	size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return usage
	}
	if allocated, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && allocated.Cmp(size) > 0 {
		size = allocated
	}
	size = wholeBytes(size)
	usage[corev1.ResourceRequestsStorage] = size
	if class != "" {
		usage[corev1.ResourceName(class+byClass)+corev1.ResourceRequestsStorage] = size
	}
	return usage
}

// wholeBytes rounds up what a status may not have: parts of a byte.
func wholeBytes(q resource.Quantity) resource.Quantity {
	rounded := q.DeepCopy()
	if rounded.RoundUp(0) {
		return q
	}
	return rounded
}

// attributesClasses are the VolumeAttributesClasses that the claim has, had, or is to have, sorted.
func attributesClasses(claim *corev1.PersistentVolumeClaim) []string {
	names := []string{ptr.Deref(claim.Spec.VolumeAttributesClassName, ""), ptr.Deref(claim.Status.CurrentVolumeAttributesClassName, "")}
	if m := claim.Status.ModifyVolumeStatus; m != nil {
		names = append(names, m.TargetVolumeAttributesClassName)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// services measures Services.
func services(list List) apiquota.Evaluator {
	known := []corev1.ResourceName{count("services"), corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
	return &evaluator[corev1.Service]{
		resource: schema.GroupResource{Resource: "services"}, list: list,
		handles: func(a admission.Attributes) bool {
			return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
		},
		matching: func(name corev1.ResourceName) bool { return slices.Contains(known, name) },
		usage:    serviceUsage,
	}
}

// serviceUsage goes by what the service asks for: its node ports have no numbers yet when it is charged for them.
func serviceUsage(service *corev1.Service) corev1.ResourceList {
	ports, balancers := 0, 0
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(service.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers, ports = 1, len(service.Spec.Ports)
		if !ptr.Deref(service.Spec.AllocateLoadBalancerNodePorts, true) {
			ports = 0
			for _, p := range service.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	return corev1.ResourceList{
		count("services"): number(1), corev1.ResourceServices: number(1),
		corev1.ResourceServicesNodePorts: number(ports), corev1.ResourceServicesLoadBalancers: number(balancers),
	}
}
