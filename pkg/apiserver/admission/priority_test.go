// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
	"k8s.io/client-go/tools/cache"
)

// TestPriorityOfUpdates holds that a pod keeps the priority of its creation where an update says none, and that what an update does say is left
// to validation.
func TestPriorityOfUpdates(t *testing.T) {
	p := NewPriority(schedulinglisters.NewPriorityClassLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)))
	seven, policy := int32(7), corev1.PreemptNever
	before := &corev1.Pod{Spec: corev1.PodSpec{Priority: &seven, PreemptionPolicy: &policy, PriorityClassName: "gone"}}
	for _, tt := range []struct {
		name        string
		spec        corev1.PodSpec
		subresource string
		want        *int32
	}{
		{"nothing said", corev1.PodSpec{}, "", &seven},
		{"another one said", corev1.PodSpec{Priority: new(int32)}, "", new(int32)},
		{"a subresource", corev1.PodSpec{}, "status", nil},
	} {
		pod := &corev1.Pod{Spec: tt.spec}
		a := admission.NewAttributesRecord(pod, before, corev1.SchemeGroupVersion.WithKind("Pod"), "default", "a", corev1.SchemeGroupVersion.WithResource("pods"), tt.subresource, admission.Update, nil, false, nil)
		if err := p.Admit(t.Context(), a, nil); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := pod.Spec.Priority; (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: priority %v, want %v", tt.name, got, tt.want)
		}
		if kept := pod.Spec.PreemptionPolicy; (kept == &policy) != (tt.subresource == "") {
			t.Errorf("%s: policy %v", tt.name, kept)
		}
	}
}
