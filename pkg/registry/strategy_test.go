// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func TestSpecChanged(t *testing.T) {
	deployment := func(replicas int32, label string, ready int32) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"l": label}}, Spec: appsv1.DeploymentSpec{Replicas: &replicas}, Status: appsv1.DeploymentStatus{ReadyReplicas: ready}}
	}
	for _, tt := range []struct {
		name     string
		now, was runtime.Object
		want     bool
	}{
		{"spec", deployment(2, "a", 0), deployment(1, "a", 0), true},
		{"metadata", deployment(1, "b", 0), deployment(1, "a", 0), false},
		{"status", deployment(1, "a", 1), deployment(1, "a", 0), false},
		{"kind without spec", &schedulingv1.PriorityClass{Value: 1}, &schedulingv1.PriorityClass{Value: 2}, true},
		{"metadata of a kind without spec", &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, &schedulingv1.PriorityClass{}, false},
	} {
		if got := specChanged(tt.now, tt.was); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// An update of the status changes nothing else, whatever the request says.
func TestStatusUpdateKeepsTheRest(t *testing.T) {
	row := Kind[appsv1.Deployment]{Status: true, Generation: true, List: func() runtime.Object { return &appsv1.DeploymentList{} }}.in(appsv1.SchemeGroupVersion, "Deployment")
	was := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Generation: 3}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)}}
	now := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Generation: 9, Annotations: map[string]string{"revision": "1"}, OwnerReferences: []metav1.OwnerReference{{Name: "o"}}},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](5)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
	}
	statusStrategy{strategy{row: row}}.PrepareForUpdate(t.Context(), now, was)
	if *now.Spec.Replicas != 1 || now.Generation != 3 || len(now.OwnerReferences) != 0 {
		t.Errorf("a status update has changed %+v", now)
	}
	if now.Status.ReadyReplicas != 1 || now.Annotations["revision"] != "1" {
		t.Errorf("a status update has lost %+v", now)
	}
}

func TestTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		name := r.GroupResource().String()
		if seen[name] {
			t.Errorf("%s is in the table twice", name)
		}
		seen[name] = true
		if r.Singular == "" || r.Kind == "" || r.validate == nil || r.validateUpdate == nil {
			t.Errorf("%s: its row lacks a name or a validation", name)
		}
		if r.status && r.validateStatusUpdate == nil {
			t.Errorf("%s has a status that nothing checks", name)
		}
		if _, ok := r.NewList().(interface{ GetResourceVersion() string }); !ok {
			t.Errorf("%s: its list is a %T", name, r.NewList())
		}
	}
	if _, err := newScheme(rows()); err != nil {
		t.Error(err)
	}
}
