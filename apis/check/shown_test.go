// SPDX-License-Identifier: Apache-2.0

package check

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestShown(t *testing.T) {
	ref := rbacv1.RoleRef{Kind: "Role", Name: "a"}
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"string", "a", `"a"`},
		{"nothing", nil, `null`},
		{"number or name", intstr.FromInt32(3), `3`},
		{"type of meta/v1", &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		{"struct", ref, `{"APIGroup":"","Kind":"Role","Name":"a"}`},
		{"pointer", &ref, `{"APIGroup":"","Kind":"Role","Name":"a"}`},
		{"nil pointer", (*rbacv1.RoleRef)(nil), `null`},
		{"list", []rbacv1.RoleRef{ref}, `[{"APIGroup":"","Kind":"Role","Name":"a"}]`},
		{"map", map[string]rbacv1.RoleRef{"x": ref}, `{"x":{"APIGroup":"","Kind":"Role","Name":"a"}}`},
		{"embedded struct", corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "k"},
			`{"Name":"a","Key":"k","Optional":null}`},
		{"embedded metadata", corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: "a"}}.ObjectMeta, `{"name":"a"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l List
			l.Invalid(field.NewPath("f"), c.value, "no")
			if want, got := "f: Invalid value: "+c.want+": no", l.Errors()[0].Error(); got != want {
				t.Errorf("error = %s, want %s", got, want)
			}
		})
	}
}

func TestDifference(t *testing.T) {
	before := corev1.PersistentVolumeClaimSpec{VolumeName: "a"}
	after := corev1.PersistentVolumeClaimSpec{VolumeName: "b"}
	got := Difference(before, after)
	for _, want := range []string{`- "VolumeName": "a"`, `+ "VolumeName": "b"`, `  "StorageClassName": null`} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
