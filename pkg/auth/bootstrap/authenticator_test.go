// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	testID  = "abc123"
	testKey = "0123456789abcdef"
)

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newSecret is of a token that is good for all, but for what change makes of it.
func newSecret(change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + testID}, Type: "bootstrap.kubernetes.io/token",
		Data: map[string][]byte{"token-id": []byte(testID), "token-secret": []byte(testKey),
			"usage-bootstrap-authentication": []byte("true"), "usage-bootstrap-signing": []byte("true")},
	}
	if change != nil {
		change(s)
	}
	return s
}

func set(key, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		s.Data = maps.Clone(s.Data)
		s.Data[key] = []byte(value)
	}
}

func TestAuthenticateToken(t *testing.T) {
	good := &user.DefaultInfo{Name: "system:bootstrap:abc123", Groups: []string{"system:bootstrappers"}}
	tests := []struct {
		name   string
		token  string // default: the right one
		change func(*corev1.Secret)
		want   user.Info
	}{
		{name: "good", want: good},
		{name: "more groups, one twice", change: set("auth-extra-groups", "system:bootstrappers:foo,system:bootstrappers:bar,system:bootstrappers:foo"),
			want: &user.DefaultInfo{Name: good.Name, Groups: []string{"system:bootstrappers", "system:bootstrappers:bar", "system:bootstrappers:foo"}}},
		{name: "a group that is not for bootstrappers", change: set("auth-extra-groups", "system:bootstrappers:foo,system:masters")},
		{name: "a group that ends in a hyphen", change: set("auth-extra-groups", "system:bootstrappers:foo-")},
		{name: "the group itself again", change: set("auth-extra-groups", "system:bootstrappers")},
		{name: "a group as long as can be", change: set("auth-extra-groups", "system:bootstrappers:"+strings.Repeat("a", 256)),
			want: &user.DefaultInfo{Name: good.Name, Groups: []string{"system:bootstrappers", "system:bootstrappers:" + strings.Repeat("a", 256)}}},
		{name: "a group too long", change: set("auth-extra-groups", "system:bootstrappers:"+strings.Repeat("a", 257))},
		{name: "an empty group", change: set("auth-extra-groups", "system:bootstrappers:foo,")},
		{name: "a group of upper case", change: set("auth-extra-groups", "system:bootstrappers:Foo")},
		{name: "in time", change: set("expiration", "2026-01-02T03:04:06Z"), want: good},
		{name: "in time elsewhere", change: set("expiration", "2026-01-02T05:04:04+01:00"), want: good},
		{name: "expired", change: set("expiration", "2026-01-02T03:04:05Z")},
		{name: "a time that is none", change: set("expiration", "tomorrow")},
		{name: "not for authentication", change: set("usage-bootstrap-authentication", "false")},
		{name: "not said to be for authentication", change: func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }},
		{name: "being deleted", change: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: testNow} }},
		{name: "another type", change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		{name: "another namespace", change: func(s *corev1.Secret) { s.Namespace = "default" }},
		{name: "another secret", token: testID + ".0123456789abcdeg"},
		{name: "another id", change: set("token-id", "abc124")},
		{name: "no data", change: func(s *corev1.Secret) { s.Data = nil }},
		{name: "no such token", token: "abc124." + testKey},
		{name: "no token of this kind", token: "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"},
		{name: "too long", token: testID + "." + testKey + "0"},
		{name: "a line more", token: testID + "." + testKey + "\n"},
		{name: "upper case", token: "ABC123." + testKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			if err := store.Add(newSecret(tt.change)); err != nil {
				t.Fatal(err)
			}
			a := NewAuthenticator(corelisters.NewSecretLister(store))
			a.now = func() time.Time { return testNow }
			token := tt.token
			if token == "" {
				token = testID + "." + testKey
			}
			response, ok, err := a.AuthenticateToken(t.Context(), token)
			if err != nil || ok != (tt.want != nil) {
				t.Fatalf("%+v, %v, %v", response, ok, err)
			}
			if ok {
				if diff := cmp.Diff(tt.want, response.User); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestForSigning(t *testing.T) {
	tests := []struct {
		name   string
		change func(*corev1.Secret)
		want   bool
	}{
		{"good", nil, true},
		{"not for authentication", set(KeyUsageAuthentication, "false"), true},
		{"not for signing", set(KeyUsageSigning, "false"), false},
		{"expired", set(KeyExpiration, "2026-01-02T03:04:04Z"), false},
		{"another name", func(s *corev1.Secret) { s.Name = "bootstrap-token-abc124" }, false},
		{"a name that is none of a token", func(s *corev1.Secret) { s.Name = "my-bootstrap-token-abc123" }, false},
		{"no id", func(s *corev1.Secret) { delete(s.Data, KeyID) }, false},
		{"no secret", func(s *corev1.Secret) { delete(s.Data, KeySecret) }, false},
		{"another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, key, ok := ForSigning(newSecret(tt.change), testNow)
			if ok != tt.want || ok && (id != testID || key != testKey) {
				t.Errorf("%q, %q, %v", id, key, ok)
			}
		})
	}
}
