// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	storagelisters "k8s.io/client-go/listers/storage/v1"
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
	if class := p.defaultClass(); class != nil {
		claim.Spec.StorageClassName = &class.Name
	}
	return nil
}

// defaultClass is the newest of the classes marked as default; of several made in one second, the first by name.
func (p *DefaultStorageClass) defaultClass() *storagev1.StorageClass {
	classes, _ := p.classes.List(labels.Everything()) // reading a cache does not fail
	var found *storagev1.StorageClass
	for _, c := range classes {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" && c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		newer := found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp)
		if newer || found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	}
	return found
}

// StorageObjectInUseProtection marks volumes and claims so that they are not deleted while in use.
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
	_ admission.MutationInterface = (*StorageObjectInUseProtection)(nil)
)
