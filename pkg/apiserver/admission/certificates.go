// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/hivemind-project/hivemind/apis/certificates"
)

// Certificates guards CertificateSigningRequests: who approves one, or issues it, must be allowed to for its signer, and nobody asks for
// a client certificate of administrators. It is kube-apiserver's CertificateApproval, CertificateSigning and
// CertificateSubjectRestriction.
type Certificates struct {
	*admission.Handler
	authorizer authorizer.Authorizer
}

// NewCertificates returns the plugin.
func NewCertificates(a authorizer.Authorizer) *Certificates {
	return &Certificates{admission.NewHandler(admission.Create, admission.Update), a}
}

// Validate implements admission.ValidationInterface.
func (p *Certificates) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	csr, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil
	}
	old, _ := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	switch {
	case a.GetSubresource() == "" && a.GetOperation() == admission.Create:
		return restrictSubject(a, csr)
	case a.GetSubresource() == "approval" && old != nil:
		if !p.may(ctx, a.GetUserInfo(), "approve", old.Spec.SignerName) {
			return admission.NewForbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
		}
	case a.GetSubresource() == "status" && old != nil && issues(csr, old):
		if !p.may(ctx, a.GetUserInfo(), "sign", old.Spec.SignerName) {
			return admission.NewForbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
		}
	}
	return nil
}

// issues tells whether the update of a status is a signer's: it changes the certificate or the conditions.
func issues(csr, old *certificatesv1.CertificateSigningRequest) bool {
	return !bytes.Equal(csr.Status.Certificate, old.Status.Certificate) || !equality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions)
}

func restrictSubject(a admission.Attributes, csr *certificatesv1.CertificateSigningRequest) error {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	request, err := certificates.Parse(csr.Spec.Request)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(request.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(a, fmt.Errorf("use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, user.SystemPrivilegedGroup))
	}
	return nil
}

// may asks for the signer by its name, and for all signers of its domain.
func (p *Certificates) may(ctx context.Context, who user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{User: who, Verb: verb, Name: name,
			APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

var _ admission.ValidationInterface = (*Certificates)(nil)
