// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

func TestDeletable(t *testing.T) {
	all := metav1.Verbs{"delete", "list", "deletecollection"}
	found, err := deletable([]*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Verbs: all}, {Name: "pods/status", Verbs: all}, {Name: "bindings", Verbs: metav1.Verbs{"create"}},
		}},
		{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "widgets", Verbs: metav1.Verbs{"delete"}}}},
		{GroupVersion: "a/b/c"},
	})
	if got := fmt.Sprint(found); got != "[{{ v1 pods} true true} {{example.com v1 widgets} false false}]" || err == nil {
		t.Errorf("resources %s, error %v", got, err)
	}
}

func TestConditions(t *testing.T) {
	maps, widgets := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	items := func(n int, finalizers ...string) []metav1.PartialObjectMetadata {
		list := make([]metav1.PartialObjectMetadata, n)
		for i := range list {
			list[i].Namespace, list[i].Finalizers = "ns", finalizers
		}
		return list
	}
	for _, tc := range []struct {
		name     string
		left     func(r *remains)
		want     []string // type reason: message of those that are true
		estimate time.Duration
	}{
		{name: "nothing", left: func(*remains) {}},
		{name: "finalizers", left: func(r *remains) { r.add(widgets, items(2, "f"), 0); r.add(maps, items(1, "f", "e"), 0) }, estimate: 15 * time.Second, want: []string{
			"NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances, widgets.example.com has 2 resource instances",
			"NamespaceFinalizersRemaining SomeFinalizersRemain: Some content in the namespace has finalizers remaining: e in 1 resource instances, f in 3 resource instances",
		}},
		{name: "pods that stop", left: func(r *remains) { r.add(podsResource, items(1), 30*time.Second) }, estimate: 30 * time.Second, want: []string{
			"NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: pods. has 1 resource instances",
		}},
		{name: "what should be gone", left: func(r *remains) { r.add(maps, items(1), 0) }, want: []string{
			"NamespaceDeletionContentFailure ContentDeletionFailed: Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: ns for gvr: /v1, Resource=configmaps",
			"NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances",
		}},
		{name: "failures", left: func(r *remains) {
			r.discovery = &discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{{Group: "g", Version: "v1"}: errors.New("down")}}
			r.parsing = errors.New("unexpected GroupVersion string: a/b/c")
			r.deletion = []error{errors.New("z"), errors.New("a")}
		}, want: []string{
			"NamespaceDeletionDiscoveryFailure DiscoveryFailed: Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: g/v1: down",
			"NamespaceDeletionGroupVersionParsingFailure GroupVersionParsingFailed: unexpected GroupVersion string: a/b/c",
			"NamespaceDeletionContentFailure ContentDeletionFailed: Failed to delete all resource types, 2 remaining: a, z",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRemains()
			tc.left(r)
			var got []string
			for _, c := range r.conditions() {
				got = append(got, fmt.Sprintf("%s %s: %s", c.Type, c.Reason, c.Message))
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") || r.estimate != tc.estimate {
				t.Errorf("estimate %v, conditions\n%s\nwant\n%s", r.estimate, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestSetConditions(t *testing.T) {
	then, now := time.Unix(100, 0), time.Unix(200, 0)
	status := &corev1.NamespaceStatus{}
	failing := []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Reason: "SomeResourcesRemain", Message: "2 left"}}
	if !setConditions(status, failing, then) || len(status.Conditions) != 5 {
		t.Fatalf("conditions %v", status.Conditions)
	}
	if setConditions(status, failing, now) {
		t.Error("the same conditions count as a change")
	}
	failing[0].Message = "1 left"
	if !setConditions(status, failing, now) || !status.Conditions[3].LastTransitionTime.Time.Equal(then) {
		t.Errorf("a new message must be stored and keep the time: %+v", status.Conditions[3])
	}
	if !setConditions(status, nil, now) || !status.Conditions[3].LastTransitionTime.Time.Equal(now) || status.Conditions[3].Reason != "ContentRemoved" {
		t.Errorf("a new status must have the time of the change: %+v", status.Conditions[3])
	}
}
