// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// hook is a webhook: an HTTPS server with a certificate of the cluster's authority, also for the service hook in default.
type hook struct {
	*httptest.Server
	ca []byte

	mu   sync.Mutex
	seen []*admissionv1.AdmissionRequest
}

// newHook serves handler at an address of this machine.
func newHook(t *testing.T, c *cluster, address string, handler http.HandlerFunc) *hook {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	ca := c.server.Identities().CA
	pair, err := ca.Issue(pki.Request{
		Subject: pkix.Name{CommonName: "hook"}, Usage: x509.ExtKeyUsageServerAuth,
		IPs: []net.IP{net.ParseIP(address)}, DNSNames: []string{"hook.default.svc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are part of the tests
	server.Listener.Close()
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair.TLS()}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return &hook{Server: server, ca: ca.CertPEM}
}

// newReviewer is a hook that answers admission reviews and keeps what it was asked.
func newReviewer(t *testing.T, c *cluster, address string, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *hook {
	t.Helper()
	var h *hook
	h = newHook(t, c, address, func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("not a review: %v", err), http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		h.seen = append(h.seen, review.Request)
		h.mu.Unlock()
		review.Response = answer(review.Request)
		review.Response.UID = review.Request.UID
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&review) // fails only when the client has gone
	})
	return h
}

// requests returns what has been asked so far.
func (h *hook) requests() []*admissionv1.AdmissionRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// client is the hook as configurations refer to it by URL.
func (h *hook) client() admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{URL: &h.URL, CABundle: h.ca}
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

// deny is a review's answer that refuses, with a message or none.
func deny(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
}

// add is a review's answer that sets a key of a ConfigMap's data, which must have some.
func add(key, value string) *admissionv1.AdmissionResponse {
	kind := admissionv1.PatchTypeJSONPatch
	patch := fmt.Sprintf(`[{"op": "add", "path": "/data/%s", "value": %q}]`, key, value)
	return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &kind, Patch: []byte(patch)}
}

// on is a rule for writes of a resource, such as "configmaps", "apps/deployments" or "example.com/lamps".
func on(resource string, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	group, name, found := strings.Cut(resource, "/")
	if !found {
		group, name = "", resource
	}
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{name}},
	}}
}

// validating is a webhook that is asked about what rules say, and what change makes of it.
func validating(h *hook, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.ValidatingWebhook)) []admissionregistrationv1.ValidatingWebhook {
	none := admissionregistrationv1.SideEffectClassNone
	w := admissionregistrationv1.ValidatingWebhook{Name: "check.example.com", ClientConfig: h.client(), Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	if change != nil {
		change(&w)
	}
	return []admissionregistrationv1.ValidatingWebhook{w}
}

func mutating(name string, h *hook, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.MutatingWebhook)) admissionregistrationv1.MutatingWebhook {
	none := admissionregistrationv1.SideEffectClassNone
	w := admissionregistrationv1.MutatingWebhook{Name: name, ClientConfig: h.client(), Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	if change != nil {
		change(&w)
	}
	return w
}

// validate stores webhooks until the test ends, and waits until they are in force.
func (c *cluster) validate(t *testing.T, webhooks []admissionregistrationv1.ValidatingWebhook) {
	t.Helper()
	m := newMarker(t, c)
	webhooks = append(webhooks, validating(m.hook, m.rules(), func(w *admissionregistrationv1.ValidatingWebhook) {
		w.Name, w.ObjectSelector = "marker.example.com", m.selector()
	})...)
	configurations := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made, err := configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Webhooks: webhooks}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deleteAfter(t, configurations, made.Name)
	m.wait(t, c)
}

// mutate stores webhooks until the test ends, and waits until they are in force.
func (c *cluster) mutate(t *testing.T, webhooks ...admissionregistrationv1.MutatingWebhook) {
	t.Helper()
	m := newMarker(t, c)
	webhooks = append(webhooks, mutating("marker.example.com", m.hook, m.rules(), func(w *admissionregistrationv1.MutatingWebhook) {
		w.ObjectSelector = m.selector()
	}))
	configurations := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Webhooks: webhooks}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deleteAfter(t, configurations, made.Name)
	m.wait(t, c)
}

// marker is a webhook that refuses limit ranges with a label of its own: once it does, those stored with it are in force.
type marker struct {
	*hook
	label string
}

func newMarker(t *testing.T, c *cluster) marker {
	h := newReviewer(t, c, "127.0.0.1", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("in force") })
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	return marker{h, port}
}

func (m marker) rules() []admissionregistrationv1.RuleWithOperations {
	return on("limitranges", "CREATE")
}

func (m marker) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"marker": m.label}}
}

func (m marker) wait(t *testing.T, c *cluster) {
	t.Helper()
	probe := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{"marker": m.label}}}
	eventually(t, "the webhooks to be in force", func() (bool, error) {
		_, err := c.CoreV1().LimitRanges("default").Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "denied the request: in force"), err
	})
}

// deleteAfter deletes an object when the test ends.
func deleteAfter(t *testing.T, objects interface {
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}, name string) {
	t.Cleanup(func() {
		if err := objects.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// storeService stores the service hook, without endpoints.
func (c *cluster) storeService(t *testing.T) *corev1.Service {
	t.Helper()
	service, err := c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hook"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 8443}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// storeEndpoint makes h, which must not be at a loopback address, the one endpoint of the service hook.
func (c *cluster) storeEndpoint(t *testing.T, h *hook) {
	t.Helper()
	at := h.Listener.Addr().(*net.TCPAddr)
	port, name, protocol, ready := int32(at.Port), "https", corev1.ProtocolTCP, true
	_, err := c.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "hook", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.IP.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// ownAddress is an address of this machine that is not a loopback one, which no endpoint may have.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no IPv4 address but loopback ones")
	return ""
}
