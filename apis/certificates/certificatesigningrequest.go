// SPDX-License-Identifier: Apache-2.0

// Package certificates says what a CertificateSigningRequest is: who asks for which certificate of which signer, and what became of
// it. See https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/.
package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// legacySigner is the signer of requests from before signers had names; v1 does not take new ones.
const legacySigner = "kubernetes.io/legacy-unknown"

// shortest is the least lifetime that a request may ask for.
const shortestSeconds = 600

var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageMicrosoftSGC,
	certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning,
	certificatesv1.UsageTimestamping,
}

// Parse returns the PKCS#10 request (RFC 2986) that a CertificateSigningRequest carries in PEM.
func Parse(request []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// PrepareCertificateSigningRequestForCreate makes the conditions an empty list: nobody creates what is approved already.
func PrepareCertificateSigningRequestForCreate(csr *certificatesv1.CertificateSigningRequest) {
	csr.Status = certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{}}
}

// PrepareCertificateSigningRequestForUpdate keeps what was asked for: a request changes by its subresources alone.
func PrepareCertificateSigningRequestForUpdate(csr, before *certificatesv1.CertificateSigningRequest) {
	csr.Spec = *before.Spec.DeepCopy()
}

// PrepareCertificateSigningRequestForStatusUpdate keeps approval and denial as they were, unless some were added or removed, which
// validation refuses.
func PrepareCertificateSigningRequestForStatusUpdate(csr, before *certificatesv1.CertificateSigningRequest) {
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		was, is := indexes(before, kind), indexes(csr, kind)
		if len(was) != len(is) {
			continue
		}
		for i := range is {
			csr.Status.Conditions[is[i]] = before.Status.Conditions[was[i]]
		}
	}
	stampConditions(csr, before)
}

// PrepareCertificateSigningRequestForApproval keeps all but the conditions.
func PrepareCertificateSigningRequestForApproval(csr, before *certificatesv1.CertificateSigningRequest) {
	stampConditions(csr, before)
	conditions := csr.Status.Conditions
	csr.Spec, csr.Status = *before.Spec.DeepCopy(), *before.Status.DeepCopy()
	csr.Status.Conditions = conditions
}

