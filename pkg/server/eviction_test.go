// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// readyPod is a pod that says it is ready, as its node agent would; there is no node in these tests.
func (c *cluster) readyPod(t *testing.T, name string) {
	t.Helper()
	wanted := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}, SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/none"}}}}
	var pod *corev1.Pod
	eventually(t, "the default ServiceAccount", func() (_ bool, err error) {
		pod, err = c.CoreV1().Pods("default").Create(t.Context(), wanted, metav1.CreateOptions{})
		return err == nil, err
	})
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, err := c.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) evict(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	return c.PolicyV1().Evictions("default").Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, DeleteOptions: options})
}

func TestEvictionAsksTheBudget(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"a", "b"} {
		c.readyPod(t, name)
	}
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	if _, err := c.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget to be counted", func() (bool, error) {
		b, err := c.PolicyV1().PodDisruptionBudgets("default").Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && b.Status.DisruptionsAllowed == 1, err
	})
	if err := c.evict(t.Context(), "a", &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("dry run: %v", err)
	}
	if err := c.evict(t.Context(), "a", nil); err != nil {
		t.Fatalf("within the budget: %v", err)
	}
	var refused error
	eventually(t, "the second refused", func() (bool, error) {
		refused = c.evict(t.Context(), "b", nil)
		return apierrors.IsTooManyRequests(refused), refused
	})
	status := refused.(apierrors.APIStatus).Status()
	if status.Details == nil || len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != policyv1.DisruptionBudgetCause ||
		!strings.HasPrefix(status.Details.Causes[0].Message, "The disruption budget web ") {
		t.Errorf("refused without its cause: %+v", status.Details)
	}
	if _, err := c.CoreV1().Pods("default").Get(t.Context(), "b", metav1.GetOptions{}); err != nil {
		t.Errorf("a pod whose eviction was refused: %v", err)
	}
}

func TestEvictionHoldsToItsPreconditions(t *testing.T) {
	c := newCluster(t)
	c.readyPod(t, "a")
	for _, p := range []metav1.Preconditions{{ResourceVersion: ptr.To("1")}, {UID: ptr.To(types.UID("another"))}} {
		if err := c.evict(t.Context(), "a", &metav1.DeleteOptions{Preconditions: &p}); !apierrors.IsConflict(err) {
			t.Errorf("of another pod: %v", err)
		}
	}
	if err := c.evict(t.Context(), "a", &metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Errorf("without a budget: %v", err)
	}
	if _, err := c.CoreV1().Pods("default").Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its eviction: %v", err)
	}
}

// Clients from before policy/v1 evict pods too.
func TestEvictionOfTheOlderVersion(t *testing.T) {
	c := newCluster(t)
	c.readyPod(t, "a")
	older := &policyv1beta1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}}
	older.DeleteOptions = &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("another"))}}
	if err := c.PolicyV1beta1().Evictions("default").Evict(t.Context(), older); !apierrors.IsConflict(err) {
		t.Errorf("of another pod: %v", err)
	}
	older.DeleteOptions = &metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	if err := c.PolicyV1beta1().Evictions("default").Evict(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods("default").Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its eviction: %v", err)
	}
}

func TestAutoscalersOfBothVersions(t *testing.T) {
	c := newCluster(t)
	const v1 = `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"web"},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":5,"targetCPUUtilizationPercentage":60}}`
	post := func() error {
		return c.AutoscalingV1().RESTClient().Post().Namespace("default").Resource("horizontalpodautoscalers").Body([]byte(v1)).SetHeader("Content-Type", "application/json").Do(t.Context()).Error()
	}
	if err := post(); err != nil {
		t.Fatal(err)
	}
	got, err := c.AutoscalingV2().HorizontalPodAutoscalers("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Spec.Metrics; len(m) != 1 || m[0].Resource == nil || *m[0].Resource.Target.AverageUtilization != 60 || *got.Spec.MinReplicas != 1 {
		t.Errorf("as v2: %+v", got.Spec)
	}
	*got.Spec.Metrics[0].Resource.Target.AverageUtilization = 70
	if _, err := c.AutoscalingV2().HorizontalPodAutoscalers("default").Update(t.Context(), got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	old, err := c.AutoscalingV1().HorizontalPodAutoscalers("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(old.Items) != 1 || fmt.Sprint(*old.Items[0].Spec.TargetCPUUtilizationPercentage) != "70" {
		t.Errorf("as v1: %+v, %v", old, err)
	}
}
