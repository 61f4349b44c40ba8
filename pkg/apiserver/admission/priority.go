// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
)

// Priority turns a pod's priorityClassName into its priority, and lets there be one default class.
type Priority struct {
	*admission.Handler
	classes schedulinglisters.PriorityClassLister
}

// NewPriority returns the plugin.
func NewPriority(classes schedulinglisters.PriorityClassLister) *Priority {
	return &Priority{admission.NewHandler(admission.Create, admission.Update), classes}
}

// Admit implements admission.MutationInterface.
func (p *Priority) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if keepPriority(a) {
		return nil
	}
	pod, ok := newPodOf(a)
	if !ok {
		return nil
	}
	var priority int32
	policy := corev1.PreemptLowerPriority
	if pod.Spec.PriorityClassName == "" {
		if class := p.defaultClass(); class != nil {
			pod.Spec.PriorityClassName, priority = class.Name, class.Value
			if class.PreemptionPolicy != nil {
				policy = *class.PreemptionPolicy
			}
		}
	} else {
		class, err := p.classes.Get(pod.Spec.PriorityClassName)
		if apierrors.IsNotFound(err) {
			return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
		}
		if err != nil {
			return fmt.Errorf("failed to get PriorityClass with name %s: %w", pod.Spec.PriorityClassName, err)
		}
		priority = class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != priority {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, priority))
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
		return admission.NewForbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &priority, &policy
	return nil
}

// keepPriority says that the request is the update of a pod, which keeps the priority that it got when it was created: who sends the manifest
// once more has not said any.
func keepPriority(a admission.Attributes) bool {
	pod, ok1 := a.GetObject().(*corev1.Pod)
	before, ok2 := a.GetOldObject().(*corev1.Pod)
	if !ok1 || !ok2 || a.GetOperation() != admission.Update || a.GetSubresource() != "" {
		return false
	}
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = before.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = before.Spec.PreemptionPolicy
	}
	return true
}

// Validate implements admission.ValidationInterface.
func (p *Priority) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok || a.GetSubresource() != "" || !class.GlobalDefault {
		return nil
	}
	current := p.defaultClass()
	if current == nil || current.Name == class.Name {
		return nil
	}
	return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", current.Name))
}

// defaultClass is the class of pods that name none; where there are several, the lowest, as in Kubernetes.
func (p *Priority) defaultClass() *schedulingv1.PriorityClass {
	classes, _ := p.classes.List(labels.Everything()) // reading a cache does not fail
	var found *schedulingv1.PriorityClass
	for _, c := range classes {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}

var (
	_ admission.MutationInterface   = (*Priority)(nil)
	_ admission.ValidationInterface = (*Priority)(nil)
)