// stampConditions fills in when conditions were written and came to be as they are.
func stampConditions(csr, before *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now()
	for i := range csr.Status.Conditions {
		c := &csr.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range before.Status.Conditions {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}

func indexes(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) (at []int) {
	for i := range csr.Status.Conditions {
		if csr.Status.Conditions[i].Type == kind {
			at = append(at, i)
		}
	}
	return at
}

// ValidateCertificateSigningRequest checks a new CertificateSigningRequest.
func ValidateCertificateSigningRequest(csr *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validate(csr, nil)
}

// ValidateCertificateSigningRequestUpdate checks an update of a CertificateSigningRequest.
func ValidateCertificateSigningRequestUpdate(csr, before *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validateUpdate(csr, before, false, false)
}

// ValidateCertificateSigningRequestStatusUpdate checks an update of the status, by which signers issue.
func ValidateCertificateSigningRequestStatusUpdate(csr, before *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validateUpdate(csr, before, false, true)
}

// ValidateCertificateSigningRequestApproval checks an approval or denial.
func ValidateCertificateSigningRequestApproval(csr, before *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return validateUpdate(csr, before, true, false)
}

// validate checks a request. What is wrong in before already, and was so from the start, is let be.
func validate(csr, before *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var l check.List
	p, spec := field.NewPath("spec"), &csr.Spec
	l.Add(check.ClusterMetadata(&csr.ObjectMeta, func(string, bool) []string { return nil }))
	request, err := Parse(spec.Request)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		l.Invalid(p.Child("request"), spec.Request, err.Error())
	}
	if len(spec.Usages) == 0 {
		l.Required(p.Child("usages"), "")
	}
	if before == nil || !slices.ContainsFunc(before.Spec.Usages, unknown) {
		for i, usage := range spec.Usages {
			l.Add(check.OneOf(p.Child("usages").Index(i), usage, usages...))
		}
	}
	if before == nil || !repeats(before.Spec.Usages) {
		for i, usage := range spec.Usages {
			if slices.Contains(spec.Usages[:i], usage) {
				l.Duplicate(p.Child("usages").Index(i), usage)
			}
		}
	}
	if spec.SignerName == legacySigner && (before == nil || before.Spec.SignerName != legacySigner) {
		l.Invalid(p.Child("signerName"), spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		l.Add(signerName(p.Child("signerName"), spec.SignerName))
	}
	if s := spec.ExpirationSeconds; s != nil && *s < shortestSeconds {
		l.Invalid(p.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	l.Add(conditions(csr, before))
	same := before != nil && bytes.Equal(csr.Status.Certificate, before.Status.Certificate)
	if !same && (before == nil || certificate(before.Status.Certificate) == nil) {
		if err := certificate(csr.Status.Certificate); err != nil {
			l.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error())
		}
	}
	return l.Errors()
}

func unknown(usage certificatesv1.KeyUsage) bool { return !slices.Contains(usages, usage) }

func repeats[T comparable](list []T) bool {
	for i, item := range list {
		if slices.Contains(list[:i], item) {
			return true
		}
	}
	return false
}

// signerName checks the name of a signer: a domain of two labels at least, and a path in it.
func signerName(p *field.Path, name string) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(p, "")
		return l.Errors()
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		l.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return l.Errors()
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		l.TooLong(p, validation.DNS1123SubdomainMaxLength)
	}
	labels := strings.Split(domain, ".")
	eachLabel(&l, p, domain, labels, validation.IsDNS1123Label)
	if len(labels) < 2 {
		l.Invalid(p, domain, "should be a domain with at least two segments separated by dots")
	}
	eachLabel(&l, p, path, strings.Split(path, "."), validation.IsDNS1123Subdomain)
	// A path may be a namespace and a name.
	const longest = 2*validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 2
	if len(name) > longest {
		l.TooLong(p, longest)
	}
	return l.Errors()
}

// eachLabel reports the first label of text that is none.
func eachLabel(l *check.List, p *field.Path, text string, labels []string, rule func(string) []string) {
	for _, label := range labels {
		if messages := rule(label); len(messages) > 0 {
			for _, m := range messages {
				l.Invalid(p, text, fmt.Sprintf("validating label %q: %s", label, m))
			}
			return
		}
	}
}

// conditions checks what became of the request.
func conditions(csr, before *certificatesv1.CertificateSigningRequest) field.ErrorList {
	final := []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed}
	var l check.List
	p := field.NewPath("status", "conditions")
	var was []certificatesv1.RequestConditionType
	if before != nil {
		was = kinds(before)
	}
	both := slices.Contains(was, certificatesv1.CertificateApproved) && slices.Contains(was, certificatesv1.CertificateDenied)
	is := kinds(csr)
	for i, c := range csr.Status.Conditions {
		if c.Type == "" && !slices.Contains(was, "") {
			l.Required(p.Index(i).Child("type"), "")
		}
		valid := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if slices.Contains(final, c.Type) {
			valid = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		l.Add(check.RequiredOneOf(p.Index(i).Child("status"), c.Status, valid...))
		other := map[certificatesv1.RequestConditionType]certificatesv1.RequestConditionType{
			certificatesv1.CertificateApproved: certificatesv1.CertificateDenied, certificatesv1.CertificateDenied: certificatesv1.CertificateApproved}[c.Type]
		if other != "" && !both && slices.Contains(is[:i], other) {
			l.Invalid(p, c.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if slices.Contains(is[:i], c.Type) && !repeats(was) {
			l.Duplicate(p.Index(i).Child("type"), c.Type)
		}
	}
	return l.Errors()
}

func kinds(csr *certificatesv1.CertificateSigningRequest) []certificatesv1.RequestConditionType {
	all := make([]certificatesv1.RequestConditionType, len(csr.Status.Conditions))
	for i := range all {
		all[i] = csr.Status.Conditions[i].Type
	}
	return all
}

// certificate checks what a signer issued: certificates in PEM and nothing else.
func certificate(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certificates, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certificates) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
		data = rest
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// validateUpdate checks a change: approval says whether it may approve and deny, issue whether it may set the certificate, once.
func validateUpdate(csr, before *certificatesv1.CertificateSigningRequest, approval, issue bool) field.ErrorList {
	var l check.List
	l.Add(validate(csr, before))
	p := field.NewPath("status", "conditions")
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(indexes(csr, kind)) < len(indexes(before, kind)) {
			l.Forbidden(p, fmt.Sprintf("updates may not remove a condition of type %q", kind))
		}
	}
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		was, is := of(before, kind), of(csr, kind)
		switch {
		case approval || len(is) < len(was):
		case len(is) > len(was):
			l.Forbidden(p, fmt.Sprintf("updates may not add a condition of type %q", kind))
		case !equality.Semantic.DeepEqual(was, is):
			l.Forbidden(p, fmt.Sprintf("updates may not modify a condition of type %q\n%v", kind, check.Difference(was, is)))
		}
	}
	if !bytes.Equal(csr.Status.Certificate, before.Status.Certificate) {
		switch p := field.NewPath("status", "certificate"); {
		case !issue:
			l.Forbidden(p, "updates may not set certificate content")
		case len(before.Status.Certificate) > 0:
			l.Forbidden(p, "updates may not modify existing certificate content")
		}
	}
	l.Add(check.MetadataUpdate(&csr.ObjectMeta, &before.ObjectMeta))
	return l.Errors()
}

func of(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) (list []certificatesv1.CertificateSigningRequestCondition) {
	for _, i := range indexes(csr, kind) {
		list = append(list, csr.Status.Conditions[i])
	}
	return list
}
