// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The classes that every cluster has stay; others can be deleted.
func TestSystemPriorityClassesStay(t *testing.T) {
	c := newCluster(t)
	classes := c.SchedulingV1().PriorityClasses()
	if _, err := classes.Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Value: 7}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"mine":                    "ok",
		"system-node-critical":    `403 Forbidden priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted`,
		"system-cluster-critical": `403 Forbidden priorityclasses.scheduling.k8s.io "system-cluster-critical" is forbidden: this is a system priority class and cannot be deleted`,
	} {
		if got := status(classes.Delete(t.Context(), name, metav1.DeleteOptions{})); got != want {
			t.Errorf("delete %s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}
