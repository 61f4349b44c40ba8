// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// deploy returns a rolling Deployment; surge and unavailable are numbers or percentages.
func deploy(size int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	deadline, history := int32(600), int32(10)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-uid", Generation: 2},
		Spec: appsv1.DeploymentSpec{
			Replicas: &size,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: template("v2"),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
			ProgressDeadlineSeconds: &deadline,
			RevisionHistoryLimit:    &history,
		},
	}
}

func recreate(size int32) *appsv1.Deployment {
	d := deploy(size, "0", "0")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	return d
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

// set returns a ReplicaSet of the image, age minutes old, with available of size pods available.
func set(image string, age int, size, available int32) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web-" + image, UID: types.UID("uid-" + image), Generation: 1,
			Labels:            map[string]string{"app": "web", appsv1.DefaultDeploymentUniqueLabelKey: image},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Duration(age) * time.Minute)),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(deploy(1, "1", "1"), kind)},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &size, Template: template(image)},
		Status: appsv1.ReplicaSetStatus{Replicas: size, ReadyReplicas: available, AvailableReplicas: available, ObservedGeneration: 1},
	}
	rs.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = image
	return rs
}

// sized says that rs was last scaled when the Deployment had these sizes.
func sized(rs *appsv1.ReplicaSet, desired, most int) *appsv1.ReplicaSet {
	rs.Annotations = map[string]string{DesiredReplicasAnnotation: strconv.Itoa(desired), MaxReplicasAnnotation: strconv.Itoa(most)}
	return rs
}

func steps(list []scaling) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s=%d", strings.TrimPrefix(s.rs.Name, "web-"), s.to))
	}
	return strings.Join(out, " ")
}

