// SPDX-License-Identifier: Apache-2.0

package podgc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func pod(name, node string, phase corev1.PodPhase, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func deleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
func evicted(p *corev1.Pod) { p.Status.Reason = "Evicted" }
func made(second int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.Unix(second, 0) }
}

func node(name string, ready, out bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if ready {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	}
	if out {
		n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}
	}
	return n
}

func TestPlan(t *testing.T) {
	nodes := map[string]*corev1.Node{"up": node("up", true, false), "down": node("down", false, false), "out": node("out", false, true), "back": node("back", true, true)}
	for _, tc := range []struct {
		name string
		pods []*corev1.Pod
		keep int
		want string
	}{
		{name: "healthy", pods: []*corev1.Pod{pod("a", "up", corev1.PodRunning), pod("b", "", corev1.PodPending), pod("c", "up", corev1.PodRunning, deleted)}},
		{name: "node gone", pods: []*corev1.Pod{pod("a", "gone", corev1.PodRunning), pod("b", "gone", corev1.PodSucceeded)}, want: "a b"},
		{name: "node missing but not known to be gone", pods: []*corev1.Pod{pod("a", "quarantined", corev1.PodRunning)}},
		{name: "deleted before scheduled", pods: []*corev1.Pod{pod("a", "", corev1.PodPending, deleted)}, want: "a"},
		{name: "out of service", pods: []*corev1.Pod{
			pod("a", "out", corev1.PodRunning, deleted), pod("b", "out", corev1.PodRunning), pod("c", "down", corev1.PodRunning, deleted), pod("d", "back", corev1.PodRunning, deleted),
		}, want: "a"},
		{name: "too many have ended: evicted first, then the oldest", keep: 2, pods: []*corev1.Pod{
			pod("new", "up", corev1.PodSucceeded, made(9)), pod("old", "up", corev1.PodFailed, made(1)), pod("mid", "up", corev1.PodSucceeded, made(5)), pod("evicted", "up", corev1.PodFailed, made(8), evicted), pod("runs", "up", corev1.PodRunning),
		}, want: "evicted old"},
		{name: "all may stay", keep: 0, pods: []*corev1.Pod{pod("a", "up", corev1.PodSucceeded)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, v := range plan(tc.pods, nodes, map[string]bool{"gone": true}, tc.keep) {
				got = append(got, v.pod.Name)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

func TestPass(t *testing.T) {
	ctx := context.Background()
	c := testcluster.New(t, node("up", true, false), pod("lost", "gone", corev1.PodRunning), pod("fine", "up", corev1.PodRunning), pod("never", "", corev1.PodPending, deleted))
	core := c.Informers.Core().V1()
	controller := New(c.Client, core.Pods(), core.Nodes(), DefaultThreshold)
	at := time.Unix(1000, 0)
	controller.now = func() time.Time { return at }
	left := func() []string {
		list, err := c.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range list.Items {
			names = append(names, p.Name)
		}
		return names
	}
	passed := make(chan error)
	c.Start(func(context.Context) {
		for range 3 {
			passed <- controller.pass(ctx)
			at = at.Add(21 * time.Second)
		}
	})
	for i, want := range [][]string{{"fine", "lost"}, {"fine", "lost"}, {"fine"}} {
		if err := <-passed; err != nil {
			t.Fatal(err)
		}
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("pass %d: left %v, want %v", i, got, want)
		}
	}
	var patches []string
	for _, action := range c.Client.Actions() {
		if p, ok := action.(interface{ GetPatch() []byte }); ok && action.GetSubresource() == "status" {
			patches = append(patches, string(p.GetPatch()))
		}
	}
	if len(patches) < 2 || !strings.Contains(fmt.Sprint(patches), `"reason":"DeletionByPodGC","message":"PodGC: node no longer exists"`) ||
		!strings.Contains(patches[0], `"phase":"Failed"`) {
		t.Errorf("patches %v", patches)
	}
}
