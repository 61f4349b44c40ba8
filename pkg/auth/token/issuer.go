// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Issuer signs tokens.
type Issuer struct {
	url    string
	signer jose.Signer
	// Now tells the time; it is time.Now unless a test says otherwise.
	Now func() time.Time
}

// NewIssuer returns an issuer of that name, the URL below which relying parties find the discovery documents, such as
// https://kubernetes.default.svc.cluster.local.
func NewIssuer(url string, key *ecdsa.PrivateKey) (*Issuer, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256,
		Key:       &jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare signing of ServiceAccount tokens: %w", err)
	}
	return &Issuer{url: url, signer: signer, Now: time.Now}, nil
}

// Subject is whom a token is for.
type Subject struct {
	ServiceAccount *corev1.ServiceAccount
	// At most one of Pod, Secret and Node binds the token: it is void once that object is gone. A Node beside a Pod is
	// where the Pod runs, told and not checked.
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
}

// Lifetime is how long a token is valid from now on, and, unless zero, from when on its use is noted as stale.
type Lifetime struct {
	Expiry, WarnAfter time.Duration
}

// Issue returns a bound token and its id (the claim jti).
func (i *Issuer) Issue(s Subject, audiences []string, lifetime Lifetime) (token, id string, err error) {
	if s.Secret != nil && (s.Pod != nil || s.Node != nil) {
		return "", "", errors.New("internal error, token can only be bound to one object type")
	}
	now := i.Now()
	registered := jwt.Claims{
		Issuer:    i.url,
		ID:        uuid.NewString(),
		Subject:   serviceaccount.MakeUsername(s.ServiceAccount.Namespace, s.ServiceAccount.Name),
		Audience:  audiences,
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		Expiry:    jwt.NewNumericDate(now.Add(lifetime.Expiry)),
	}
	claims := kubernetesClaims{
		Namespace:      s.ServiceAccount.Namespace,
		ServiceAccount: reference{s.ServiceAccount.Name, string(s.ServiceAccount.UID)},
	}
	if s.Pod != nil {
		claims.Pod = &reference{s.Pod.Name, string(s.Pod.UID)}
	}
	if s.Secret != nil {
		claims.Secret = &reference{s.Secret.Name, string(s.Secret.UID)}
	}
	if s.Node != nil {
		claims.Node = &reference{s.Node.Name, string(s.Node.UID)}
	}
	if lifetime.WarnAfter != 0 {
		claims.WarnAfter = jwt.NewNumericDate(now.Add(lifetime.WarnAfter))
	}
	token, err = jwt.Signed(i.signer).Claims(boundClaims{claims}).Claims(registered).CompactSerialize()
	if err != nil {
		return "", "", fmt.Errorf("sign token of ServiceAccount %s/%s: %w", s.ServiceAccount.Namespace, s.ServiceAccount.Name, err)
	}
	return token, registered.ID, nil
}

// IssueForSecret returns the endless token to be kept in a Secret of type kubernetes.io/service-account-token. It is
// valid as long as that Secret holds it.
func (i *Issuer) IssueForSecret(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	token, err := jwt.Signed(i.signer).Claims(legacyClaims{
		Namespace:          account.Namespace,
		ServiceAccountName: account.Name,
		ServiceAccountUID:  string(account.UID),
		SecretName:         secret.Name,
	}).Claims(jwt.Claims{
		Issuer:  legacyIssuer,
		Subject: serviceaccount.MakeUsername(account.Namespace, account.Name),
	}).CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign token for Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return token, nil
}
