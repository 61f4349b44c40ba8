// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Generation: 3}
}

func owned(by, kind string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: by, UID: types.UID(by), Controller: ptr.To(true)}
}

func web(name string, ready bool, owners ...metav1.OwnerReference) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: named(name)}
	pod.Labels, pod.OwnerReferences = map[string]string{"app": "web"}, owners
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse}
	if ready {
		condition.Status = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{condition}
	return pod
}

func budget(change func(*policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: named("web"), Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	change(b)
	return b
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	set := &appsv1.ReplicaSet{ObjectMeta: named("rs"), Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](4)}}
	set.OwnerReferences = []metav1.OwnerReference{owned("deploy", "Deployment")}
	deployment := &appsv1.Deployment{ObjectMeta: named("deploy"), Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](10)}}
	going := web("going", true)
	going.DeletionTimestamp = &metav1.Time{Time: now}
	stranger := web("stranger", true)
	stranger.Labels = nil
	for name, test := range map[string]struct {
		budget  func(*policyv1.PodDisruptionBudget)
		objects []runtime.Object
		want    policyv1.PodDisruptionBudgetStatus
		reason  string
	}{
		"a number that must be available": {
			budget:  func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = ptr.To(intstr.FromInt32(1)) },
			objects: []runtime.Object{web("a", true), web("b", true), web("c", false), going, stranger},
			want:    policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 4, DisruptionsAllowed: 1},
			reason:  policyv1.SufficientPodsReason,
		},
		"a share of what the Deployment wants": {
			budget:  func(b *policyv1.PodDisruptionBudget) { b.Spec.MaxUnavailable = ptr.To(intstr.FromString("25%")) },
			objects: []runtime.Object{set, deployment, web("a", true, owned("rs", "ReplicaSet")), web("b", true, owned("rs", "ReplicaSet"))},
			want:    policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 7, ExpectedPods: 10},
			reason:  policyv1.InsufficientPodsReason,
		},
		"a share of pods that nobody controls": {
			budget:  func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = ptr.To(intstr.FromString("50%")) },
			objects: []runtime.Object{web("a", true)},
			want:    policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1},
			reason:  policyv1.InsufficientPodsReason,
		},
		"no pods yet": {
			budget: func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = ptr.To(intstr.FromInt32(0)) },
			want:   policyv1.PodDisruptionBudgetStatus{}, reason: policyv1.InsufficientPodsReason,
		},
		"evictions that were granted": {
			budget: func(b *policyv1.PodDisruptionBudget) {
				b.Spec.MinAvailable = ptr.To(intstr.FromInt32(1))
				b.Status.DisruptedPods = map[string]metav1.Time{"a": {Time: now.Add(-time.Minute)}, "b": {Time: now.Add(-time.Hour)}, "gone": {Time: now}}
			},
			objects: []runtime.Object{web("a", true), web("b", true), web("c", true)},
			want: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 3, DisruptionsAllowed: 1,
				DisruptedPods: map[string]metav1.Time{"a": {Time: now.Add(-time.Minute)}}},
			reason: policyv1.SufficientPodsReason,
		},
		"a controller that is not there": {
			budget: func(b *policyv1.PodDisruptionBudget) {
				b.Spec.MaxUnavailable = ptr.To(intstr.FromInt32(1))
				b.Status.DisruptionsAllowed = 5
			},
			objects: []runtime.Object{web("a", true, owned("absent", "ReplicaSet"))},
			want:    policyv1.PodDisruptionBudgetStatus{}, reason: policyv1.SyncFailedReason,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testcluster.New(t, append(test.objects, budget(test.budget))...)
			controller, err := New(c.Client, c.Informers.Policy().V1().PodDisruptionBudgets(), c.Informers.Core().V1(), c.Informers.Apps().V1(), c.Events)
			if err != nil {
				t.Fatal(err)
			}
			controller.now = func() time.Time { return now }
			c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
			if test.reason != policyv1.SyncFailedReason {
				test.want.ObservedGeneration = 3
			}
			c.Eventually("the status", func() error {
				got, err := c.Client.PolicyV1().PodDisruptionBudgets("default").Get(context.Background(), "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				if len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Reason != test.reason {
					return fmt.Errorf("conditions %v, want reason %s", got.Status.Conditions, test.reason)
				}
				if d := cmp.Diff(test.want, got.Status, cmpopts.IgnoreFields(policyv1.PodDisruptionBudgetStatus{}, "Conditions"), cmpopts.EquateEmpty()); d != "" {
					return fmt.Errorf("status (-want +got):\n%s", d)
				}
				return nil
			})
		})
	}
}

func TestTargetThatCameToNothingIsCleared(t *testing.T) {
	target := func(name, reason string, ago time.Duration) *corev1.Pod {
		pod := web(name, true)
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason,
			LastTransitionTime: metav1.NewTime(time.Now().Add(-ago))})
		return pod
	}
	c := testcluster.New(t, target("old", "EvictionByEvictionAPI", time.Hour), target("young", "EvictionByEvictionAPI", 0), target("agent", corev1.PodReasonTerminationByKubelet, time.Hour))
	controller, err := New(c.Client, c.Informers.Policy().V1().PodDisruptionBudgets(), c.Informers.Core().V1(), c.Informers.Apps().V1(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	statusOf := func(name string) corev1.ConditionStatus {
		pod, err := c.Client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return pod.Status.Conditions[1].Status
	}
	c.Eventually("the old one cleared", func() error {
		if s := statusOf("old"); s != corev1.ConditionFalse {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	for _, name := range []string{"young", "agent"} {
		if s := statusOf(name); s != corev1.ConditionTrue {
			t.Errorf("that of %s is %s", name, s)
		}
	}
}
