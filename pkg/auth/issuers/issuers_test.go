// SPDX-License-Identifier: Apache-2.0

package issuers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/hivemind-project/hivemind/pkg/auth/issuers/issuertest"
)

const (
	head   = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	plain  = "  claimMappings:\n    username: {claim: sub, prefix: \"test:\"}\n"
	apiAud = "https://kubernetes.default.svc"
)

// start has the configuration in a file, and waits until the issuers it names have told their keys.
func start(t *testing.T, text string) (*Authenticator, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), path, authenticator.Audiences{apiAud}, apiAud)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issuers' keys", func() error { return a.Healthy() })
	return a, path
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still waiting for %s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAuthenticateToken(t *testing.T) {
	issuer := issuertest.New(t)
	const mapped = `  claimValidationRules:
  - {claim: team, requiredValue: blue}
  - {expression: "claims.exp - claims.iat <= 7200", message: "lives too long"}
  claimMappings:
    username: {expression: "'corp:' + claims.name.lowerAscii()"}
    groups: {expression: "claims.roles.split(',').map(r, 'corp:' + r)"}
    uid: {claim: sub}
    extra: [{key: example.com/team, valueExpression: claims.team}]
  userValidationRules:
  - {expression: "!user.username.startsWith('corp:system:')", message: "is reserved"}
`
	tests := []struct {
		name, mapping string
		claims        map[string]any // over the common ones; nil takes one away
		forged        bool
		want          user.Info
		wantErr       string // empty where want is nil: the token is another's to judge
	}{
		{name: "by claim", mapping: plain, want: &user.DefaultInfo{Name: "test:ann"}},
		{name: "groups by claim", mapping: "  claimMappings:\n    username: {claim: sub, prefix: \"\"}\n    groups: {claim: roles, prefix: \"g:\"}\n",
			want: &user.DefaultInfo{Name: "ann", Groups: []string{"g:dev,ops"}}},
		{name: "by expression", mapping: mapped, claims: map[string]any{"name": "Ann", "team": "blue"},
			want: &user.DefaultInfo{Name: "corp:ann", UID: "ann", Groups: []string{"corp:dev", "corp:ops"}, Extra: map[string][]string{"example.com/team": {"blue"}}}},
		{name: "another team", mapping: mapped, claims: map[string]any{"name": "Ann", "team": "red"}, wantErr: `oidc: required claim team value does not match. Got = red, want = blue`},
		{name: "lives too long", mapping: mapped, claims: map[string]any{"name": "Ann", "team": "blue", "exp": time.Now().Add(9 * time.Hour).Unix()}, wantErr: "lives too long"},
		{name: "a reserved name", mapping: mapped, claims: map[string]any{"name": "System:admin", "team": "blue"}, wantErr: "is reserved"},
		{name: "no such claim", mapping: mapped, claims: map[string]any{"team": "blue"}, wantErr: "no such key: name"},
		{name: "for others", mapping: plain, claims: map[string]any{"aud": "others"}, wantErr: `oidc: expected audience "hivemind" got ["others"]`},
		{name: "expired", mapping: plain, claims: map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, wantErr: "oidc: token is expired"},
		{name: "not yet", mapping: plain, claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, wantErr: "before the nbf (not before) time"},
		{name: "another key", mapping: plain, forged: true, wantErr: "failed to verify signature"},
		{name: "another issuer", mapping: plain, claims: map[string]any{"iss": "https://elsewhere.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := start(t, head+"jwt:\n"+issuer.YAML("hivemind")+tt.mapping)
			claims := map[string]any{"sub": "ann", "roles": "dev,ops"}
			maps.Copy(claims, tt.claims)
			token := issuer.Token(t, "hivemind", claims)
			if tt.forged {
				other := issuertest.New(t)
				other.URL, other.KeyID = issuer.URL, issuer.KeyID
				token = other.Token(t, "hivemind", claims)
			}
			response, ok, err := a.AuthenticateToken(t.Context(), token)
			if tt.want == nil {
				if ok || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("%+v, %v, %v; want error %q", response, ok, err, tt.wantErr)
				}
				return
			}
			if !ok || err != nil {
				t.Fatalf("%v, %v", ok, err)
			}
			if diff := cmp.Diff(tt.want, response.User); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTwoIssuersAndAudiences(t *testing.T) {
	a, b := issuertest.New(t), issuertest.New(t)
	both, _ := start(t, head+"jwt:\n"+a.YAML("hivemind")+plain+b.YAML("one", "two")+strings.ReplaceAll(plain, "test:", "b:"))
	for token, want := range map[string]string{
		a.Token(t, "hivemind", map[string]any{"sub": "ann"}): "test:ann",
		b.Token(t, "one", map[string]any{"sub": "bob"}):      "b:bob",
		b.Token(t, "two", map[string]any{"sub": "bob"}):      "b:bob",
	} {
		// A TokenReview for the API server's audience takes these tokens too, and one for another audience does not.
		for audience, good := range map[string]bool{apiAud: true, "vault": false} {
			response, ok, err := both.AuthenticateToken(authenticator.WithAudiences(t.Context(), authenticator.Audiences{audience}), token)
			if ok != good || err != nil || ok && response.User.GetName() != want {
				t.Errorf("for %s: %+v, %v, %v; want %s", audience, response, ok, err, want)
			}
		}
	}
	if response, ok, err := both.AuthenticateToken(t.Context(), b.Token(t, "three", map[string]any{"sub": "bob"})); ok || err == nil {
		t.Errorf("for an audience that is not named: %+v, %v, %v", response, ok, err)
	}
}

func TestNewRefuses(t *testing.T) {
	issuer := issuertest.New(t)
	tests := []struct{ name, text, want string }{
		{"empty", "", "the file is empty"},
		{"another kind", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", "expected AuthenticationConfiguration, got *apiserver.AuthorizationConfiguration"},
		{"no such version", "apiVersion: apiserver.config.k8s.io/v9\nkind: AuthenticationConfiguration\n", `no kind "AuthenticationConfiguration" is registered for version "apiserver.config.k8s.io/v9"`},
		{"an unknown field", head + "jwts: []\n", `unknown field "jwts"`},
		{"plain HTTP", head + "jwt:\n- issuer: {url: \"http://example.com\", audiences: [a]}\n" + plain, `jwt[0].issuer.url: Invalid value: "http://example.com": URL scheme must be https`},
		{"no audience", head + "jwt:\n- issuer: {url: \"https://example.com\"}\n" + plain, "jwt[0].issuer.audiences: Required value"},
		{"the cluster's own issuer", head + "jwt:\n- issuer: {url: \"" + apiAud + "\", audiences: [a]}\n" + plain, "must not overlap with disallowed issuers"},
		{"no username", head + "jwt:\n" + issuer.YAML("a") + "  claimMappings: {}\n", "jwt[0].claimMappings.username: Required value: claim or expression is required"},
		{"no prefix", head + "jwt:\n" + issuer.YAML("a") + "  claimMappings:\n    username: {claim: sub}\n", "jwt[0].claimMappings.username.prefix: Required value"},
		{"an expression of another type", head + "jwt:\n" + issuer.YAML("a") + plain + "  claimValidationRules: [{expression: \"1 + 1\"}]\n", "must evaluate to bool"},
		{"an expression that is none", head + "jwt:\n" + issuer.YAML("a") + "  claimMappings:\n    username: {expression: \"claims.\"}\n", "compilation failed"},
		{"the same issuer twice", head + "jwt:\n" + issuer.YAML("a") + plain + issuer.YAML("b") + plain, "jwt[1].issuer.url: Duplicate value"},
		{"a reserved key", head + "jwt:\n" + issuer.YAML("a") + plain + "    extra: [{key: kubernetes.io/x, valueExpression: claims.sub}]\n", "k8s.io, kubernetes.io and their subdomains are reserved"},
		{"an egress selector", head + "jwt:\n" + issuer.YAML("a") + "    egressSelectorType: controlplane\n" + plain, "leave it out"},
		{"conditions for nobody", head + "anonymous: {enabled: false, conditions: [{path: /livez}]}\n", "anonymous.conditions: Invalid value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "authentication.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := New(t.Context(), path, nil, apiAud)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
	if _, err := New(t.Context(), filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("without a file: %v", err)
	}
}

// change is a file of one issuer whose prefix tells its states apart.
type change struct {
	a      *Authenticator
	path   string
	issuer *issuertest.Issuer
	tokens int
}

func newChange(t *testing.T) *change {
	c := &change{issuer: issuertest.New(t)}
	c.a, c.path = start(t, c.config("one:"))
	return c
}

func (c *change) config(prefix string) string {
	return head + "anonymous: {enabled: true, conditions: [{path: /livez}]}\njwt:\n" + c.issuer.YAML("hivemind") + strings.ReplaceAll(plain, "test:", prefix)
}

func (c *change) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(c.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// is checks who a new token is of; one that was good is remembered.
func (c *change) is(t *testing.T, want string) error {
	c.tokens++
	response, ok, err := c.a.AuthenticateToken(t.Context(), c.issuer.Token(t, "hivemind", map[string]any{"sub": "ann", "n": c.tokens}))
	got := fmt.Sprint("nobody, ", err)
	if ok {
		got = response.User.GetName()
	}
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// What is wrong with a new file keeps the old one in force.
func TestReload(t *testing.T) {
	c := newChange(t)
	for _, tt := range []struct{ name, text string }{
		{"a wrong field", strings.Replace(c.config("wrong:"), "audiences", "audience", 1)},
		{"others without credentials", strings.Replace(c.config("wrong:"), "/livez", "/readyz", 1)},
		{"half a file", c.config("wrong:")[:200]},
		{"the cluster's own issuer", strings.Replace(c.config("wrong:"), c.issuer.URL, apiAud, 1)},
	} {
		c.write(t, tt.text)
		c.a.reload(t.Context())
		if err := c.is(t, "one:ann"); err != nil {
			t.Errorf("after %s: %v", tt.name, err)
		}
	}
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	c.a.reload(t.Context())
	if err := c.is(t, "one:ann"); err != nil {
		t.Errorf("without the file: %v", err)
	}
	// An issuer that cannot be reached keeps the old ones in force for as long as it cannot.
	c.write(t, strings.Replace(c.config("two:"), c.issuer.URL, "https://127.0.0.1:1", 1))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	c.a.reload(ctx)
	if err := c.is(t, "one:ann"); err != nil {
		t.Errorf("with an issuer that is not there: %v", err)
	}
	c.write(t, c.config("two:"))
	c.a.reload(t.Context())
	if err := c.is(t, "two:ann"); err != nil {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	c := newChange(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.a.Watch(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if err := c.is(t, "one:ann"); err != nil {
		t.Fatal(err)
	}
	c.write(t, c.config("two:"))
	eventually(t, "another prefix", func() error { return c.is(t, "two:ann") })

	// As a mounted ConfigMap is replaced.
	next := filepath.Join(filepath.Dir(c.path), "next")
	if err := os.WriteFile(next, []byte(c.config("three:")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, c.path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replaced file", func() error { return c.is(t, "three:ann") })

	c.write(t, head+"anonymous: {enabled: true, conditions: [{path: /livez}]}\n")
	eventually(t, "the issuer to be gone", func() error { return c.is(t, "nobody, <nil>") })
}
