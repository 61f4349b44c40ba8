// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
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

// A new object is completed once it is known to be valid: what an error names is what the client has sent. An object that is updated has been
// completed before.
func TestNewObjectsAreCompletedInTheEnd(t *testing.T) {
	row := Kind[appsv1.Deployment]{List: func() runtime.Object { return &appsv1.DeploymentList{} },
		SetDefaults: func(d *appsv1.Deployment) { d.Spec.Paused = true }}.in(appsv1.SchemeGroupVersion, "Deployment")
	for version, want := range map[string]bool{"": true, "5": false} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}}
		s := strategy{row: row}
		s.PrepareForCreate(t.Context(), d)
		if d.Spec.Paused {
			t.Error("completed before it is validated")
		}
		if s.Canonicalize(d); d.Spec.Paused != want {
			t.Errorf("version %q: completed %v", version, d.Spec.Paused)
		}
	}
}

// An update of the status leaves the spec alone, and of the metadata what the row says.
func TestStatusUpdateKeepsTheRest(t *testing.T) {
	owners := []metav1.OwnerReference{{Name: "o"}}
	for _, tt := range []struct {
		resets []string
		want   metav1.ObjectMeta
	}{
		{nil, metav1.ObjectMeta{Name: "d", Labels: map[string]string{"a": "now"}, Annotations: map[string]string{"revision": "1"}, OwnerReferences: owners}},
		{[]string{"metadata.labels", "metadata.ownerReferences"}, metav1.ObjectMeta{Name: "d", Labels: map[string]string{"a": "was"}, Annotations: map[string]string{"revision": "1"}}},
		{[]string{"metadata"}, metav1.ObjectMeta{Name: "d", Labels: map[string]string{"a": "was"}}},
	} {
		row := Kind[appsv1.Deployment]{Status: true, StatusResets: tt.resets, List: func() runtime.Object { return &appsv1.DeploymentList{} }}.in(appsv1.SchemeGroupVersion, "Deployment")
		was := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: map[string]string{"a": "was"}}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)}}
		now := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: map[string]string{"a": "now"}, Annotations: map[string]string{"revision": "1"}, OwnerReferences: owners},
			Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](5)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
		}
		strategy := statusStrategy{strategy{row: row}}
		strategy.PrepareForUpdate(t.Context(), now, was)
		if *now.Spec.Replicas != 1 || now.Status.ReadyReplicas != 1 {
			t.Errorf("resets %v: %+v", tt.resets, now)
		}
		if diff := cmp.Diff(tt.want, now.ObjectMeta, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("resets %v: metadata (-want +got):\n%s", tt.resets, diff)
		}
		reset := strategy.GetResetFields()["apps/v1"]
		for _, path := range append([]string{"spec"}, tt.resets...) {
			var parts []any
			for part := range strings.SplitSeq(path, ".") {
				parts = append(parts, part)
			}
			if !reset.Has(fieldpath.MakePathOrDie(parts...)) {
				t.Errorf("resets %v: %s is not among %v", tt.resets, path, reset)
			}
		}
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

func TestFieldLabels(t *testing.T) {
	scheme, err := newScheme(rows())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ group, kind, label, want string }{
		{"", "Pod", "spec.nodeName", ""},
		{"", "Pod", "metadata.namespace", ""},
		{"", "Node", "metadata.namespace", "field label not supported: metadata.namespace"},
		{"", "ConfigMap", "data", `"data" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"apps", "ReplicaSet", "status.replicas", `"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"batch", "Job", "spec", `field label "spec" not supported for Job`},
	} {
		got := ""
		if _, _, err := scheme.ConvertFieldLabel(schema.GroupVersionKind{Group: tt.group, Version: "v1", Kind: tt.kind}, tt.label, ""); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s by %s: %q, want %q", tt.kind, tt.label, got, tt.want)
		}
	}
}

// Deletions of namespaces may say by an older field what becomes of what depends on them.
func TestPropagationFinalizers(t *testing.T) {
	foreground := metav1.DeletePropagationForeground
	for _, tt := range []struct {
		name    string
		options metav1.DeleteOptions
		want    []string
	}{
		{"nothing said", metav1.DeleteOptions{}, []string{"orphan", "x/y"}},
		{"policy", metav1.DeleteOptions{PropagationPolicy: &foreground}, []string{"x/y", "foregroundDeletion"}},
		{"orphan them", metav1.DeleteOptions{OrphanDependents: ptr.To(true)}, []string{"x/y", "orphan"}},
		{"delete them", metav1.DeleteOptions{OrphanDependents: ptr.To(false)}, []string{"x/y", "foregroundDeletion"}},
	} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"orphan", "x/y"}}}
		setPropagationFinalizers(ns, &tt.options)
		if !slices.Equal(ns.Finalizers, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, ns.Finalizers, tt.want)
		}
	}
}
