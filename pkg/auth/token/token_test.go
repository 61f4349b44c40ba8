// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

const issuerURL = "https://kubernetes.default.svc.cluster.local"

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// world is the cluster that tokens depend on; tests change it at will.
type world struct {
	account *corev1.ServiceAccount
	pod     *corev1.Pod
	secret  *corev1.Secret
	node    *corev1.Node
}

func newWorld() *world {
	meta := func(namespace, name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}
	}
	return &world{
		account: &corev1.ServiceAccount{ObjectMeta: meta("ns", "app", "sa-uid")},
		pod:     &corev1.Pod{ObjectMeta: meta("ns", "pod", "pod-uid"), Spec: corev1.PodSpec{ServiceAccountName: "app", NodeName: "node"}},
		secret:  &corev1.Secret{ObjectMeta: meta("ns", "secret", "secret-uid")},
		node:    &corev1.Node{ObjectMeta: meta("", "node", "node-uid")},
	}
}

func (w *world) getters() Getters {
	notFound := func(resource, name string) error {
		return apierrors.NewNotFound(corev1.Resource(resource), name)
	}
	return Getters{
		ServiceAccount: func(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			if w.account == nil || w.account.Namespace != namespace || w.account.Name != name {
				return nil, notFound("serviceaccounts", name)
			}
			return w.account, nil
		},
		Pod: func(_ context.Context, namespace, name string) (*corev1.Pod, error) {
			if w.pod == nil || w.pod.Namespace != namespace || w.pod.Name != name {
				return nil, notFound("pods", name)
			}
			return w.pod, nil
		},
		Secret: func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
			if w.secret == nil || w.secret.Namespace != namespace || w.secret.Name != name {
				return nil, notFound("secrets", name)
			}
			return w.secret, nil
		},
		Node: func(_ context.Context, name string) (*corev1.Node, error) {
			if w.node == nil || w.node.Name != name {
				return nil, notFound("nodes", name)
			}
			return w.node, nil
		},
	}
}

