// SPDX-License-Identifier: Apache-2.0

// Package issuertest is an OpenID Connect provider in a test's process, for tests of those who take its tokens.
package issuertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
)

// Issuer serves its discovery document and its key over HTTPS on loopback until the test ends.
type Issuer struct {
	URL   string
	KeyID string

	key *ecdsa.PrivateKey
	ca  string
}

// New starts a provider with a key of its own.
func New(t testing.TB) *Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{KeyID: "test", key: key}
	mux := http.NewServeMux()
	answer := func(path string, document func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(document()); err != nil {
				t.Error(err)
			}
		})
	}
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	url := server.URL
	answer("/.well-known/openid-configuration", func() any { return map[string]string{"issuer": url, "jwks_uri": url + "/keys"} })
	answer("/keys", func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "test", Algorithm: string(jose.ES256), Use: "sig"}}}
	})
	return i
}

// YAML is the beginning of an item of an AuthenticationConfiguration's jwt, for tokens of these audiences; what is to be done with
// them follows, indented by two spaces.
func (i *Issuer) YAML(audiences ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- issuer:\n    url: %s\n    audiences: [%s]\n", i.URL, strings.Join(audiences, ", "))
	if len(audiences) > 1 {
		b.WriteString("    audienceMatchPolicy: MatchAny\n")
	}
	b.WriteString("    certificateAuthority: |\n")
	for line := range strings.Lines(i.ca) {
		b.WriteString("      " + line)
	}
	return b.String()
}

// Token is a token of this issuer for an audience, good for an hour, with these claims over the usual ones.
func (i *Issuer) Token(t testing.TB, audience string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.KeyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": i.URL, "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	token, err := jwt.Signed(signer).Claims(all).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
