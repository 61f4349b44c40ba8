// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// loops are admission webhooks that never come to an end: two that undo each other, and one that asks the API for the same again.
func loops(t *testing.T, s *suite) {
	client := kubernetes.NewForConfigOrDie(s.admin)
	create := func(ctx context.Context) (map[string]string, error) {
		made, err := client.CoreV1().ConfigMaps("default").Create(ctx, hooked(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return nil, err
		}
		return made.Data, nil
	}
	t.Run("undo each other", func(t *testing.T) {
		var calls atomic.Int32
		count := newHook(t, func(r *admissionv1.AdmissionReview) []byte {
			return answerWith(r, fmt.Sprintf(`[{"op":"add","path":"/data/calls","value":"%d"}]`, calls.Add(1)))
		})
		s.registerAgain(t, client, 5, count, count, count)
		soon(t, "all are asked, once more where others have changed something, and then no more", func(ctx context.Context) (bool, error) {
			calls.Store(0)
			data, err := create(ctx)
			return err == nil && data["calls"] == "6" && calls.Load() == 6, err
		})
	})
	t.Run("ask for the same again", func(t *testing.T) {
		var calls atomic.Int32
		again := newHook(t, func(r *admissionv1.AdmissionReview) []byte {
			calls.Add(1)
			_, _ = create(context.WithoutCancel(t.Context())) // which asks this webhook, until time is up
			return answerWith(r, `[]`)
		})
		s.registerAgain(t, client, 2, again)
		soon(t, "a request ends because the webhook takes too long", func(ctx context.Context) (bool, error) {
			_, err := create(ctx)
			return apierrors.IsInternalError(err), nil
		})
		t.Logf("asked %d times", calls.Load())
	})
}

func answerWith(r *admissionv1.AdmissionReview, patch string) []byte {
	kind := admissionv1.PatchTypeJSONPatch
	r.Response = &admissionv1.AdmissionResponse{UID: r.Request.UID, Allowed: true, PatchType: &kind, Patch: []byte(patch)}
	r.Request = nil
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // it came as JSON
	}
	return text
}

// registerAgain has the server ask the hooks about hooked objects, again where others have changed them, and for so many seconds at most.
func (s *suite) registerAgain(t *testing.T, client kubernetes.Interface, seconds int32, hooks ...*httptest.Server) {
	t.Helper()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "again"}}
	for i, hook := range hooks {
		configuration.Webhooks = append(configuration.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: fmt.Sprintf("hook%d.hostile.example.com", i), AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: &seconds, ReinvocationPolicy: ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(fmt.Sprintf("%s/%d", hook.URL, i)), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: hooked().Labels},
		})
	}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configurations.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), configuration.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}