func newPair(t testing.TB, w *world) (*Issuer, *Authenticator) {
	t.Helper()
	key := newKey(t)
	issuer, err := NewIssuer(issuerURL, key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAuthenticator(issuerURL, authenticator.Audiences{"api", "api2"}, w.getters(), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return issuer, a
}

func deletedAgo(d time.Duration) *metav1.Time { return &metav1.Time{Time: time.Now().Add(-d)} }

func TestAuthenticateBound(t *testing.T) {
	everyone := map[string][]string{}
	tests := []struct {
		name      string
		subject   func(w *world) Subject
		audiences []string // of the token; default api
		asked     authenticator.Audiences
		lifetime  time.Duration // default 1 h
		after     time.Duration // how much later it is checked
		change    func(w *world)
		extra     map[string][]string
		err       string
	}{
		{name: "unbound", extra: everyone},
		{name: "pod", subject: func(w *world) Subject { return Subject{Pod: w.pod, Node: w.node} }, extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"pod"}, "authentication.kubernetes.io/pod-uid": {"pod-uid"},
			"authentication.kubernetes.io/node-name": {"node"}, "authentication.kubernetes.io/node-uid": {"node-uid"}}},
		{name: "node", subject: func(w *world) Subject { return Subject{Node: w.node} }, extra: map[string][]string{
			"authentication.kubernetes.io/node-name": {"node"}, "authentication.kubernetes.io/node-uid": {"node-uid"}}},
		{name: "secret", subject: func(w *world) Subject { return Subject{Secret: w.secret} }, extra: everyone},

		{name: "other audience", audiences: []string{"vault"}, err: `token audiences ["vault"] is invalid for the target audiences ["api" "api2"]`},
		{name: "audience asked about", audiences: []string{"vault"}, asked: authenticator.Audiences{"vault", "x"}, extra: everyone},
		{name: "audience of the server is not all", asked: authenticator.Audiences{"vault"}, err: `token audiences ["api"] is invalid for the target audiences ["vault"]`},

		{name: "just expired, within leeway", after: time.Hour + 30*time.Second, extra: everyone},
		{name: "expired", after: time.Hour + 90*time.Second, err: "service account token has expired"},
		{name: "not valid yet", after: -2 * time.Minute, err: "service account token is not valid yet"},

		{name: "account gone", change: func(w *world) { w.account = nil }, err: `serviceaccounts "app" not found`},
		{name: "account made anew", change: func(w *world) { w.account.UID = "other" }, err: "service account UID (other) does not match claim (sa-uid)"},
		{name: "account being deleted", change: func(w *world) { w.account.DeletionTimestamp = deletedAgo(2 * time.Minute) }, err: "service account ns/app has been deleted"},
		{name: "account deleted this minute", change: func(w *world) { w.account.DeletionTimestamp = deletedAgo(10 * time.Second) }, extra: everyone},

		{name: "pod gone", subject: func(w *world) Subject { return Subject{Pod: w.pod} }, change: func(w *world) { w.pod = nil }, err: "service account token has been invalidated"},
		{name: "pod made anew", subject: func(w *world) Subject { return Subject{Pod: w.pod} }, change: func(w *world) { w.pod.UID = "other" },
			err: "pod UID (other) does not match service account pod ref claim (pod-uid)"},
		{name: "pod being deleted", subject: func(w *world) Subject { return Subject{Pod: w.pod} }, change: func(w *world) { w.pod.DeletionTimestamp = deletedAgo(2 * time.Minute) },
			err: "service account token has been invalidated"},
		{name: "pod's node gone", subject: func(w *world) Subject { return Subject{Pod: w.pod, Node: w.node} }, change: func(w *world) { w.node = nil }, extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"pod"}, "authentication.kubernetes.io/pod-uid": {"pod-uid"},
			"authentication.kubernetes.io/node-name": {"node"}, "authentication.kubernetes.io/node-uid": {"node-uid"}}},
		{name: "node gone", subject: func(w *world) Subject { return Subject{Node: w.node} }, change: func(w *world) { w.node = nil }, err: "service account token has been invalidated"},
		{name: "secret made anew", subject: func(w *world) Subject { return Subject{Secret: w.secret} }, change: func(w *world) { w.secret.UID = "other" },
			err: "secret UID (other) does not match service account secret ref claim (secret-uid)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			issuer, a := newPair(t, w)
			subject := Subject{}
			if tt.subject != nil {
				subject = tt.subject(w)
			}
			subject.ServiceAccount = w.account
			if tt.audiences == nil {
				tt.audiences = []string{"api"}
			}
			if tt.lifetime == 0 {
				tt.lifetime = time.Hour
			}
			token, id, err := issuer.Issue(subject, tt.audiences, Lifetime{Expiry: tt.lifetime})
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(w)
			}
			a.now = func() time.Time { return time.Now().Add(tt.after) }
			ctx := t.Context()
			if tt.asked != nil {
				ctx = authenticator.WithAudiences(ctx, tt.asked)
			}
			response, ok, err := a.AuthenticateToken(ctx, token)
			if tt.err != "" {
				if ok || err == nil || err.Error() != tt.err {
					t.Fatalf("got %v %v, want error %q", ok, err, tt.err)
				}
				return
			}
			if err != nil || !ok {
				t.Fatalf("got %v %v", ok, err)
			}
			want := &user.DefaultInfo{
				Name: "system:serviceaccount:ns:app", UID: "sa-uid", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns"},
				Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + id}},
			}
			for k, v := range tt.extra {
				want.Extra[k] = v
			}
			if d := cmp.Diff(user.Info(want), response.User); d != "" {
				t.Error(d)
			}
		})
	}
}

