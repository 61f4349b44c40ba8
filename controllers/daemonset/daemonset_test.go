// SPDX-License-Identifier: Apache-2.0

package daemonset

import (
	"context"
	"fmt"
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
	ds := set(0, 1)
	limit := int32(1)
	ds.Spec.RevisionHistoryLimit = &limit
	objs := []runtime.Object{ds}
	for _, n := range nodes("a b c:no") {
		objs = append(objs, n)
	}
	c := testcluster.New(t, objs...)
	c.Client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		p := action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		p.Spec.NodeName = nodeOf(p)
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}}
		return false, nil, nil
	})
	apps, core := c.Informers.Apps().V1(), c.Informers.Core().V1()
	controller, err := New(c.Client, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	settled := func(image, on string, revisions int) func() error {
		return func() error {
			list, err := c.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			found := map[string]int{}
			for _, p := range list.Items {
				if p.Spec.Containers[0].Image == image {
					found[p.Spec.NodeName]++
				}
			}
			want := map[string]int{}
			for _, n := range strings.Fields(on) {
				want[n] = 1
			}
			history, err := c.Client.AppsV1().ControllerRevisions("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			ds, err := c.Client.AppsV1().DaemonSets("default").Get(ctx, "agent", metav1.GetOptions{})
			if err != nil {
				return err
			}
			st := ds.Status
			if fmt.Sprint(found) != fmt.Sprint(want) || len(list.Items) != len(want) || int(st.UpdatedNumberScheduled) != len(want) || int(st.NumberAvailable) != len(want) ||
				st.ObservedGeneration != ds.Generation || len(history.Items) != revisions {
				return fmt.Errorf("pods %v, status %+v, %d revisions", found, st, len(history.Items))
			}
			return nil
		}
	}
	c.Eventually("created", settled("v1", "a b", 1))
	if _, err := c.Client.CoreV1().Nodes().Create(ctx, nodes("d")[0], metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a node joins", settled("v1", "a b d", 1))
	if _, err := c.Client.CoreV1().Nodes().Update(ctx, nodes("a:never")[0], metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a node drives it out", settled("v1", "b d", 1))
	for i, image := range []string{"v2", "v3", "v4"} {
		c.Eventually("the template is changed", func() error {
			ds, err := c.Client.AppsV1().DaemonSets("default").Get(ctx, "agent", metav1.GetOptions{})
			if err != nil {
				return err
			}
			ds.Spec.Template.Spec.Containers[0].Image = image
			ds.Generation++
			_, err = c.Client.AppsV1().DaemonSets("default").Update(ctx, ds, metav1.UpdateOptions{})
			return err
		})
		c.Eventually("updated to "+image, settled(image, "b d", min(2, i+2)))
	}
	list, err := c.Client.AppsV1().ControllerRevisions("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Items {
		if r.Name != "agent-"+r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] {
			t.Errorf("revision %s has labels %v", r.Name, r.Labels)
		}
	}
	if events := c.Events.Lines(); !strings.HasPrefix(events[0], "Normal SuccessfulCreate Created pod: agent-") {
		t.Errorf("events %v", events)
	}
}
