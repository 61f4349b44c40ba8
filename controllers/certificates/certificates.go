// SPDX-License-Identifier: Apache-2.0

// Package certificates looks after CertificateSigningRequests: it approves what nodes may ask for themselves, issues what is approved for
// Kubernetes' own signers, and removes what is over. A request costs one subject access review where a node asks, one
// signature, and one timer until it is removed.
package certificates

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certificatesinformers "k8s.io/client-go/informers/certificates/v1"
	"k8s.io/client-go/kubernetes"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"
	"k8s.io/client-go/tools/cache"

	apis "github.com/hivemind-project/hivemind/apis/certificates"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// How long requests are kept: one that was answered, after the answer; one that was not, after its creation or approval.
const (
	keepAnswered = time.Hour
	keepPending  = 24 * time.Hour
)

// Authority is the certificate authority of the cluster, by which clients and nodes are known.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Controller looks after CertificateSigningRequests.
type Controller struct {
	client   kubernetes.Interface
	requests certificateslisters.CertificateSigningRequestLister
	synced   cache.InformerSynced
	loop     *loop.Loop
	ca       Authority
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, requests certificatesinformers.CertificateSigningRequestInformer, ca Authority) (*Controller, error) {
	c := &Controller{client: client, requests: requests.Lister(), synced: requests.Informer().HasSynced, ca: ca, now: time.Now}
	c.loop = loop.New("certificates", c.sync)
	_, err := requests.Informer().AddEventHandler(c.loop.Handler())
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced) }

func (c *Controller) sync(ctx context.Context, name string) error {
	csr, err := c.requests.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	left := c.keep(csr)
	switch {
	case left <= 0:
		err := c.client.CertificatesV1().CertificateSigningRequests().Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(csr.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove CertificateSigningRequest %s, which is over: %w", name, err)
		}
		return nil
	case len(csr.Status.Certificate) > 0 || condition(csr, certificatesv1.CertificateDenied) != nil || condition(csr, certificatesv1.CertificateFailed) != nil:
	case condition(csr, certificatesv1.CertificateApproved) != nil:
		err = c.issue(ctx, csr.DeepCopy())
	default:
		err = c.approve(ctx, csr.DeepCopy())
	}
	if err != nil {
		return err
	}
	return loop.RetryAfter(left)
}

// keep is how long the request is kept from now.
func (c *Controller) keep(csr *certificatesv1.CertificateSigningRequest) time.Duration {
	until := csr.CreationTimestamp.Add(keepPending)
	issued := len(csr.Status.Certificate) > 0
	if approved := condition(csr, certificatesv1.CertificateApproved); approved != nil {
		until = approved.LastUpdateTime.Add(keepPending)
		if issued {
			until = approved.LastUpdateTime.Add(keepAnswered)
		}
	}
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if answer := condition(csr, kind); answer != nil {
			until = answer.LastUpdateTime.Add(keepAnswered)
		}
	}
	if block, _ := pem.Decode(csr.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.Before(until) {
			until = cert.NotAfter
		}
	}
	return until.Sub(c.now())
}

func condition(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	i := slices.IndexFunc(csr.Status.Conditions, func(r certificatesv1.CertificateSigningRequestCondition) bool {
		return r.Type == kind && r.Status == corev1.ConditionTrue
	})
	if i < 0 {
		return nil
	}
	return &csr.Status.Conditions[i]
}

// approve approves the client certificate of a node, if who asks may have it: the node itself, or one who introduces nodes.
func (c *Controller) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	request, err := apis.Parse(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("read CertificateSigningRequest %s: %w", csr.Name, err)
	}
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || nodeClient(request, csr.Spec.Usages) != nil {
		return nil
	}
	for _, reason := range []struct {
		subresource, message string
		applies              bool
	}{
		{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", csr.Spec.Username == request.Subject.CommonName},
		{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", true},
	} {
		if !reason.applies {
			continue
		}
		allowed, err := c.may(ctx, csr, reason.subresource)
		if err != nil {
			return err
		}
		if !allowed {
			continue
		}
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: reason.message})
		_, err = c.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, csr, metav1.UpdateOptions{})
		return err
	}
	return nil
}

func (c *Controller) may(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range csr.Spec.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	review, err := c.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests",
			Subresource: subresource, Verb: "create"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether %s may have what CertificateSigningRequest %s asks for: %w", csr.Spec.Username, csr.Name, err)
	}
	return review.Status.Allowed, nil
}

// issue signs an approved request of Kubernetes' own signers, or says why it will not.
func (c *Controller) issue(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	check, ok := signers[csr.Spec.SignerName]
	if !ok {
		return nil // somebody else's
	}
	request, err := apis.Parse(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("read CertificateSigningRequest %s: %w", csr.Name, err)
	}
	if err := check(request, csr.Spec.Usages); err != nil {
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: err.Error()})
	} else if csr.Status.Certificate, err = c.ca.sign(request, &csr.Spec, c.now()); err != nil {
		return fmt.Errorf("sign CertificateSigningRequest %s: %w", csr.Name, err)
	}
	_, err = c.client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, csr, metav1.UpdateOptions{})
	return err
}

// signers are those that issue from the cluster's authority, each with what it demands of a request.
var signers = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeAPIServerClientSignerName:        client,
	certificatesv1.KubeAPIServerClientKubeletSignerName: nodeClient,
	certificatesv1.KubeletServingSignerName:             nodeServing,
}

func client(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func nodeClient(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(r.Subject.CommonName, "system:node:"):
		return errors.New("subject common name does not begin with system:node:")
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

func nodeServing(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(r.DNSNames) == 0 && len(r.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(r.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	case !strings.HasPrefix(r.Subject.CommonName, "system:node:"):
		return errors.New("subject common name does not begin with system:node:")
	}
	return exactly(usages, certificatesv1.UsageServerAuth)
}

// exactly allows a signing key for that purpose, and one that enciphers keys as well, as RSA keys do.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	all := []certificatesv1.KeyUsage{purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	slices.Sort(all)
	given := slices.Clone(usages)
	slices.Sort(given)
	least := slices.DeleteFunc(slices.Clone(all), func(u certificatesv1.KeyUsage) bool { return u == certificatesv1.UsageKeyEncipherment })
	if given = slices.Compact(given); !slices.Equal(given, all) && !slices.Equal(given, least) {
		return fmt.Errorf("usages did not match %v", all)
	}
	return nil
}
