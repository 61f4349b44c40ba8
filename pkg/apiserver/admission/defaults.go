// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// tolerationSeconds is how long a pod stays on a node that has gone quiet.
const tolerationSeconds = int64(300)

// DefaultTolerationSeconds makes pods leave nodes that are not ready or unreachable after five minutes, unless they say otherwise.
type DefaultTolerationSeconds struct{ *admission.Handler }

// NewDefaultTolerationSeconds returns the plugin.
func NewDefaultTolerationSeconds() *DefaultTolerationSeconds {
	return &DefaultTolerationSeconds{admission.NewHandler(admission.Create, admission.Update)}
}

// Admit implements admission.MutationInterface.
func (*DefaultTolerationSeconds) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "" {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil
	}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		tolerated := slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
		})
		if !tolerated {
			seconds := tolerationSeconds
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
	return nil
}

// DefaultStorageClass gives claims that name no class the default one.
type DefaultStorageClass struct {
	*admission.Handler
	classes storagelisters.StorageClassLister
}

// NewDefaultStorageClass returns the plugin.
func NewDefaultStorageClass(classes storagelisters.StorageClassLister) *DefaultStorageClass {
	return &DefaultStorageClass{admission.NewHandler(admission.Create), classes}
}

// Admit implements admission.MutationInterface.
func (p *DefaultStorageClass) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok || a.GetSubresource() != "" || claim.Spec.StorageClassName != nil {
		return nil
	}
	if _, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named {
		return nil
	}
	classes, _ := p.classes.List(labels.Everything()) // reading a cache does not fail
	if class := newestDefault(classes, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"); class != nil {
		claim.Spec.StorageClassName = &class.Name
	}
	return nil
}

// newestDefault is the newest of the classes that are marked as default by one of the annotations; of several made in one second, the first
// by name.
func newestDefault[C interface {
	comparable
	metav1.Object
}](classes []C, annotations ...string) C {
	var found, none C
	for _, c := range classes {
		if !slices.ContainsFunc(annotations, func(a string) bool { return c.GetAnnotations()[a] == "true" }) {
			continue
		}
		if found == none {
			found = c
			continue
		}
		was, is := found.GetCreationTimestamp(), c.GetCreationTimestamp()
		if was.Before(&is) || was.Equal(&is) && c.GetName() < found.GetName() {
			found = c
		}
	}
	return found
}

// DefaultIngressClass gives Ingresses that name no class the default one.
type DefaultIngressClass struct {
	*admission.Handler
	classes networkinglisters.IngressClassLister
}

// NewDefaultIngressClass returns the plugin.
func NewDefaultIngressClass(classes networkinglisters.IngressClassLister) *DefaultIngressClass {
	return &DefaultIngressClass{admission.NewHandler(admission.Create), classes}
}

// Admit implements admission.MutationInterface.
func (p *DefaultIngressClass) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	ingress, ok := a.GetObject().(*networkingv1.Ingress)
	if !ok || a.GetSubresource() != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, named := ingress.Annotations["kubernetes.io/ingress.class"]; named {
		return nil
	}
	classes, _ := p.classes.List(labels.Everything()) // reading a cache does not fail
	if class := newestDefault(classes, networkingv1.AnnotationIsDefaultIngressClass); class != nil {
		ingress.Spec.IngressClassName = &class.Name
	}
	return nil
}

// TaintNodesByCondition keeps pods from a new node until the node controller has seen that it is ready.
type TaintNodesByCondition struct{ *admission.Handler }

// NewTaintNodesByCondition returns the plugin.
func NewTaintNodesByCondition() *TaintNodesByCondition {
	return &TaintNodesByCondition{admission.NewHandler(admission.Create)}
}

// Admit implements admission.MutationInterface.
func (*TaintNodesByCondition) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := a.GetObject().(*corev1.Node)
	if !ok || a.GetSubresource() != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
	return nil
}

// PersistentVolumeClaimResize lets claims grow whose class allows it.
type PersistentVolumeClaimResize struct {
	*admission.Handler
	classes storagelisters.StorageClassLister
}

// NewPersistentVolumeClaimResize returns the plugin.
func NewPersistentVolumeClaimResize(classes storagelisters.StorageClassLister) *PersistentVolumeClaimResize {
	return &PersistentVolumeClaimResize{admission.NewHandler(admission.Update), classes}
}

// Validate implements admission.ValidationInterface.
func (p *PersistentVolumeClaimResize) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	old, okOld := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !okOld || a.GetSubresource() != "" || claim.Spec.Resources.Requests.Storage().Cmp(*old.Spec.Resources.Requests.Storage()) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(a, errors.New("Only bound persistent volume claims can be expanded"))
	}
	name := storagehelpers.GetPersistentVolumeClaimClass(claim)
	if class, err := p.classes.Get(name); name == "" || name != storagehelpers.GetPersistentVolumeClaimClass(old) || err != nil || !ptr.Deref(class.AllowVolumeExpansion, false) {
		return admission.NewForbidden(a, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}

// StorageObjectInUseProtection marks volumes, claims and classes of volume attributes so that they are not deleted while in use.
type StorageObjectInUseProtection struct{ *admission.Handler }

// NewStorageObjectInUseProtection returns the plugin.
func NewStorageObjectInUseProtection() *StorageObjectInUseProtection {
	return &StorageObjectInUseProtection{admission.NewHandler(admission.Create)}
}

// Admit implements admission.MutationInterface.
func (*StorageObjectInUseProtection) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	switch o := a.GetObject().(type) {
	case *corev1.PersistentVolume:
		o.Finalizers = with(o.Finalizers, "kubernetes.io/pv-protection")
	case *corev1.PersistentVolumeClaim:
		o.Finalizers = with(o.Finalizers, "kubernetes.io/pvc-protection")
	case *storagev1.VolumeAttributesClass:
		o.Finalizers = with(o.Finalizers, "kubernetes.io/vac-protection")
	}
	return nil
}

func with(finalizers []string, f string) []string {
	if slices.Contains(finalizers, f) {
		return finalizers
	}
	return append(finalizers, f)
}

var (
	_ admission.MutationInterface = (*DefaultTolerationSeconds)(nil)
	_ admission.MutationInterface = (*DefaultStorageClass)(nil)
	_ admission.MutationInterface = (*DefaultIngressClass)(nil)
	_ admission.MutationInterface = (*TaintNodesByCondition)(nil)
	_ admission.MutationInterface = (*StorageObjectInUseProtection)(nil)

	_ admission.ValidationInterface = (*PersistentVolumeClaimResize)(nil)
)
