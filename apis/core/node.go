// SPDX-License-Identifier: Apache-2.0

// This file holds what a Node is.

package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsNode makes all capacity allocatable unless some is kept back, and aligns podCIDR with podCIDRs.
func SetDefaultsNode(node *corev1.Node) {
	roundUp(node.Status.Capacity)
	if node.Status.Allocatable == nil {
		node.Status.Allocatable = node.Status.Capacity.DeepCopy()
	}
	roundUp(node.Status.Allocatable)
	if one := node.Spec.PodCIDR; one != "" && (len(node.Spec.PodCIDRs) == 0 || node.Spec.PodCIDRs[0] != one) {
		node.Spec.PodCIDRs = []string{one}
	}
	if len(node.Spec.PodCIDRs) > 0 {
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	}
}

// PrepareNodeForCreate takes out configuration of the kubelet through the API, which no longer exists.
func PrepareNodeForCreate(node *corev1.Node) {
	node.Spec.ConfigSource = nil
	node.Status.Config = nil
}

// PrepareNodeForUpdate does what PrepareNodeForCreate does.
func PrepareNodeForUpdate(node, _ *corev1.Node) { PrepareNodeForCreate(node) }

// ValidateNode checks a new Node.
func ValidateNode(node *corev1.Node) field.ErrorList {
	var l check.List
	p := field.NewPath("metadata")
	l.Add(check.ClusterMetadata(&node.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateNodeAnnotations(p.Child("annotations"), node.Annotations))
	l.Add(validateTaints(p.Child("taints"), node.Spec.Taints))
	l.Add(validateNodeResources(&node.Status))
	if swap := node.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil {
		l.Add(check.Positive(p.Child("nodeSwapStatus", "capacity"), *swap.Capacity))
	}
	l.Add(validateDeclaredFeatures(field.NewPath("status", "declaredFeatures"), node.Status.DeclaredFeatures))
	l.Add(validatePodCIDRs(field.NewPath("spec", "podCIDRs"), node.Spec.PodCIDRs))
	return l.Errors()
}

// ValidateNodeUpdate checks an update of a Node.
func ValidateNodeUpdate(node, before *corev1.Node) field.ErrorList {
	return append(ValidateNode(node), ValidateNodeStatusUpdate(node, before)...)
}

// ValidateNodeStatusUpdate checks an update of a Node's status.
func ValidateNodeStatusUpdate(node, before *corev1.Node) field.ErrorList {
	var l check.List
	meta, spec, status := field.NewPath("metadata"), field.NewPath("spec"), field.NewPath("status")
	l.Add(check.MetadataUpdate(&node.ObjectMeta, &before.ObjectMeta))
	l.Add(validateNodeAnnotations(meta.Child("annotations"), node.Annotations))
	l.Add(validateNodeResources(&node.Status))
	l.Add(validateDeclaredFeatures(status.Child("declaredFeatures"), node.Status.DeclaredFeatures))
	addresses := sets.New[corev1.NodeAddress]()
	for i, address := range node.Status.Addresses {
		if addresses.Has(address) {
			l.Duplicate(status.Child("addresses").Index(i), address)
		}
		addresses.Insert(address)
	}
	const cidrs = "node updates may not change podCIDR except from \"\" to valid"
	if older := before.Spec.PodCIDRs; len(older) > 0 {
		if len(older) != len(node.Spec.PodCIDRs) {
			l.Forbidden(spec.Child("podCIDRs"), cidrs)
		} else {
			for i := range older {
				if older[i] != node.Spec.PodCIDRs[i] {
					l.Forbidden(spec.Child("podCIDRs"), cidrs)
				}
			}
		}
	}
	if before.Spec.ProviderID != "" && before.Spec.ProviderID != node.Spec.ProviderID {
		l.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid")
	}
	l.Add(validateTaints(meta.Child("taints"), node.Spec.Taints))
	if node.Spec.DoNotUseExternalID != before.Spec.DoNotUseExternalID {
		l.Forbidden(spec.Child("externalID"), "may not be updated")
	}
	return l.Errors()
}

func validateNodeAnnotations(p *field.Path, annotations map[string]string) field.ErrorList {
	var l check.List
	if value := annotations[corev1.TaintsAnnotationKey]; value != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(value), &taints); err != nil {
			l.Invalid(p, corev1.TaintsAnnotationKey, err.Error())
		} else {
			l.Add(validateTaints(p.Child(corev1.TaintsAnnotationKey), taints))
		}
	}
	if value := annotations[corev1.PreferAvoidPodsAnnotationKey]; value != "" {
		var avoid corev1.AvoidPods
		if err := json.Unmarshal([]byte(value), &avoid); err != nil {
			l.Invalid(p.Child("AvoidPods"), corev1.PreferAvoidPodsAnnotationKey, err.Error())
		}
		for i, entry := range avoid.PreferAvoidPods {
			p := p.Child(corev1.PreferAvoidPodsAnnotationKey).Index(i).Child("PodSignature")
			if controller := entry.PodSignature.PodController; controller == nil {
				l.Required(p, "")
			} else if !isTrue(controller.Controller) {
				l.Invalid(p.Child("PodController", "Controller"), false, "must point to a controller")
			}
		}
	}
	return l.Errors()
}

