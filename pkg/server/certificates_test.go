// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// request is a CertificateSigningRequest for a new key, which it returns in PEM.
func request(t *testing.T, name, signer string, subject pkix.Name, usages ...certificatesv1.KeyUsage) (*certificatesv1.CertificateSigningRequest, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer, Usages: usages, ExpirationSeconds: ptr.To[int32](3600), Username: "liar",
	}}
	return csr, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
}

// nodeSubject is who the agent of a node is, in its certificate.
func nodeSubject(name string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
}

func approved(csr *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequest {
	csr = csr.DeepCopy()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test", Message: "approved by a test"})
	return csr
}

func TestCertificateForAUser(t *testing.T) {
	c := newCluster(t)
	requests := c.CertificatesV1().CertificateSigningRequests()
	ask, key := request(t, "jane", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "jane", Organization: []string{"dev"}}, certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
	csr, err := requests.Create(t.Context(), ask, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if csr.Spec.Username == "liar" || len(csr.Spec.Groups) == 0 {
		t.Errorf("asked by %q of %v", csr.Spec.Username, csr.Spec.Groups)
	}
	if _, err := requests.UpdateStatus(t.Context(), approved(csr), metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("approved by its status: %v", err)
	}
	if _, err := requests.UpdateApproval(t.Context(), "jane", approved(csr), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate", func() (bool, error) {
		csr, err = requests.Get(t.Context(), "jane", metav1.GetOptions{})
		return err == nil && len(csr.Status.Certificate) > 0, err
	})
	jane := rest.AnonymousClientConfig(c.config)
	jane.CertData, jane.KeyData = csr.Status.Certificate, key
	client := kubernetes.NewForConfigOrDie(jane)
	if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "jane" cannot list`) {
		t.Errorf("without a role: %v", err)
	}

	// To approve takes permission for the signer, not just for approvals.
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "almost-approver"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests", "certificatesigningrequests/approval"}, Verbs: []string{"get", "update"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "almost-approver"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}}}
	if _, err := c.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ask, _ = request(t, "joe", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "joe"}, certificatesv1.UsageClientAuth)
	other, err := requests.Create(t.Context(), ask, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal for want of the signer", func() (bool, error) {
		_, err := client.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), "joe", approved(other), metav1.UpdateOptions{})
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`), err
	})
}

func TestCertificatesThatAreNotToBeHad(t *testing.T) {
	c := newCluster(t)
	requests := c.CertificatesV1().CertificateSigningRequests()
	masters, _ := request(t, "masters", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "me", Organization: []string{"system:masters"}}, certificatesv1.UsageClientAuth)
	if _, err := requests.Create(t.Context(), masters, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("for administrators: %v", err)
	}
	forged, _ := request(t, "forged", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "me"}, certificatesv1.UsageClientAuth)
	block, _ := pem.Decode(forged.Spec.Request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	forged.Spec.Request = pem.EncodeToMemory(block)
	if _, err := requests.Create(t.Context(), forged, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("with a broken signature: %v", err)
	}
	// Of a kind that the signer does not issue: it says so and gives no certificate.
	wrong, _ := request(t, "wrong", certificatesv1.KubeAPIServerClientSignerName, pkix.Name{CommonName: "me"}, certificatesv1.UsageServerAuth)
	csr, err := requests.Create(t.Context(), wrong, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := requests.UpdateApproval(t.Context(), "wrong", approved(csr), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the signer to refuse", func() (bool, error) {
		csr, err := requests.Get(t.Context(), "wrong", metav1.GetOptions{})
		return err == nil && len(csr.Status.Conditions) == 2 && csr.Status.Conditions[1].Message == "invalid usage for client certificate: server auth" && csr.Status.Certificate == nil, err
	})
}
