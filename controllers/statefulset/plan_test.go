// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hivemind-project/hivemind/controllers/internal/history"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func set(size int32, edit ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "db-uid", Generation: 1},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &size, ServiceName: "db", PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template:       template("v1"),
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)}},
		},
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

func parallel(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }
func onDelete(s *appsv1.StatefulSet) {
	s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
}
func from(start int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: start} }
}
func partition(p int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &p }
}
func maxUnavailable(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) {
		v := intstr.FromInt32(n)
		s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &v
	}
}
func minReady(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = n }
}

func revision(name, image string) history.Revision {
	return history.Revision{ControllerRevision: &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}}, Template: template(image)}
}

// pods makes pods of words like "0", "1:old", "2:pending", "3:unready", "4:failed", "5:deleted", "6:young".
func pods(words string) []*corev1.Pod {
	var list []*corev1.Pod
	for _, word := range strings.Fields(words) {
		number, rest, _ := strings.Cut(word, ":")
		name := "db-" + number
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{
				"app": "db", appsv1.StatefulSetPodNameLabel: name, appsv1.StatefulSetRevisionLabel: "new",
			}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
			}}},
		}
		for _, trait := range strings.Split(rest, ",") {
			switch trait {
			case "old":
				p.Labels[appsv1.StatefulSetRevisionLabel] = "old"
			case "pending":
				p.Status = corev1.PodStatus{Phase: corev1.PodPending}
			case "unready":
				p.Status.Conditions = nil
			case "failed":
				p.Status = corev1.PodStatus{Phase: corev1.PodFailed}
			case "deleted":
				p.DeletionTimestamp = &metav1.Time{Time: now}
			case "young":
				p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Second))
			case "strange":
				delete(p.Labels, appsv1.StatefulSetPodNameLabel)
			}
		}
		list = append(list, p)
	}
	return list
}

// show leaves tending out: it is not what the cases are about.
func show(p plan) string {
	var out []string
	for _, s := range p.steps {
		if s.verb != tend {
			out = append(out, fmt.Sprintf("%s %s", s.verb, strings.TrimPrefix(s.pod.Name, "db-")))
		}
	}
	return strings.Join(out, ", ")
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  *appsv1.StatefulSet
		pods string
		want string
	}{
		{"settled", set(2), "0 1", ""},
		{"one at a time", set(3), "", "Create 0"},
		{"the next once the first is ready", set(3), "0", "Create 1"},
		{"not before", set(3), "0:pending", ""},
		{"nor while it is not ready", set(3), "0:unready", ""},
		{"nor before it has been for long enough", set(3, minReady(10)), "0:young", ""},
		{"all at once", set(3, parallel), "", "Create 0, Create 1, Create 2"},
		{"a gap", set(3), "0 2", "Create 1"},
		{"a failed pod is replaced", set(2), "0:failed 1", "Delete 0"},
		{"once", set(2), "0:failed,deleted 1", ""},
		{"ordinals from five on", set(2, from(5)), "5", "Create 6"},
		{"what is below the start goes", set(1, from(5)), "5 4", "Delete 4"},
		{"scales down from the top", set(1), "0 1 2", "Delete 2"},
		{"one at a time down", set(1), "0 1 2:deleted", ""},
		{"not while another is broken", set(2), "0:unready 1 2", ""},
		{"unless it is the broken one", set(2), "0 1 2:unready", "Delete 2"},
		{"down all at once", set(1, parallel), "0 1 2:deleted 3", "Delete 3, Delete 1"},
		{"to zero", set(0), "0 1", "Delete 1"},
		{"an update starts at the top", set(3), "0:old 1:old 2:old", "Delete 2"},
		{"and waits", set(3), "0:old 1:old 2:unready", ""},
		{"and goes on", set(3), "0:old 1:old 2", "Delete 1"},
		{"to the partition", set(3, partition(1)), "0:old 1 2", ""},
		{"a broken old one", set(2, parallel), "0:old 1:old,unready", "Delete 1"},
		{"two at a time", set(4, parallel, maxUnavailable(2)), "0:old 1:old 2:old 3:old", "Delete 3, Delete 2"},
		{"those that are missing count", set(4, parallel, maxUnavailable(2)), "0:old 1:old 2:old 3:unready", "Delete 2"},
		{"only when somebody deletes it", set(2, onDelete), "0:old 1:old", ""},
		{"a pod that has lost its label", set(1), "0:strange", "Update 0"},
		{"names that only look alike", set(1), "0 01 x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(tc.set, pods(tc.pods), revision("old", "v0"), revision("new", "v1"), now)
			if got := show(w.plan()); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		name    string
		set     *appsv1.StatefulSet
		pods    string
		want    string // replicas ready available current updated
		current string
	}{
		{"halfway", set(3, minReady(10)), "0:old 1:young 2:pending", "3 2 1 1 2", "old"},
		{"deleted pods are of no revision", set(2), "0:old 1:deleted", "2 2 2 1 0", "old"},
		{"complete", set(2), "0 1", "2 2 2 2 2", "new"},
		{"a pod too many is not complete", set(1), "0 1", "2 2 2 0 2", "old"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newWorld(tc.set, pods(tc.pods), revision("old", "v0"), revision("new", "v1"), now).status(0)
			got := fmt.Sprint(s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.CurrentReplicas, s.UpdatedReplicas)
			if got != tc.want || s.CurrentRevision != tc.current || s.UpdateRevision != "new" || s.ObservedGeneration != 1 {
				t.Errorf("got %s, current %s; want %s, %s", got, s.CurrentRevision, tc.want, tc.current)
			}
		})
	}
}