func TestRolling(t *testing.T) {
	for _, tc := range []struct {
		name string
		d    *appsv1.Deployment
		sets []*appsv1.ReplicaSet
		want string
	}{
		{"settled", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v2", 1, 10, 10)}, ""},
		{"grows by the surge, rounded up", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 10, 10), set("v2", 1, 0, 0)}, "v2=3"},
		{"then shrinks by what may be unavailable, rounded down", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 10, 10), set("v2", 1, 3, 0)}, "v1=8"},
		{"then grows into the room", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 8, 8), set("v2", 1, 3, 0)}, "v2=5"},
		{"waits while new pods are not available", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 8, 8), set("v2", 1, 5, 0)}, ""},
		{"goes on as they become so", deploy(10, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 8, 8), set("v2", 1, 5, 4)}, "v1=4"},
		{"no surge: shrinks first", deploy(4, "0", "1"), []*appsv1.ReplicaSet{set("v1", 9, 4, 4), set("v2", 1, 0, 0)}, "v1=3"},
		{"nothing unavailable: waits for the surge", deploy(2, "1", "0"), []*appsv1.ReplicaSet{set("v1", 9, 2, 2), set("v2", 1, 1, 0)}, ""},
		{"percentages that round to a standstill allow one", deploy(2, "0%", "1%"), []*appsv1.ReplicaSet{set("v1", 9, 2, 2), set("v2", 1, 0, 0)}, "v1=1"},
		{"broken old pods go at once", deploy(10, "0", "2"), []*appsv1.ReplicaSet{set("v1", 9, 10, 8), set("v2", 1, 0, 0)}, "v1=8"},
		{"broken ones of the oldest first, no more than allowed", deploy(10, "0", "2"), []*appsv1.ReplicaSet{set("v0", 99, 5, 4), set("v1", 9, 5, 2), set("v2", 1, 0, 0)}, "v0=4 v1=4"},
		{"a crashing new template does not eat the old", deploy(10, "3", "2"), []*appsv1.ReplicaSet{set("v1", 9, 8, 7), set("v2", 1, 5, 0)}, ""},
		{"shrinks a newest that is too large", deploy(3, "1", "1"), []*appsv1.ReplicaSet{set("v2", 1, 5, 5)}, "v2=3"},
		{"down to zero", deploy(0, "25%", "25%"), []*appsv1.ReplicaSet{set("v1", 9, 2, 2), set("v2", 1, 0, 0)}, "v1=0"},
		{"finishes", deploy(3, "1", "0"), []*appsv1.ReplicaSet{set("v0", 99, 0, 0), set("v1", 9, 1, 1), set("v2", 1, 3, 3)}, "v1=0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := steps(split(tc.d, tc.sets).rolling()); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestProportional(t *testing.T) {
	for _, tc := range []struct {
		name string
		d    *appsv1.Deployment
		sets []*appsv1.ReplicaSet
		want string
	}{
		{"nothing to scale", deploy(3, "1", "1"), nil, ""},
		{"the only one with pods", deploy(5, "1", "1"), []*appsv1.ReplicaSet{set("v1", 9, 3, 3), set("v2", 1, 0, 0)}, "v1=5"},
		{"the newest where none has pods", deploy(5, "1", "1"), []*appsv1.ReplicaSet{set("v1", 9, 0, 0), set("v2", 1, 0, 0)}, "v2=5"},
		{"the latest old where the newest is not made", deploy(5, "1", "1"), []*appsv1.ReplicaSet{set("v0", 99, 0, 0), set("v1", 9, 0, 0)}, "v1=5"},
		{"up in proportion", deploy(20, "0", "1"), []*appsv1.ReplicaSet{sized(set("v1", 9, 5, 5), 10, 10), sized(set("v2", 1, 5, 0), 10, 10)}, "v2=10 v1=10"},
		{"what rounding leaves goes to the largest, the newer of equals", deploy(10, "0", "1"), []*appsv1.ReplicaSet{sized(set("v0", 99, 3, 3), 9, 9), sized(set("v1", 9, 3, 3), 9, 9), sized(set("v2", 1, 3, 0), 9, 9)}, "v2=4 v1=3 v0=3"},
		{"or the smallest goes short", deploy(15, "0", "1"), []*appsv1.ReplicaSet{sized(set("v0", 99, 2, 2), 10, 10), sized(set("v1", 9, 3, 3), 10, 10), sized(set("v2", 1, 5, 0), 10, 10)}, "v2=8 v1=5 v0=2"},
		{"down in proportion, the surge counted", deploy(5, "2", "1"), []*appsv1.ReplicaSet{sized(set("v1", 9, 8, 8), 10, 12), sized(set("v2", 1, 4, 0), 10, 12)}, "v1=5 v2=2"},
		{"to zero", deploy(0, "2", "1"), []*appsv1.ReplicaSet{sized(set("v1", 9, 8, 8), 10, 12), sized(set("v2", 1, 4, 0), 10, 12)}, "v1=0 v2=0"},
		{"without the annotation the status serves", func() *appsv1.Deployment { d := deploy(20, "0", "1"); d.Status.Replicas = 10; return d }(),
			[]*appsv1.ReplicaSet{set("v1", 9, 6, 6), set("v2", 1, 4, 0)}, "v1=12 v2=8"},
		{"same size, stale annotations", deploy(10, "2", "1"), []*appsv1.ReplicaSet{sized(set("v1", 9, 8, 8), 9, 11), sized(set("v2", 1, 4, 0), 9, 11)}, "v1=8 v2=4"},
		{"a saturated newest lets the adopted go", deploy(3, "1", "1"), []*appsv1.ReplicaSet{set("v1", 9, 2, 2), sized(set("v2", 1, 3, 3), 3, 4)}, "v1=0"},
		{"a Recreate has no proportions", recreate(9), []*appsv1.ReplicaSet{set("v1", 9, 2, 2), set("v2", 1, 3, 0)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := steps(split(tc.d, tc.sets).proportional()); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestResized(t *testing.T) {
	for _, tc := range []struct {
		name string
		sets []*appsv1.ReplicaSet
		want bool
	}{
		{"no annotation", []*appsv1.ReplicaSet{set("v2", 1, 3, 3)}, false},
		{"the same", []*appsv1.ReplicaSet{sized(set("v2", 1, 3, 3), 5, 6)}, false},
		{"another", []*appsv1.ReplicaSet{sized(set("v2", 1, 3, 3), 3, 4)}, true},
		{"another, of one without pods", []*appsv1.ReplicaSet{sized(set("v1", 9, 0, 0), 3, 4)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := split(deploy(5, "1", "1"), tc.sets).resized(); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFenceposts(t *testing.T) {
	for _, tc := range []struct {
		size                   int32
		surge, unavailable     string
		wantSurge, wantUnavail int32
	}{
		{10, "25%", "25%", 3, 2},
		{1, "25%", "25%", 1, 0},
		{1, "0", "25%", 0, 1},
		{2, "0%", "1%", 0, 1},
		{3, "100%", "5", 3, 3},
		{0, "25%", "25%", 0, 0},
	} {
		surge, unavailable := fenceposts(deploy(tc.size, tc.surge, tc.unavailable))
		if surge != tc.wantSurge || unavailable != tc.wantUnavail {
			t.Errorf("%d replicas, surge %s, unavailable %s: got %d, %d; want %d, %d",
				tc.size, tc.surge, tc.unavailable, surge, unavailable, tc.wantSurge, tc.wantUnavail)
		}
	}
}
