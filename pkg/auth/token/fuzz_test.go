// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"gopkg.in/go-jose/go-jose.v2"
)

// payload is the middle of a token, decoded.
func payload(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	return string(text)
}

// FuzzAuthenticate offers any text as a token: nothing is believed that has not been issued.
func FuzzAuthenticate(f *testing.F) {
	w := newWorld()
	issuer, a := newPair(f, w)
	issued, _, err := issuer.Issue(Subject{ServiceAccount: w.account, Pod: w.pod, Node: w.node}, []string{"api"}, Lifetime{Expiry: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	legacy, err := issuer.IssueForSecret(w.account, w.secret)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(issued, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for _, token := range []string{"", "..", issued, legacy, none + "." + parts[1] + ".", parts[0] + "." + parts[1] + ".", parts[0] + ".." + parts[2], issued + "=", "{" + issued + "}"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		response, ok, err := a.AuthenticateToken(t.Context(), token)
		if ok && (err != nil || response == nil || response.User.GetName() != "system:serviceaccount:ns:app") {
			t.Errorf("%q is taken for %+v, %v", token, response, err)
		}
		if ok && payload(token) != payload(issued) {
			t.Errorf("%q is believed, and says %q, which nobody has issued", token, payload(token))
		}
	})
}

// FuzzClaims signs any text with the cluster's own key, as an older or a later version may have.
func FuzzClaims(f *testing.F) {
	w := newWorld()
	key := newKey(f)
	issuer, err := NewIssuer(issuerURL, key)
	if err != nil {
		f.Fatal(err)
	}
	a, err := NewAuthenticator(issuerURL, []string{"api"}, w.getters(), &key.PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, subject := range []Subject{{ServiceAccount: w.account}, {ServiceAccount: w.account, Pod: w.pod, Node: w.node}, {ServiceAccount: w.account, Secret: w.secret}, {ServiceAccount: w.account, Node: w.node}} {
		token, _, err := issuer.Issue(subject, []string{"api"}, Lifetime{Expiry: time.Hour})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload(token))
	}
	token, err := issuer.IssueForSecret(w.account, w.secret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload(token))
	f.Add(`{"iss":"` + issuerURL + `","aud":1e999,"exp":-1,"kubernetes.io":{"pod":null}}`)
	f.Fuzz(func(t *testing.T, claims string) {
		signed, err := signer.Sign([]byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		response, ok, err := a.AuthenticateToken(t.Context(), token)
		if ok && (err != nil || response.User.GetName() != "system:serviceaccount:ns:app") {
			t.Errorf("%s is taken for %+v, %v", claims, response, err)
		}
	})
}