func TestNewPod(t *testing.T) {
	s := set(3, partition(1))
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	w := newWorld(s, nil, revision("old", "v0"), revision("new", "v1"), now)
	for n, want := range []string{"old v0", "new v1"} {
		p := w.newPod(n)
		if got := p.Labels[appsv1.StatefulSetRevisionLabel] + " " + p.Spec.Containers[0].Image; got != want {
			t.Errorf("pod %d is %s, want %s", n, got, want)
		}
	}
	p := w.newPod(2)
	if p.Name != "db-2" || p.Spec.Hostname != "db-2" || p.Spec.Subdomain != "db" || p.Labels[appsv1.PodIndexLabel] != "2" ||
		p.Labels[appsv1.StatefulSetPodNameLabel] != "db-2" || p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-2" {
		t.Errorf("pod %+v, volumes %v", p.ObjectMeta, p.Spec.Volumes)
	}
}

func TestClaimOwners(t *testing.T) {
	const retain, del = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	pod := pods("1")[0]
	foreign := []metav1.OwnerReference{*metav1.NewControllerRef(&metav1.ObjectMeta{Name: "x", UID: "x"}, kind)}
	for _, tc := range []struct {
		name            string
		deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		ordinal         int
		had             []metav1.OwnerReference
		want            string
		changed         bool
	}{
		{"kept", retain, retain, 1, nil, "", false},
		{"goes with the set", del, retain, 1, nil, "StatefulSet", true},
		{"goes when scaled away, not yet", retain, del, 1, nil, "", false},
		{"goes when scaled away", retain, del, 2, nil, "Pod", true},
		{"both, in range", del, del, 1, nil, "StatefulSet", true},
		{"both, scaled away", del, del, 2, []metav1.OwnerReference{*metav1.NewControllerRef(set(1), kind)}, "Pod", true},
		{"no longer", retain, retain, 1, []metav1.OwnerReference{*metav1.NewControllerRef(set(1), kind)}, "", true},
		{"somebody else's", del, del, 1, foreign, "StatefulSet", false},
	} {
		s := set(2)
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: tc.deleted, WhenScaled: tc.scaled}
		refs, changed := claimOwners(s, pod, tc.ordinal, tc.had)
		var kinds []string
		for _, ref := range refs {
			kinds = append(kinds, ref.Kind)
		}
		if strings.Join(kinds, " ") != tc.want || changed != tc.changed {
			t.Errorf("%s: got %v, %v; want %s, %v", tc.name, kinds, changed, tc.want, tc.changed)
		}
	}
}
