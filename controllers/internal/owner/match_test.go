// SPDX-License-Identifier: Apache-2.0

package owner

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestLeft(t *testing.T) {
	of := func(uid types.UID) *corev1.Pod {
		pod := &corev1.Pod{}
		if uid != "" {
			yes := true
			pod.OwnerReferences = []metav1.OwnerReference{{UID: uid, Controller: &yes}}
		}
		return pod
	}
	for _, tt := range []struct{ before, after, want types.UID }{
		{"a", "a", ""}, {"a", "b", "a"}, {"a", "", "a"}, {"", "a", ""}, {"", "", ""},
	} {
		got := types.UID("")
		if ref := Left(of(tt.before), of(tt.after)); ref != nil {
			got = ref.UID
		}
		if got != tt.want {
			t.Errorf("from %q to %q: left %q, want %q", tt.before, tt.after, got, tt.want)
		}
	}
}

func TestMayAdopt(t *testing.T) {
	set := map[string]string{"app": "a"}
	for _, tt := range []struct {
		name     string
		selector *metav1.LabelSelector
		want     bool
	}{
		{"same", &metav1.LabelSelector{MatchLabels: set}, true},
		{"other", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}}, false},
		{"empty", &metav1.LabelSelector{}, false},
		{"none", nil, false},
		{"broken", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near"}}}, false},
	} {
		if got := MayAdopt(tt.selector, set); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
