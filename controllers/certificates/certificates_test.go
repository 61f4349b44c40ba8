// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHowLongRequestsAreKept(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	answered := func(kind certificatesv1.RequestConditionType, certificate string) *certificatesv1.CertificateSigningRequest {
		return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(start)}, Status: certificatesv1.CertificateSigningRequestStatus{
			Certificate: []byte(certificate),
			Conditions:  []certificatesv1.CertificateSigningRequestCondition{{Type: kind, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(start.Add(time.Minute))}}}}
	}
	for name, test := range map[string]struct {
		csr  *certificatesv1.CertificateSigningRequest
		want time.Duration
	}{
		"not answered":             {&certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(start)}}, 24 * time.Hour},
		"denied":                   {answered(certificatesv1.CertificateDenied, ""), time.Hour + time.Minute},
		"failed":                   {answered(certificatesv1.CertificateFailed, ""), time.Hour + time.Minute},
		"approved, waits for that": {answered(certificatesv1.CertificateApproved, ""), 24*time.Hour + time.Minute},
		"issued":                   {answered(certificatesv1.CertificateApproved, "a certificate"), time.Hour + time.Minute},
	} {
		c := &Controller{now: func() time.Time { return start }}
		if got := c.keep(test.csr); got != test.want {
			t.Errorf("%s: kept for %v, want %v", name, got, test.want)
		}
	}
}

func TestWhatSignersDemand(t *testing.T) {
	node := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	forClients := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	forServers := []certificatesv1.KeyUsage{certificatesv1.UsageKeyEncipherment, certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	for name, test := range map[string]struct {
		signer  string
		request x509.CertificateRequest
		usages  []certificatesv1.KeyUsage
		want    string
	}{
		"a node's client":      {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node}, forClients, ""},
		"with a name":          {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}}, forClients, "DNS subjectAltNames are not allowed"},
		"of another":           {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, forClients, "subject organization is not system:nodes"},
		"to serve":             {certificatesv1.KubeAPIServerClientKubeletSignerName, x509.CertificateRequest{Subject: node}, forServers, "usages did not match [client auth digital signature key encipherment]"},
		"a node's server":      {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{Subject: node, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, forServers, ""},
		"without an address":   {certificatesv1.KubeletServingSignerName, x509.CertificateRequest{Subject: node}, forServers, "DNS or IP subjectAltName is required"},
		"a client":             {certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{}, forClients, ""},
		"a client that serves": {certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{}, forServers, "invalid usage for client certificate: server auth"},
	} {
		got := ""
		if err := signers[test.signer](&test.request, test.usages); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
