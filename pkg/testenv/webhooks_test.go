// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
)

// serve serves an operator's webhooks where w says, until the test ends.
func serve(t *testing.T, w WebhookServer, handlers map[string]http.HandlerFunc) {
	t.Helper()
	mux := http.NewServeMux()
	for path, handler := range handlers {
		mux.HandleFunc(path, handler)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(w.Host, strconv.Itoa(w.Port)))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() {
		ended <- server.ServeTLS(listener, filepath.Join(w.CertDir, "tls.crt"), filepath.Join(w.CertDir, "tls.key"))
	}()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// admit answers reviews.
func admit(t *testing.T, decide func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, review)
		}
		if err != nil {
			t.Error(err)
			return
		}
		answer := decide(review.Request)
		answer.UID = review.Request.UID
		if err := json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer}); err != nil {
			t.Error(err)
		}
	}
}

const webhookManifest = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: no-secrets
webhooks:
- name: no-secrets.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig:
    service: {namespace: system, name: operator, path: /validate}
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}
`

func mutating() *admissionregistrationv1.MutatingWebhookConfiguration {
	path, none := "/mutate", admissionregistrationv1.SideEffectClassNone
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "labels.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "operator", Path: &path}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}
}

func TestWebhooksAreCalled(t *testing.T) {
	env := Start(t, Options{Nodes: NoNodes, Webhooks: Webhooks{
		Paths:    []string{write(t, t.TempDir(), "webhooks.yaml", webhookManifest)},
		Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{mutating()},
	}})
	serve(t, env.WebhookServer(), map[string]http.HandlerFunc{
		"/validate": admit(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			if strings.HasPrefix(r.Name, "secret-") {
				return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "put it into a Secret"}}
			}
			return &admissionv1.AdmissionResponse{Allowed: true}
		}),
		"/mutate": admit(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			kind := admissionv1.PatchTypeJSONPatch
			return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &kind, Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"by":"webhook"}}]`)}
		}),
	})
	maps := clientset(t, env.Config()).CoreV1().ConfigMaps("default")
	made, err := maps.Create(t.Context(), configMap("plain"), metav1.CreateOptions{})
	if err != nil || made.Labels["by"] != "webhook" {
		t.Errorf("created %v, %v", made, err)
	}
	_, err = maps.Create(t.Context(), configMap("secret-x"), metav1.CreateOptions{})
	if want := `admission webhook "no-secrets.example.com" denied the request: put it into a Secret`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Until an operator serves its webhooks, they fail at once, and do not reach anybody else.
func TestWebhooksThatNobodyServes(t *testing.T) {
	env := start(t)
	if err := env.InstallWebhooks(t.Context(), Webhooks{Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{mutating()}}); err != nil {
		t.Fatal(err)
	}
	_, err := clientset(t, env.Config()).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "connect: connection refused") {
		t.Errorf("got %v", err)
	}
	err = env.InstallWebhooks(t.Context(), Webhooks{Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{mutating()}})
	if err == nil || !apierrors.IsAlreadyExists(err) {
		t.Errorf("registered twice: %v", err)
	}
}

func TestConversionWebhooksAreCalled(t *testing.T) {
	path := "/convert"
	crd := widgets()
	second := *crd.Spec.Versions[0].DeepCopy()
	second.Name, second.Storage = "v2", false
	crd.Spec.Versions = append(crd.Spec.Versions, second)
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"},
		ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: "system", Name: "operator", Path: &path}},
	}}
	env := Start(t, Options{Nodes: NoNodes, CRDs: CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{crd}}})
	serve(t, env.WebhookServer(), map[string]http.HandlerFunc{"/convert": func(w http.ResponseWriter, r *http.Request) {
		review := &apiextensionsv1.ConversionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
			return
		}
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(raw.Raw); err != nil {
				t.Error(err)
			}
			o.SetAPIVersion(review.Request.DesiredAPIVersion)
			o.SetAnnotations(map[string]string{"converted": review.Request.DesiredAPIVersion})
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: o})
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}})
	client, err := dynamic.NewForConfig(env.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(widgetsResource).Namespace("default").Create(t.Context(), widget("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	v2 := widgetsResource.GroupResource().WithVersion("v2")
	got, err := client.Resource(v2).Namespace("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetAnnotations()["converted"] != "example.com/v2" {
		t.Errorf("got %v", got)
	}
}

func TestHeldPort(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		h, err := holdPort(net.IPv4(127, 0, 0, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer h.release()
		if seen[h.port] {
			t.Fatalf("port %d has been given twice", h.port)
		}
		seen[h.port] = true
	}
	for port := range seen {
		// Nobody answers there, until someone who knows the port listens.
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Fatalf("someone answers at %s", address)
		}
		for range 2 {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			listener.Close()
		}
	}
}
