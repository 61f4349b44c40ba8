// SPDX-License-Identifier: Apache-2.0

package validatingadmissionpolicystatus

import (
	"context"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestStatus(t *testing.T) {
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "new", Generation: 2}}
	policy.Status.ObservedGeneration = 1
	known := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "known", Generation: 1}}
	known.Status.ObservedGeneration = 1
	cluster := testcluster.New(t, policy, known)
	c, err := New(cluster.Client, cluster.Informers.Admissionregistration().V1().ValidatingAdmissionPolicies())
	if err != nil {
		t.Fatal(err)
	}
	checked := make(chan string, 10)
	c.check = func(p *admissionv1.ValidatingAdmissionPolicy) []admissionv1.ExpressionWarning {
		checked <- p.Name
		return []admissionv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression", Warning: "no such field"}}
	}
	cluster.Start(func(ctx context.Context) { c.Run(ctx, 1) })
	cluster.Eventually("the status", func() error {
		got, err := cluster.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(t.Context(), "new", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s := got.Status; s.ObservedGeneration != 2 || s.TypeChecking == nil || len(s.TypeChecking.ExpressionWarnings) != 1 || s.TypeChecking.ExpressionWarnings[0].Warning != "no such field" {
			return fmt.Errorf("status is %+v", s)
		}
		return nil
	})
	for range len(checked) {
		if name := <-checked; name != "new" {
			t.Errorf("%s was checked again", name)
		}
	}
}
