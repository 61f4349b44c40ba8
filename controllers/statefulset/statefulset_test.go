// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestLifeOfASet(t *testing.T) {
	ctx := context.Background()
	s := set(3)
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	limit := int32(1)
	s.Spec.RevisionHistoryLimit = &limit
	c := testcluster.New(t, s)
	c.Client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		p := action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}}
		return false, nil, nil
	})
	apps, core := c.Informers.Apps().V1(), c.Informers.Core().V1()
	controller, err := New(c.Client, apps.StatefulSets(), apps.ControllerRevisions(), core.Pods(), core.PersistentVolumeClaims(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	settled := func(image string, size int32, revisions int) func() error {
		return func() error {
			list, err := c.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			var names []string
			for _, p := range list.Items {
				if p.Spec.Containers[0].Image == image {
					names = append(names, p.Name)
				}
			}
			history, err := c.Client.AppsV1().ControllerRevisions("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			s, err := c.Client.AppsV1().StatefulSets("default").Get(ctx, "db", metav1.GetOptions{})
			if err != nil {
				return err
			}
			st := s.Status
			if len(names) != int(size) || st.Replicas != size || st.UpdatedReplicas != size || st.CurrentReplicas != size || st.CurrentRevision != st.UpdateRevision ||
				st.ObservedGeneration != s.Generation || len(history.Items) != revisions {
				return fmt.Errorf("pods %v, status %+v, %d revisions", names, st, len(history.Items))
			}
			return nil
		}
	}
	change := func(edit func(*appsv1.StatefulSet)) {
		t.Helper()
		c.Eventually("the set is changed", func() error {
			s, err := c.Client.AppsV1().StatefulSets("default").Get(ctx, "db", metav1.GetOptions{})
			if err != nil {
				return err
			}
			edit(s)
			s.Generation++
			_, err = c.Client.AppsV1().StatefulSets("default").Update(ctx, s, metav1.UpdateOptions{})
			return err
		})
	}
	c.Eventually("created", settled("v1", 3, 1))
	claims, err := c.Client.CoreV1().PersistentVolumeClaims("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(claims.Items) != 3 || claims.Items[0].Name != "data-db-0" || claims.Items[0].Labels["app"] != "db" {
		t.Errorf("claims %v, error %v", claims.Items, err)
	}
	events := c.Events.Lines()
	if !slices.Contains(events, "Normal SuccessfulCreate Create Pod db-0 in StatefulSet db successful") ||
		!slices.Contains(events, "Normal SuccessfulCreate Create Claim data-db-0 Pod db-0 in StatefulSet db success") {
		t.Errorf("events %v", events)
	}
	change(func(s *appsv1.StatefulSet) { s.Spec.Template = template("v2") })
	c.Eventually("updated", settled("v2", 3, 2))
	change(func(s *appsv1.StatefulSet) { *s.Spec.Replicas = 1 })
	c.Eventually("scaled down", settled("v2", 1, 2))
	change(func(s *appsv1.StatefulSet) { s.Spec.Template = template("v1") })
	c.Eventually("rolled back to a revision that it had", settled("v1", 1, 2))
	change(func(s *appsv1.StatefulSet) { s.Spec.Template = template("v3") })
	c.Eventually("history is cut", settled("v3", 1, 2))

	list, err := c.Client.AppsV1().ControllerRevisions("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b appsv1.ControllerRevision) int { return int(b.Revision - a.Revision) })
	if data := string(list.Items[0].Data.Raw); list.Items[0].Revision != 4 || !strings.HasPrefix(data, `{"spec":{"template":{"$patch":"replace",`) || list.Items[0].Labels["controller.kubernetes.io/hash"] == "" {
		t.Errorf("revision %+v, data %s", list.Items[0].ObjectMeta, data)
	}
}
