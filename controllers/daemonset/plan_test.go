// SPDX-License-Identifier: Apache-2.0

package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func set(surge, unavailable int32, edit ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	s, u := intstr.FromInt32(surge), intstr.FromInt32(unavailable)
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent", UID: "agent-uid", Generation: 1},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "v1"}}},
			},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u},
			},
		},
	}
	for _, e := range edit {
		e(ds)
	}
	return ds
}

// nodes makes nodes of words like "a", "b:no" (a NoSchedule taint), "c:never" (NoExecute), "d:gpu" (a label), "e:cordoned".
func nodes(words string) []*corev1.Node {
	var list []*corev1.Node
	for _, word := range strings.Fields(words) {
		name, trait, _ := strings.Cut(word, ":")
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
		switch trait {
		case "no":
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
		case "never":
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}
		case "cordoned":
			n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
		case "gpu":
			n.Labels["gpu"] = "yes"
		}
		list = append(list, n)
	}
	return list
}

// pods makes pods of words like "a1" (on node a), "b1:old", "a2:unready", "a1:failed", "a1:deleted", "a1:waiting" (not bound yet).
func pods(words string) []*corev1.Pod {
	var list []*corev1.Pod
	for i, word := range strings.Fields(words) {
		name, traits, _ := strings.Cut(word, ":")
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(i) * time.Second)),
				Labels: map[string]string{"app": "agent", appsv1.DefaultDaemonSetUniqueLabelKey: "new"},
			},
			Spec: corev1.PodSpec{NodeName: name[:1], Affinity: toNode(nil, name[:1])},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
			}}},
		}
		for _, trait := range strings.Split(traits, ",") {
			switch trait {
			case "old":
				p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = "old"
			case "unready":
				p.Status.Conditions = nil
			case "failed":
				p.Status = corev1.PodStatus{Phase: corev1.PodFailed}
			case "succeeded":
				p.Status = corev1.PodStatus{Phase: corev1.PodSucceeded}
			case "deleted":
				p.DeletionTimestamp = &metav1.Time{Time: now}
			case "waiting":
				p.Spec.NodeName, p.Status = "", corev1.PodStatus{Phase: corev1.PodPending}
			}
		}
		list = append(list, p)
	}
	return list
}

func show(do actions) string {
	var out []string
	for _, n := range do.create {
		out = append(out, "+"+n)
	}
	for _, p := range do.remove {
		out = append(out, "-"+p.Name)
	}
	if do.again > 0 {
		out = append(out, do.again.String())
	}
	return strings.Join(out, " ")
}

func TestManage(t *testing.T) {
	onGPU := func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"gpu": "yes"} }
	onB := func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeName = "b" }
	for _, tc := range []struct {
		name  string
		ds    *appsv1.DaemonSet
		nodes string
		pods  string
		want  string
	}{
		{"one on each node", set(0, 1), "a b c", "b1", "+a +c"},
		{"not where a taint keeps it away", set(0, 1), "a:no b:never", "", ""},
		{"it stays where it is already, unless it is driven out", set(0, 1), "a:no b:never", "a1 b1", "-b1"},
		{"on a cordoned node too", set(0, 1), "a:cordoned", "", "+a"},
		{"only on nodes that are selected", set(0, 1, onGPU), "a b:gpu", "a1", "+b -a1"},
		{"only on the node that is named", set(0, 1, onB), "a b", "", "+b"},
		{"one that waits for the scheduler counts", set(0, 1), "a", "a1:waiting", ""},
		{"one too many: the younger goes, a bound one stays", set(0, 1), "a", "a1:waiting a2 a3", "-a3 -a1"},
		{"a failed one is replaced", set(0, 1), "a", "a1:failed", "-a1"},
		{"after a while", set(0, 1), "b", "b1:failed", "1m0s"},
		{"one that ended by itself too", set(0, 1), "a", "a1:succeeded", "-a1"},
		{"no new one while the last is still leaving", set(0, 1), "a", "a1:deleted", ""},
		{"but with a surge", set(1, 0), "a", "a1:deleted", "+a"},
		{"a surge's new pod is not ready yet", set(1, 0), "a", "a1:old a2:unready", ""},
		{"now it is", set(1, 0), "a", "a1:old a2", "-a1"},
		{"the old one broke", set(1, 0), "a", "a1:old,unready a2:unready", "-a1"},
		{"a pod for a node that is gone", set(0, 1), "a", "a1 z1:waiting", "-z1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(tc.ds, nodes(tc.nodes), pods(tc.pods), "new", now)
			got := show(w.manage(func(p *corev1.Pod) time.Duration {
				if p.Spec.NodeName == "b" || strings.HasPrefix(p.Name, "b") {
					return time.Minute
				}
				return 0
			}))
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRoll(t *testing.T) {
	for _, tc := range []struct {
		name string
		ds   *appsv1.DaemonSet
		pods string
		want string
	}{
		{"done", set(0, 1), "a1 b1 c1", ""},
		{"one at a time", set(0, 1), "a1:old b1:old c1:old", "-a1"},
		{"not while another is missing", set(0, 1), "a1:old b1:old", ""},
		{"nor while it is not ready", set(0, 1), "a1:unready b1:old c1:old", ""},
		{"two at a time", set(0, 2), "a1:old b1:old c1:old", "-a1 -b1"},
		{"broken old ones at once", set(0, 1), "a1:old,unready b1:old c1:old,unready", "-a1 -c1"},
		{"with a surge", set(1, 0), "a1:old b1:old c1:old", "+a"},
		{"which is used up", set(1, 0), "a1:old a2:unready b1:old c1:old", ""},
		{"and free again", set(1, 0), "a1:old a2 b1:old c1:old", "+b -a1"},
		{"neither surge nor unavailable would be a standstill", set(0, 0), "a1:old b1:old c1:old", "-a1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(tc.ds, nodes("a b c"), pods(tc.pods), "new", now)
			if got := show(w.roll(actions{})); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(set(0, 1), nodes("a b c d:no"), pods("a1 b1:old b2:unready d1"), "new", now)
	s := w.status(true, 0)
	got := fmt.Sprint(s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled, s.NumberReady, s.NumberAvailable, s.NumberUnavailable, s.UpdatedNumberScheduled, s.ObservedGeneration)
	if got != "3 2 1 2 2 1 2 1" {
		t.Errorf("got %s", got)
	}
	if s := w.status(false, 1); s.ObservedGeneration != 0 || *s.CollisionCount != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestPodTemplate(t *testing.T) {
	seconds := int64(5)
	ds := set(0, 1)
	ds.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "3"}
	ds.Spec.Template.Spec.HostNetwork = true
	ds.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}}
	template := podTemplate(ds, "abc")
	if template.Labels["pod-template-generation"] != "3" || template.Labels["controller-revision-hash"] != "abc" {
		t.Errorf("labels %v", template.Labels)
	}
	if n := len(template.Spec.Tolerations); n != 7 || slices.ContainsFunc(template.Spec.Tolerations, func(t corev1.Toleration) bool { return t.TolerationSeconds != nil }) {
		t.Errorf("%d tolerations: %v", n, template.Spec.Tolerations)
	}
	if len(ds.Spec.Template.Labels) != 1 || len(ds.Spec.Template.Spec.Tolerations) != 1 {
		t.Error("the set's own template was changed")
	}
}
