// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// hooks are admission webhooks that hang, lie, or answer more than anybody asked for.
func hooks(t *testing.T, s *suite) {
	client := kubernetes.NewForConfigOrDie(s.admin)
	patched := func(patch string) func(*admissionv1.AdmissionReview) []byte {
		return func(r *admissionv1.AdmissionReview) []byte {
			kind := admissionv1.PatchTypeJSONPatch
			r.Response = &admissionv1.AdmissionResponse{UID: r.Request.UID, Allowed: true, PatchType: &kind, Patch: []byte(patch)}
			r.Request = nil
			text, err := json.Marshal(r)
			if err != nil {
				panic(err) // it came as JSON
			}
			return text
		}
	}
	for _, tt := range []struct {
		name   string
		ignore bool // the policy of failure
		answer func(*admissionv1.AdmissionReview) []byte
		want   string
		raw    http.HandlerFunc // in place of answer
	}{
		{"redirects", false, nil, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: Post "/again": stopped after 10 redirects`,
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
			}},
		{"drips", false, nil, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: unexpected error when reading response body. Please retry. Original error: …`, drip},
		{"never ends", false, nil, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: …`, neverEnd},
		{"never ends and is ignored", true, nil, "created", neverEnd},
		{"hangs", false, nil, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: Post "$URL/?timeout=1s": context deadline exceeded`, nil},
		{"hangs and is ignored", true, nil, "created", nil},
		{"answers nothing", false, func(*admissionv1.AdmissionReview) []byte { return nil }, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: 0-length response with status code: 200 and content type: application/json`, nil},
		{"answers text", false, func(*admissionv1.AdmissionReview) []byte { return []byte("<html>") }, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: …`, nil},
		{"answers far too much", false, func(*admissionv1.AdmissionReview) []byte { return []byte(strings.Repeat("x", 64<<20)) }, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: …`, nil},
		{"answers far too deep", false, func(*admissionv1.AdmissionReview) []byte { return []byte(strings.Repeat(`{"a":`, 200_000)) }, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: …`, nil},
		{"answers another question", false, func(*admissionv1.AdmissionReview) []byte {
			return []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"other","allowed":true}}`)
		}, `500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": received invalid webhook response: expected response.uid=…`, nil},
		{"patches what is not there", false, patched(`[{"op":"replace","path":"/nothing/there","value":1}]`), `500 InternalError Internal error occurred: …`, nil},
		{"patches with what is no patch", false, patched(`{"a":1}`), `500 InternalError Internal error occurred: …`, nil},
		{"patches itself into growth", false, patched(copies(40)), `500 InternalError Internal error occurred: …`, nil},
		{"patches in too much", false, patched(`[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("x", 4<<20) + `"}}]`), `422 Invalid ConfigMap "hooked" is invalid: []: Too long: may not be more than 1048576 bytes`, nil},
		{"patches in many things", false, patched(`[{"op":"add","path":"/metadata/ownerReferences","value":[` + strings.TrimSuffix(strings.Repeat("{},", 3_500_000), ",") + `]}]`),
			`500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: unexpected error when reading response body. Please retry. Original error: the webhook's patch has too much in it: Request entity too large: it has …`, nil},
		{"patches in what is deep", false, patched(`[{"op":"add","path":"/metadata/ownerReferences","value":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}]`),
			`500 InternalError Internal error occurred: failed calling webhook "hook.hostile.example.com": failed to call webhook: unexpected error when reading response body. Please retry. Original error: the webhook's patch has too much in it: the body is nested 5002 levels deep, …`, nil},
		{"patches the name", false, patched(`[{"op":"replace","path":"/metadata/namespace","value":"kube-system"}]`), `400 BadRequest the namespace of the provided object does not match the namespace sent on the request`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hook := newHook(t, tt.answer)
			if tt.raw != nil {
				hook.Config.Handler = tt.raw
			}
			s.register(t, client, hook, tt.ignore)
			_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), hooked(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			got := "created"
			if status, ok := err.(apierrors.APIStatus); ok {
				got = fmt.Sprintf("%d %s %s", status.Status().Code, status.Status().Reason, status.Status().Message)
			} else if err != nil {
				got = err.Error()
			}
			want := strings.ReplaceAll(tt.want, "$URL", hook.URL)
			if begin, ok := strings.CutSuffix(want, "…"); got != want && !(ok && strings.HasPrefix(got, begin)) {
				t.Errorf("got  %s\nwant %s", abridged(got), want)
			}
		})
	}
}

// hooked is what the webhooks are asked about.
func hooked() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hooked", Labels: map[string]string{"hooked": "yes"}}, Data: map[string]string{"a": "b"}}
}

// newHook answers reviews; without an answer it hangs until the caller goes.
func newHook(t *testing.T, answer func(*admissionv1.AdmissionReview) []byte) *httptest.Server {
	t.Helper()
	end := make(chan struct{})
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var review admissionv1.AdmissionReview
		if err != nil || json.Unmarshal(body, &review) != nil {
			http.Error(w, "not a review", http.StatusBadRequest)
			return
		}
		if answer == nil {
			select {
			case <-end:
			case <-r.Context().Done():
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer(&review)) // who asked may have gone
	}))
	t.Cleanup(func() {
		close(end)
		hook.Close()
	})
	return hook
}

// register has the server ask the hook about hooked objects, and waits until it does so.
func (s *suite) register(t *testing.T, client kubernetes.Interface, hook *httptest.Server, ignore bool) {
	t.Helper()
	policy, effects, timeout := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(1)
	if ignore {
		policy = admissionregistrationv1.Ignore
	}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	asked := make(chan struct{}, 1)
	inner := hook.Config.Handler
	hook.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		inner.ServeHTTP(w, r)
	})
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hostile"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "hook.hostile.example.com", AdmissionReviewVersions: []string{"v1"}, FailurePolicy: &policy, SideEffects: &effects, TimeoutSeconds: &timeout,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &hook.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"hooked": "yes"}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := configurations.Delete(ctx, "hostile", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		_, _ = client.CoreV1().ConfigMaps("default").Create(ctx, hooked(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}) // what is answered is asked for below
		select {
		case <-asked:
			return true, nil
		default:
			return false, nil
		}
	})
	if err != nil {
		t.Fatalf("wait for the webhook to be asked: %v", err)
	}
}
