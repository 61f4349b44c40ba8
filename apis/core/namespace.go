// SPDX-License-Identifier: Apache-2.0

// This file holds what a Namespace is. Its finalizers in spec, written by the finalize subresource, hold it back until
// the namespace controller has emptied it.

package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// SetDefaultsNamespace labels a namespace with its own name, so that selectors can name it, and makes it active.
func SetDefaultsNamespace(ns *corev1.Namespace) {
	if ns.Name != "" {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[corev1.LabelMetadataName] = ns.Name
	}
	setIfEmpty(&ns.Status.Phase, corev1.NamespaceActive)
}

// PrepareNamespaceForCreate makes a namespace active and holds it back from disappearing unemptied. Name and label are
// brought in line here as well, for names that the server generated.
func PrepareNamespaceForCreate(ns *corev1.Namespace) {
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	SetDefaultsNamespace(ns)
}

// PrepareNamespaceForUpdate keeps the finalizers: they change through the finalize subresource alone.
func PrepareNamespaceForUpdate(ns, before *corev1.Namespace) {
	ns.Spec.Finalizers = before.Spec.Finalizers
	ns.Status = before.Status
	SetDefaultsNamespace(ns)
}

// ValidateNamespace checks a new Namespace.
func ValidateNamespace(ns *corev1.Namespace) field.ErrorList {
	var l check.List
	l.Add(check.ClusterMetadata(&ns.ObjectMeta, apivalidation.ValidateNamespaceName))
	p := field.NewPath("spec", "finalizers")
	for _, name := range ns.Spec.Finalizers {
		l.Add(validateFinalizer(p, name))
	}
	return l.Errors()
}

// ValidateNamespaceUpdate checks an update of a Namespace.
func ValidateNamespaceUpdate(ns, before *corev1.Namespace) field.ErrorList {
	return append(ValidateNamespace(ns), check.MetadataUpdate(&ns.ObjectMeta, &before.ObjectMeta)...)
}

// ValidateNamespaceStatusUpdate checks that the phase follows from deletion.
func ValidateNamespaceStatusUpdate(ns, before *corev1.Namespace) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&ns.ObjectMeta, &before.ObjectMeta))
	p := field.NewPath("status", "Phase")
	if ns.DeletionTimestamp.IsZero() {
		if ns.Status.Phase != corev1.NamespaceActive {
			l.Invalid(p, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
		}
	} else if ns.Status.Phase != corev1.NamespaceTerminating {
		l.Invalid(p, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return l.Errors()
}

// ValidateNamespaceFinalizeUpdate checks a write through the finalize subresource.
func ValidateNamespaceFinalizeUpdate(ns, before *corev1.Namespace) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&ns.ObjectMeta, &before.ObjectMeta))
	p := field.NewPath("spec", "finalizers")
	for i, name := range ns.Spec.Finalizers {
		l.Add(validateFinalizer(p.Index(i), name))
	}
	return l.Errors()
}

func validateFinalizer(p *field.Path, name corev1.FinalizerName) field.ErrorList {
	errs := apivalidation.ValidateFinalizerName(string(name), p)
	return append(errs, check.StandardFinalizer(p, string(name))...)
}
