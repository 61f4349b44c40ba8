// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestDecide(t *testing.T) {
	a, b := []types.UID{"a"}, []types.UID{"b"}
	for _, tc := range []struct {
		name          string
		finalizers    []string
		of            owners
		hasDependents bool
		circular      bool
		want          decision
	}{
		{name: "an owner is there", of: owners{solid: a}, want: decision{}},
		{name: "one is, another is gone", of: owners{solid: a, dangling: b}, want: decision{drop: b}},
		{name: "one is, another waits", of: owners{solid: a, waiting: b}, hasDependents: true, want: decision{drop: b}},
		{name: "all are gone", of: owners{dangling: a}, want: decision{remove: metav1.DeletePropagationBackground}},
		{name: "all are gone, dependents follow later", of: owners{dangling: a}, hasDependents: true, want: decision{remove: metav1.DeletePropagationBackground}},
		{name: "an owner waits", of: owners{waiting: a}, want: decision{remove: metav1.DeletePropagationBackground}},
		{name: "an owner waits and dependents go first", of: owners{waiting: a, dangling: b}, hasDependents: true, want: decision{remove: metav1.DeletePropagationForeground}},
		{name: "in a circle", of: owners{waiting: a}, hasDependents: true, circular: true, want: decision{unblock: true, remove: metav1.DeletePropagationForeground}},
		{name: "an orphan finalizer is honored", finalizers: []string{metav1.FinalizerOrphanDependents}, of: owners{dangling: a}, want: decision{remove: metav1.DeletePropagationOrphan}},
		{name: "a foreground finalizer is honored", finalizers: []string{metav1.FinalizerDeleteDependents}, of: owners{dangling: a}, want: decision{remove: metav1.DeletePropagationForeground}},
		{name: "impossible owners leave all as it is", of: owners{dangling: a, misplaced: true}, want: decision{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obj := &metav1.ObjectMeta{Finalizers: tc.finalizers}
			got := decide(obj, tc.of, tc.hasDependents, tc.circular)
			if len(got.drop) == 0 {
				got.drop = nil
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(decision{})); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}