// The claims are those that Kubernetes' own tokens have, to the letter.
func TestClaims(t *testing.T) {
	w := newWorld()
	issuer, _ := newPair(t, w)
	now := time.Unix(1700000000, 0)
	issuer.Now = func() time.Time { return now }
	token, id, err := issuer.Issue(Subject{ServiceAccount: w.account, Pod: w.pod, Node: w.node}, []string{"api"}, Lifetime{Expiry: time.Hour, WarnAfter: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": issuerURL, "sub": "system:serviceaccount:ns:app", "aud": []any{"api"}, "jti": id,
		"iat": 1700000000.0, "nbf": 1700000000.0, "exp": 1700003600.0,
		"kubernetes.io": map[string]any{
			"namespace":      "ns",
			"serviceaccount": map[string]any{"name": "app", "uid": "sa-uid"},
			"pod":            map[string]any{"name": "pod", "uid": "pod-uid"},
			"node":           map[string]any{"name": "node", "uid": "node-uid"},
			"warnafter":      1700000060.0,
		},
	}
	if d := cmp.Diff(want, decode(t, strings.Split(token, ".")[1])); d != "" {
		t.Error(d)
	}
}

func decode(t *testing.T, part string) map[string]any {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestForgedAndForeign(t *testing.T) {
	w := newWorld()
	issuer, a := newPair(t, w)
	good, _, err := issuer.Issue(Subject{ServiceAccount: w.account}, []string{"api"}, Lifetime{Expiry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(url string, key *ecdsa.PrivateKey, header map[string]any) string {
		other, err := NewIssuer(url, key)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := other.Issue(Subject{ServiceAccount: w.account}, []string{"api"}, Lifetime{Expiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		if header != nil {
			data, err := json.Marshal(header)
			if err != nil {
				t.Fatal(err)
			}
			parts[0] = base64.RawURLEncoding.EncodeToString(data)
		}
		return strings.Join(parts, ".")
	}
	parts := strings.Split(good, ".")
	hmacSigner, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: a.keys[0].X.Bytes()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hmac, err := jwt.Signed(hmacSigner).Claims(jwt.Claims{Issuer: issuerURL}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	goodID := decode(t, parts[0])["kid"]

	for _, tt := range []struct {
		name, token string
		refused     bool // with an error; else none of ours
	}{
		{"another issuer", sign("https://other.example.org", newKey(t), nil), false},
		{"an opaque token", "abcdef.0123456789abcdef", false},
		{"empty", "", false},
		{"JSON serialization", "{}", false},
		{"our issuer, another key", sign(issuerURL, newKey(t), nil), true},
		{"our issuer, another key, our key id", sign(issuerURL, newKey(t), map[string]any{"alg": "ES256", "kid": goodID}), true},
		{"no signature", parts[0] + "." + parts[1] + ".", true},
		{"algorithm none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", true},
		{"HMAC with the public key", hmac, true},
		{"claims changed", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"iss":%q,"sub":"system:serviceaccount:kube-system:admin"}`, issuerURL))) + "." + parts[2], true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, ok, err := a.AuthenticateToken(t.Context(), tt.token)
			if ok || (err != nil) != tt.refused {
				t.Errorf("got %v %v", ok, err)
			}
		})
	}
}

func TestLegacy(t *testing.T) {
	const gone, differs = "Token has been invalidated", "Token does not match server's copy"
	tests := []struct {
		name   string
		change func(w *world)
		err    string
	}{
		{"valid", nil, ""},
		{"secret gone", func(w *world) { w.secret = nil }, gone},
		{"secret being deleted", func(w *world) { w.secret.DeletionTimestamp = deletedAgo(0) }, gone},
		{"token replaced", func(w *world) { w.secret.Data[corev1.ServiceAccountTokenKey] = []byte("other") }, differs},
		{"account gone", func(w *world) { w.account = nil }, `serviceaccounts "app" not found`},
		{"account being deleted", func(w *world) { w.account.DeletionTimestamp = deletedAgo(0) }, "ServiceAccount ns/app has been deleted"},
		{"account made anew", func(w *world) { w.account.UID = "other" }, "ServiceAccount UID (other) does not match claim (sa-uid)"},
		{"marked invalid", func(w *world) {
			w.secret.Labels = map[string]string{"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
		},
			"the token in secret ns/secret for service account ns/app has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, " +
				"or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			issuer, a := newPair(t, w)
			token, err := issuer.IssueForSecret(w.account, w.secret)
			if err != nil {
				t.Fatal(err)
			}
			w.secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(token)}
			if tt.change != nil {
				tt.change(w)
			}
			response, ok, err := a.AuthenticateToken(t.Context(), token)
			if tt.err == "" {
				if err != nil || !ok || response.User.GetName() != "system:serviceaccount:ns:app" || response.User.GetUID() != "sa-uid" {
					t.Errorf("got %+v %v %v", response, ok, err)
				}
			} else if ok || err == nil || err.Error() != tt.err {
				t.Errorf("got %v %v, want %q", ok, err, tt.err)
			}
		})
	}
}

// Who keeps a token in a Secret is told the day when it was used last, not each time.
func TestLegacyTellsWhenItIsUsed(t *testing.T) {
	w := newWorld()
	issuer, a := newPair(t, w)
	token, err := issuer.IssueForSecret(w.account, w.secret)
	if err != nil {
		t.Fatal(err)
	}
	w.secret.Data = map[string][]byte{corev1.ServiceAccountTokenKey: []byte(token)}
	day := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	a.now = func() time.Time { return day }
	var told []string
	a.Used = func(_ context.Context, secret *corev1.Secret, labels map[string]string) {
		secret.Labels = labels
		told = append(told, labels["kubernetes.io/legacy-token-last-used"])
	}
	use := func() {
		t.Helper()
		if _, ok, err := a.AuthenticateToken(t.Context(), token); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	use()
	use()
	day = day.AddDate(0, 0, -1) // a clock that is behind that of who told it
	use()
	day = day.AddDate(0, 0, 3)
	use()
	if diff := cmp.Diff([]string{"2026-03-31", "2026-04-02"}, told); diff != "" {
		t.Errorf("days, -want +got:\n%s", diff)
	}
}

func TestRequests(t *testing.T) {
	bind := func(kind, name, uid string) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{Kind: kind, APIVersion: "v1", Name: name, UID: types.UID(uid)}
	}
	tests := []struct {
		name    string
		account string // default app
		request authenticationv1.TokenRequest
		change  func(w *world)
		expiry  time.Duration // of the token
		told    time.Duration // by the status; default the same
		err     string
	}{
		{name: "defaults", expiry: time.Hour},
		{name: "given lifetime", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(600))}}, expiry: 10 * time.Minute},
		{name: "too short", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(599))}},
			err: `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes`},
		{name: "too long", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(1<<32 + 1))}},
			err: `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds`},
		{name: "as volumes ask", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3607)), BoundObjectRef: bind("Pod", "pod", "pod-uid")}},
			expiry: extendedLifetime, told: 3607 * time.Second},
		{name: "as volumes ask, for others", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{"vault"}, ExpirationSeconds: new(int64(3607)), BoundObjectRef: bind("Pod", "pod", "")}}, expiry: 3607 * time.Second},
		{name: "node of the pod is gone", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bind("Pod", "pod", "")}},
			change: func(w *world) { w.node = nil }, expiry: time.Hour},
		{name: "no such account", account: "other", err: `serviceaccounts "other" not found`},
		{name: "name differs", request: authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}},
			err: `TokenRequest.authentication.k8s.io "app" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified`},
		{name: "uid differs", request: authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "x"}},
			err: `Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "app": the UID in the token request (x) does not match the UID of the service account (sa-uid)`},
		{name: "pod of another account", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bind("Pod", "pod", "")}},
			change: func(w *world) { w.pod.Spec.ServiceAccountName = "other" }, err: `cannot bind token for serviceaccount "app" to pod running with different serviceaccount name.`},
		{name: "pod gone", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bind("Pod", "pod", "")}},
			change: func(w *world) { w.pod = nil }, err: `pods "pod" not found`},
		{name: "pod made anew", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bind("Pod", "pod", "old")}},
			err: `Operation cannot be fulfilled on Pod "pod": the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated`},
		{name: "bound to a thing", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bind("ConfigMap", "x", "")}},
			err: `cannot bind token to object of type /v1, Kind=ConfigMap`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			issuer, a := newPair(t, w)
			requests := Requests{Issuer: issuer, Audiences: a.audiences, Get: w.getters()}
			if tt.change != nil {
				tt.change(w)
			}
			if tt.account == "" {
				tt.account = "app"
			}
			out, err := requests.Create(t.Context(), "ns", tt.account, &tt.request, nil)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if out.Name != "app" || out.Namespace != "ns" || out.UID != "sa-uid" || len(out.Spec.Audiences) == 0 {
				t.Errorf("not completed: %+v", out)
			}
			if tt.told == 0 {
				tt.told = tt.expiry
			}
			if told := out.Status.ExpirationTimestamp.Sub(out.CreationTimestamp.Time); told != tt.told {
				t.Errorf("status tells of %v, want %v", told, tt.told)
			}
			claims := decode(t, strings.Split(out.Status.Token, ".")[1])
			if got := time.Duration(claims["exp"].(float64)-claims["iat"].(float64)) * time.Second; got != tt.expiry {
				t.Errorf("token lives %v, want %v", got, tt.expiry)
			}
			ctx := authenticator.WithAudiences(t.Context(), out.Spec.Audiences)
			if _, ok, err := a.AuthenticateToken(ctx, out.Status.Token); !ok || err != nil {
				t.Errorf("not accepted: %v", err)
			}
		})
	}
}

// The published key checks a token, found by the id in its header.
func TestDiscovery(t *testing.T) {
	w := newWorld()
	issuer, a := newPair(t, w)
	handlers, err := Discovery(issuerURL, "https://192.0.2.1:6443", a.keys...)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, contentType string, into any) {
		t.Helper()
		r := httptest.NewRecorder()
		handlers[path].ServeHTTP(r, httptest.NewRequest("GET", path, nil))
		if got := r.Header().Get("Content-Type"); got != contentType {
			t.Errorf("%s is %s, want %s", path, got, contentType)
		}
		if err := json.Unmarshal(r.Body.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	var configuration map[string]any
	get(ConfigurationPath, "application/json", &configuration)
	want := map[string]any{
		"issuer": issuerURL, "jwks_uri": "https://192.0.2.1:6443/openid/v1/jwks", "response_types_supported": []any{"id_token"},
		"subject_types_supported": []any{"public"}, "id_token_signing_alg_values_supported": []any{"ES256"},
	}
	if d := cmp.Diff(want, configuration); d != "" {
		t.Error(d)
	}
	var keys jose.JSONWebKeySet
	get(KeysPath, "application/jwk-set+json", &keys)
	token, _, err := issuer.Issue(Subject{ServiceAccount: w.account}, nil, Lifetime{Expiry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token)
	if err != nil {
		t.Fatal(err)
	}
	key := keys.Key(parsed.Headers[0].KeyID)
	if len(key) != 1 || !key[0].IsPublic() {
		t.Fatalf("keys of that id: %v", key)
	}
	if err := parsed.Claims(key[0], &jwt.Claims{}); err != nil {
		t.Error(err)
	}
}

func TestWithFallback(t *testing.T) {
	cached, live := newWorld(), newWorld()
	live.account.UID, live.pod.UID, live.node.UID = "live", "live", "live"
	cached.pod, cached.node = nil, nil
	g := cached.getters()
	g.Secret = nil
	g = WithFallback(g, live.getters())
	account, err := g.ServiceAccount(t.Context(), "ns", "app")
	if err != nil || account.UID != "sa-uid" {
		t.Errorf("what is cached: %v %v", account, err)
	}
	pod, err := g.Pod(t.Context(), "ns", "pod")
	if err != nil || pod.UID != "live" {
		t.Errorf("what is not: %v %v", pod, err)
	}
	if node, err := g.Node(t.Context(), "node"); err != nil || node.UID != "live" {
		t.Errorf("what is not, without namespace: %v %v", node, err)
	}
	if _, err := g.Secret(t.Context(), "ns", "secret"); err != nil {
		t.Errorf("a kind without cache: %v", err)
	}
	if _, err := g.Pod(t.Context(), "ns", "nowhere"); !apierrors.IsNotFound(err) {
		t.Errorf("what is nowhere: %v", err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld()
	issuer, a := newPair(b, w)
	token, _, err := issuer.Issue(Subject{ServiceAccount: w.account, Pod: w.pod, Node: w.node}, []string{"api"}, Lifetime{Expiry: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok, err := a.AuthenticateToken(b.Context(), token); !ok {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	w := newWorld()
	issuer, _ := newPair(b, w)
	for b.Loop() {
		if _, _, err := issuer.Issue(Subject{ServiceAccount: w.account}, nil, Lifetime{Expiry: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}
