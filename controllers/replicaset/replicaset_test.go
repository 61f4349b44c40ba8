// SPDX-License-Identifier: Apache-2.0

package replicaset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func start(t *testing.T, objs ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objs...)
	controller, err := New(c.Client, c.Informers.Apps().V1().ReplicaSets(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

func podsOf(c *testcluster.Cluster) ([]corev1.Pod, error) {
	list, err := c.Client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !metav1.IsControlledBy(&p, set(0)) }), nil
}

func wantPods(c *testcluster.Cluster, n int) func() error {
	return func() error {
		pods, err := podsOf(c)
		if err == nil && len(pods) != n {
			err = fmt.Errorf("%d pods, want %d", len(pods), n)
		}
		if err != nil {
			return err
		}
		rs, err := c.Client.AppsV1().ReplicaSets("default").Get(context.Background(), "web", metav1.GetOptions{})
		if err == nil && rs.Status.Replicas != int32(n) {
			err = fmt.Errorf("status.replicas is %d, want %d", rs.Status.Replicas, n)
		}
		return err
	}
}

func TestScale(t *testing.T) {
	ctx := context.Background()
	c := start(t, set(3))
	c.Eventually("three pods", wantPods(c, 3))
	pods, err := podsOf(c)
	if err != nil {
		t.Fatal(err)
	}
	if ref := pods[0].OwnerReferences[0]; ref.APIVersion != "apps/v1" || ref.Kind != "ReplicaSet" || !*ref.BlockOwnerDeletion || pods[0].GenerateName != "web-" {
		t.Errorf("pod has owner %v and generateName %q", ref, pods[0].GenerateName)
	}
	if events := c.Events.Lines(); len(events) != 3 || !strings.HasPrefix(events[0], "Normal SuccessfulCreate Created pod: web-") {
		t.Errorf("events: %v", events)
	}

	if err := c.Client.CoreV1().Pods("default").Delete(ctx, pods[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a replacement", func() error {
		now, err := podsOf(c)
		if err == nil && (len(now) != 3 || slices.ContainsFunc(now, func(p corev1.Pod) bool { return p.Name == pods[0].Name })) {
			err = errors.New("not replaced")
		}
		return err
	})

	rs := set(90)
	if _, err := c.Client.AppsV1().ReplicaSets("default").Update(ctx, rs, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("ninety pods", wantPods(c, 90))

	if _, err := c.Client.AppsV1().ReplicaSets("default").Update(ctx, set(1), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("one pod", wantPods(c, 1))
}

func TestAdoptAndRelease(t *testing.T) {
	ctx := context.Background()
	free := running("free")
	other := running("other")
	other.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "x"}}, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	c := start(t, set(1), free, other)
	c.Eventually("the free pod is adopted", wantPods(c, 1))
	pod, err := c.Client.CoreV1().Pods("default").Get(ctx, "free", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(pod, set(0)) {
		t.Fatalf("owners: %v", pod.OwnerReferences)
	}

	pod.Labels = map[string]string{"app": "elsewhere"}
	if _, err := c.Client.CoreV1().Pods("default").Update(ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("it is released and replaced", func() error {
		pod, err := c.Client.CoreV1().Pods("default").Get(ctx, "free", metav1.GetOptions{})
		if err == nil && len(pod.OwnerReferences) > 0 {
			err = errors.New("still owned")
		}
		return errors.Join(err, wantPods(c, 1)())
	})
}

func TestRefusedPods(t *testing.T) {
	c := testcluster.New(t, set(100))
	var attempts atomic.Int32
	var allowed atomic.Bool
	c.Client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if allowed.Load() {
			return false, nil, nil
		}
		attempts.Add(1)
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("exceeded quota"))
	})
	controller, err := New(c.Client, c.Informers.Apps().V1().ReplicaSets(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	failing := func(want bool) func() error {
		return func() error {
			rs, err := c.Client.AppsV1().ReplicaSets("default").Get(context.Background(), "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			has := slices.ContainsFunc(rs.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool {
				return c.Type == appsv1.ReplicaSetReplicaFailure && c.Reason == "FailedCreate" && strings.Contains(c.Message, "exceeded quota")
			})
			if has != want {
				return fmt.Errorf("conditions: %v", rs.Status.Conditions)
			}
			return nil
		}
	}
	c.Eventually("the failure shows", failing(true))
	if n := attempts.Load(); n > 20 {
		t.Errorf("%d attempts: slow start should stop at the first refusal", n)
	}
	if events := c.Events.Lines(); !strings.HasPrefix(events[0], "Warning FailedCreate Error creating: ") {
		t.Errorf("events: %v", events)
	}
	allowed.Store(true)
	c.Eventually("it recovers", func() error { return errors.Join(failing(false)(), wantPods(c, 100)()) })
}

func TestReplicationController(t *testing.T) {
	two := int32(2)
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "rc", UID: "rc-uid", Generation: 1},
		Spec: corev1.ReplicationControllerSpec{Replicas: &two, Selector: map[string]string{"app": "rc"}, Template: &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "rc"}},
		}},
	}
	c := testcluster.New(t, rc)
	controller, err := NewForReplicationControllers(c.Client, c.Informers.Core().V1().ReplicationControllers(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	c.Eventually("two pods", func() error {
		pods, err := c.Client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		got, err := c.Client.CoreV1().ReplicationControllers("default").Get(context.Background(), "rc", metav1.GetOptions{})
		if err == nil && (len(pods.Items) != 2 || got.Status.Replicas != 2 || got.Status.ObservedGeneration != 1) {
			err = fmt.Errorf("%d pods, status %+v", len(pods.Items), got.Status)
		}
		if err == nil && pods.Items[0].OwnerReferences[0].Kind != "ReplicationController" {
			err = fmt.Errorf("owner %v", pods.Items[0].OwnerReferences)
		}
		return err
	})
}
