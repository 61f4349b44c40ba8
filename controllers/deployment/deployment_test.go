// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

func start(t *testing.T, prepare func(*testcluster.Cluster), objs ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objs...)
	if prepare != nil {
		prepare(c)
	}
	apps := c.Informers.Apps().V1()
	controller, err := New(c.Client, apps.Deployments(), apps.ReplicaSets(), c.Informers.Core().V1().Pods(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

// obedient makes ReplicaSets report at once that they have what they were asked for.
func obedient(c *testcluster.Cluster) {
	obey := func(action clienttesting.Action) (bool, runtime.Object, error) {
		var obj runtime.Object
		switch a := action.(type) {
		case clienttesting.UpdateAction: // a create is one too
			obj = a.GetObject()
		}
		if rs, ok := obj.(*appsv1.ReplicaSet); ok {
			n := *rs.Spec.Replicas
			rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: n, AvailableReplicas: n, TerminatingReplicas: new(int32), ObservedGeneration: max(rs.Generation, 1)}
		}
		return false, nil, nil
	}
	c.Client.PrependReactor("create", "replicasets", obey)
	c.Client.PrependReactor("update", "replicasets", obey)
}

func sets(c *testcluster.Cluster) (map[string]int32, error) {
	list, err := c.Client.AppsV1().ReplicaSets("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	sizes := map[string]int32{}
	for _, rs := range list.Items {
		sizes[rs.Spec.Template.Spec.Containers[0].Image] = *rs.Spec.Replicas
	}
	return sizes, nil
}

func get(c *testcluster.Cluster) (*appsv1.Deployment, error) {
	return c.Client.AppsV1().Deployments("default").Get(context.Background(), "web", metav1.GetOptions{})
}

// rolledOut is what kubectl rollout status waits for.
func rolledOut(c *testcluster.Cluster, image, revision string) func() error {
	return func() error {
		d, err := get(c)
		if err != nil {
			return err
		}
		sizes, err := sets(c)
		if err != nil {
			return err
		}
		progressing := condition(&d.Status, appsv1.DeploymentProgressing)
		for other, size := range sizes {
			if (other == image) != (size == *d.Spec.Replicas) {
				return fmt.Errorf("sizes %v", sizes)
			}
		}
		if d.Status.ObservedGeneration != d.Generation || !complete(d, &d.Status) || d.Annotations[RevisionAnnotation] != revision ||
			progressing == nil || progressing.Reason != ReasonNewReplicaAvailable {
			return fmt.Errorf("sizes %v, annotations %v, status %+v", sizes, d.Annotations, d.Status)
		}
		return nil
	}
}

func change(t *testing.T, c *testcluster.Cluster, edit func(*appsv1.Deployment)) {
	t.Helper()
	c.Eventually("the deployment is changed", func() error {
		d, err := get(c)
		if err != nil {
			return err
		}
		edit(d)
		d.Generation++
		_, err = c.Client.AppsV1().Deployments("default").Update(context.Background(), d, metav1.UpdateOptions{})
		return err
	})
}

func TestLifeOfADeployment(t *testing.T) {
	for _, d := range []*appsv1.Deployment{deploy(4, "1", "1"), recreate(4)} {
		t.Run(string(d.Spec.Strategy.Type), func(t *testing.T) {
			d.Spec.Template = template("v1")
			c := start(t, obedient, d)
			c.Eventually("first rollout", rolledOut(c, "v1", "1"))
			change(t, c, func(d *appsv1.Deployment) { d.Spec.Template = template("v2") })
			c.Eventually("second rollout", rolledOut(c, "v2", "2"))
			change(t, c, func(d *appsv1.Deployment) { *d.Spec.Replicas = 7 })
			c.Eventually("scaled", rolledOut(c, "v2", "2"))
			change(t, c, func(d *appsv1.Deployment) { d.Spec.Template = template("v1") })
			c.Eventually("rolled back", rolledOut(c, "v1", "3"))
			change(t, c, func(d *appsv1.Deployment) {
				d.Spec.Paused = true
				d.Spec.Template = template("v3")
				*d.Spec.Replicas = 2
			})
			c.Eventually("paused: scales, but rolls nothing out", func() error {
				d, err := get(c)
				if err != nil {
					return err
				}
				sizes, err := sets(c)
				if err == nil && (sizes["v1"] != 2 || len(sizes) != 2 || condition(&d.Status, appsv1.DeploymentProgressing).Reason != ReasonPaused) {
					err = fmt.Errorf("sizes %v, conditions %v", sizes, d.Status.Conditions)
				}
				return err
			})
			change(t, c, func(d *appsv1.Deployment) { d.Spec.Paused = false; *d.Spec.RevisionHistoryLimit = 1 })
			c.Eventually("resumed", rolledOut(c, "v3", "4"))
			c.Eventually("history is cut", func() error {
				sizes, err := sets(c)
				if err == nil && len(sizes) != 2 {
					err = fmt.Errorf("sizes %v", sizes)
				}
				return err
			})
			if events := c.Events.Lines(); !strings.HasPrefix(events[0], "Normal ScalingReplicaSet Scaled up replica set web-") || !strings.HasSuffix(events[0], " from 0 to 4") {
				t.Errorf("first event: %s", events[0])
			}
		})
	}
}

func TestRecreateWaitsForOldPods(t *testing.T) {
	ctx := context.Background()
	old := set("v1", 9, 2, 2)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "old", UID: "old",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(old, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	c := start(t, obedient, recreate(2), old, pod)
	c.Eventually("the old go to zero", func() error {
		d, err := get(c)
		if err != nil {
			return err
		}
		sizes, err := sets(c)
		if err == nil && (sizes["v1"] != 0 || d.Status.ObservedGeneration != 2 || d.Status.Replicas != 0) {
			err = fmt.Errorf("sizes %v, status %+v", sizes, d.Status)
		}
		return err
	})
	if sizes, err := sets(c); err != nil || len(sizes) != 1 {
		t.Fatalf("sizes %v, error %v: nothing may start while an old pod runs", sizes, err)
	}
	if err := c.Client.CoreV1().Pods("default").Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("then the new one starts", rolledOut(c, "v2", "1"))
}

func TestNameTaken(t *testing.T) {
	d := deploy(1, "1", "1")
	taken := set("other", 9, 0, 0)
	taken.Name = "web-" + templateHash(&d.Spec.Template, nil)
	taken.OwnerReferences[0].UID = "another"
	c := start(t, obedient, d, taken)
	c.Eventually("another name is found", func() error {
		d, err := get(c)
		if err != nil {
			return err
		}
		if d.Status.CollisionCount == nil || *d.Status.CollisionCount != 1 {
			return fmt.Errorf("collisions %v", d.Status.CollisionCount)
		}
		_, err = c.Client.AppsV1().ReplicaSets("default").Get(context.Background(), "web-"+templateHash(&d.Spec.Template, d.Status.CollisionCount), metav1.GetOptions{})
		return err
	})
}

func TestRefusedReplicaSet(t *testing.T) {
	refuse := func(c *testcluster.Cluster) {
		c.Client.PrependReactor("create", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "replicasets"}, "x", errors.New("no"))
		})
	}
	c := start(t, refuse, deploy(1, "1", "1"))
	c.Eventually("the refusal shows", func() error {
		d, err := get(c)
		if err != nil {
			return err
		}
		if got := condition(&d.Status, appsv1.DeploymentProgressing); got == nil || got.Status != corev1.ConditionFalse || got.Reason != "ReplicaSetCreateError" ||
			!strings.HasPrefix(got.Message, `Failed to create new replica set "web-`) {
			return fmt.Errorf("condition %+v", got)
		}
		if !slices.ContainsFunc(c.Events.Lines(), func(e string) bool { return strings.HasPrefix(e, "Warning ReplicaSetCreateError ") }) {
			return fmt.Errorf("events %v", c.Events.Lines())
		}
		return nil
	})
}

func TestAdoptsAndReleases(t *testing.T) {
	free, strange := set("v2", 9, 1, 1), set("v1", 9, 1, 1)
	free.OwnerReferences = nil
	strange.Labels = map[string]string{"app": "elsewhere"}
	c := start(t, obedient, deploy(1, "1", "1"), free, strange)
	c.Eventually("one is adopted, one released", func() error {
		list, err := c.Client.AppsV1().ReplicaSets("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, rs := range list.Items {
			if owned := metav1.IsControlledBy(&rs, deploy(1, "1", "1")); owned != (rs.Name == free.Name) {
				return fmt.Errorf("%s owned: %v", rs.Name, owned)
			}
		}
		return nil
	})
}