func validateTaints(p *field.Path, taints []corev1.Taint) field.ErrorList {
	var l check.List
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := sets.New[identity]()
	for i, taint := range taints {
		p := p.Index(i)
		l.Add(check.LabelName(p.Child("key"), taint.Key))
		if messages := validation.IsValidLabelValue(taint.Value); len(messages) > 0 {
			l.Invalid(p.Child("value"), taint.Value, strings.Join(messages, ";"))
		}
		l.Add(validateTaintEffect(p.Child("effect"), taint.Effect))
		id := identity{taint.Key, taint.Effect}
		if seen.Has(id) {
			l.DuplicateBecause(p, taint, "taints must be unique by key and effect pair")
		}
		seen.Insert(id)
	}
	return l.Errors()
}

func validateNodeResources(status *corev1.NodeStatus) field.ErrorList {
	var l check.List
	for _, list := range []struct {
		name string
		list corev1.ResourceList
	}{{"capacity", status.Capacity}, {"allocatable", status.Allocatable}} {
		for _, name := range sortedNames(list.list) {
			l.Add(validateQuantity(field.NewPath("status", list.name, string(name)), name, list.list[name]))
		}
	}
	return l.Errors()
}

// validateDeclaredFeatures checks the features that a kubelet declares (KEP-5328): sorted, unique, in CamelCase.
func validateDeclaredFeatures(p *field.Path, features []string) field.ErrorList {
	if len(features) == 0 {
		return nil
	}
	var l check.List
	name := regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)
	for i, feature := range features {
		switch {
		case len(feature) > validation.DNS1123SubdomainMaxLength:
			l.Invalid(p.Index(i), feature, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", feature, validation.DNS1123SubdomainMaxLength))
		case !name.MatchString(feature):
			l.Invalid(p.Index(i), feature, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, "+
				"with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", feature))
		}
		if i+1 < len(features) {
			switch next := features[i+1]; {
			case feature == next:
				l.Duplicate(p.Index(i+1), next)
			case feature > next:
				l.Invalid(p.Index(i+1), next, "list must be sorted alphabetically")
			}
		}
	}
	return l.Errors()
}

func validatePodCIDRs(p *field.Path, cidrs []string) field.ErrorList {
	var l check.List
	for i, cidr := range cidrs {
		l.Add(check.CIDR(p.Index(i), cidr))
	}
	if len(cidrs) > 1 {
		dualStack, err := netutils.IsDualStackCIDRStrings(cidrs)
		if err != nil {
			l.Internal(p, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err))
		}
		if !dualStack || len(cidrs) > 2 {
			l.Invalid(p, cidrs, "may specify no more than one CIDR for each IP family")
		}
	}
	return l.Errors()
}
