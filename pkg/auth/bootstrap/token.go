// SPDX-License-Identifier: Apache-2.0

// Package bootstrap is about bootstrap tokens: short ones that machines have before they have anything else, to ask for a certificate
// with. Each is a Secret of type bootstrap.kubernetes.io/token in kube-system; see
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/.
//
// A request with such a token costs one look-up in the informer of Secrets; other requests cost nothing.
package bootstrap

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// SecretType is the type of the Secrets, which are in Namespace.
const (
	SecretType = corev1.SecretTypeBootstrapToken
	Namespace  = "kube-system"
)

// SecretPrefix begins the names of the Secrets; the token's id follows.
const SecretPrefix = "bootstrap-token-"

// Keys of such a Secret.
const (
	KeyID                  = "token-id"
	KeySecret              = "token-secret"
	KeyExpiration          = "expiration" // RFC 3339
	KeyExtraGroups         = "auth-extra-groups"
	KeyUsageAuthentication = "usage-bootstrap-authentication"
	KeyUsageSigning        = "usage-bootstrap-signing"
)

// Who the holder of a token is: a user of this prefix and the token's id, in this group.
const (
	UserPrefix   = "system:bootstrap:"
	DefaultGroup = "system:bootstrappers"
)

// Lengths of the two parts of a token.
const idLength, secretLength = 6, 16

// Parse takes a token, <id>.<secret>, apart.
func Parse(token string) (id, secret string, ok bool) {
	id, secret, _ = strings.Cut(token, ".")
	if len(id) != idLength || len(secret) != secretLength || !madeOf(id+secret, alphanumeric) {
		return "", "", false
	}
	return id, secret, true
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

func madeOf(s, characters string) bool { return strings.Trim(s, characters) == "" }

// Expiry tells whether a token has expired, and if not, in how long it does: never, where left is 0. A time that cannot be read has
// passed.
func Expiry(secret *corev1.Secret, now time.Time) (left time.Duration, expired bool) {
	text := string(secret.Data[KeyExpiration])
	if text == "" {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || !at.After(now) {
		return 0, true
	}
	return at.Sub(now), false
}

// ForSigning returns the token that the Secret holds, if it is good for signing now.
func ForSigning(secret *corev1.Secret, now time.Time) (id, key string, ok bool) {
	id, key = string(secret.Data[KeyID]), string(secret.Data[KeySecret])
	if secret.Type != SecretType || len(id) != idLength || !madeOf(id, alphanumeric) || secret.Name != SecretPrefix+id || key == "" ||
		string(secret.Data[KeyUsageSigning]) != "true" {
		return "", "", false
	}
	if _, expired := Expiry(secret, now); expired {
		return "", "", false
	}
	return id, key, true
}

// groups are those of the token's holder, sorted.
func groups(secret *corev1.Secret) ([]string, error) {
	all := []string{DefaultGroup}
	if extra := string(secret.Data[KeyExtraGroups]); extra != "" {
		for _, group := range strings.Split(extra, ",") {
			if !validGroup(group) {
				return nil, fmt.Errorf("%s names %q: a group begins with %s, followed by up to 256 of a-z, 0-9, : and -, and ends with one of a-z and 0-9",
					KeyExtraGroups, group, DefaultGroup+":")
			}
			all = append(all, group)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func validGroup(group string) bool {
	name, ok := strings.CutPrefix(group, DefaultGroup+":")
	return ok && name != "" && len(name) <= 256 && madeOf(name, alphanumeric+":-") && madeOf(name[len(name)-1:], alphanumeric)
}
