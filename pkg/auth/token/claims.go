// SPDX-License-Identifier: Apache-2.0

// Package token issues and checks the tokens of ServiceAccounts: JSON Web Tokens signed with ES256, bound to an
// audience, a lifetime and, as a rule, a Pod (KEP-1205), and the endless ones kept in Secrets.
//
// Issuing costs one signature (about 30 µs), checking one verification (about 70 µs) and up to three look-ups. Nothing
// is stored here: a token dies with its account, its Pod, Secret or Node, or its time.
package token

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"gopkg.in/go-jose/go-jose.v2/jwt"
)

// legacyIssuer is the issuer of tokens kept in Secrets, the same in every cluster.
const legacyIssuer = "kubernetes/serviceaccount"

// boundClaims are what a bound token says beyond the registered claims of RFC 7519.
type boundClaims struct {
	Kubernetes kubernetesClaims `json:"kubernetes.io,omitempty"`
}

type kubernetesClaims struct {
	Namespace      string           `json:"namespace,omitempty"`
	ServiceAccount reference        `json:"serviceaccount,omitempty"`
	Pod            *reference       `json:"pod,omitempty"`
	Secret         *reference       `json:"secret,omitempty"`
	Node           *reference       `json:"node,omitempty"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

type reference struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacyClaims are what a token kept in a Secret says.
type legacyClaims struct {
	ServiceAccountName string `json:"kubernetes.io/serviceaccount/service-account.name"`
	ServiceAccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	SecretName         string `json:"kubernetes.io/serviceaccount/secret.name"`
	Namespace          string `json:"kubernetes.io/serviceaccount/namespace"`
}

// keyID names a key in tokens and in the published key set without revealing it.
func keyID(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name the key of ServiceAccount tokens: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
