// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"errors"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSlowStart(t *testing.T) {
	refused := errors.New("refused")
	for _, tc := range []struct {
		name      string
		n         int
		failFrom  int // calls from this one on fail
		attempts  int
		succeeded int
	}{
		{name: "nothing", n: 0, failFrom: 1, attempts: 0, succeeded: 0},
		{name: "all succeed", n: 500, failFrom: 501, attempts: 500, succeeded: 500},
		{name: "the first fails", n: 500, failFrom: 0, attempts: 1, succeeded: 0},
		{name: "one in the third batch fails", n: 500, failFrom: 5, attempts: 7, succeeded: 5},
		{name: "one in the last, short batch fails", n: 5, failFrom: 4, attempts: 5, succeeded: 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var attempts atomic.Int32
			seen := make([]atomic.Bool, tc.n)
			succeeded, err := SlowStart(tc.n, func(i int) error {
				attempts.Add(1)
				if seen[i].Swap(true) {
					t.Errorf("call %d was made twice", i)
				}
				if i >= tc.failFrom {
					return refused
				}
				return nil
			})
			if int(attempts.Load()) != tc.attempts || succeeded != tc.succeeded || (err != nil) != (tc.attempts > tc.succeeded) {
				t.Errorf("%d attempts, %d succeeded, error %v; want %d, %d", attempts.Load(), succeeded, err, tc.attempts, tc.succeeded)
			}
		})
	}
}

func TestFromTemplate(t *testing.T) {
	template := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Name: "ignored", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}, Finalizers: []string{"example.com/f"}},
		Spec:       corev1.PodSpec{NodeSelector: map[string]string{"x": "y"}},
	}
	pod := FromTemplate(template, &metav1.ObjectMeta{Name: "web", Namespace: "ns"}, &metav1.OwnerReference{UID: "u"})
	if pod.GenerateName != "web-" || pod.Name != "" || pod.Namespace != "ns" || pod.Labels["a"] != "b" || pod.Annotations["c"] != "d" ||
		len(pod.Finalizers) != 1 || pod.OwnerReferences[0].UID != "u" {
		t.Errorf("pod: %+v", pod.ObjectMeta)
	}
	pod.Labels["a"], pod.Spec.NodeSelector["x"] = "changed", "changed"
	if template.Labels["a"] != "b" || template.Spec.NodeSelector["x"] != "y" {
		t.Error("the pod shares maps with the template")
	}
}
