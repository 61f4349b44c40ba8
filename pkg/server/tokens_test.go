// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A token is void once what it is bound to is gone, and stays so when another of the same name is made. Token reviews agree.
func TestBoundTokensEndWithWhatTheyAreBoundTo(t *testing.T) {
	c := newCluster(t)
	ctx, now := t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	core := c.CoreV1()
	meta := metav1.ObjectMeta{Name: "bound"}
	makeAccount := func(name string) (types.UID, error) {
		made, err := core.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return made.UID, err
	}
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "elsewhere", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}

	tests := []struct {
		kind     string
		make     func(account string) (types.UID, error)
		remove   func(account string) error
		anew     string // what a token says once another has the name
		gone     string
		extraKey string
	}{
		{kind: "Pod", extraKey: "authentication.kubernetes.io/pod-uid",
			make: func(account string) (types.UID, error) {
				pod := pod.DeepCopy()
				pod.Spec.ServiceAccountName = account
				made, err := core.Pods("default").Create(ctx, pod, metav1.CreateOptions{})
				return made.UID, err
			},
			remove: func(string) error { return core.Pods("default").Delete(ctx, "bound", now) },
			gone:   "service account token has been invalidated", anew: "pod UID (%s) does not match service account pod ref claim (%s)"},
		{kind: "Secret",
			make: func(string) (types.UID, error) {
				made, err := core.Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: meta}, metav1.CreateOptions{})
				return made.UID, err
			},
			remove: func(string) error { return core.Secrets("default").Delete(ctx, "bound", now) },
			gone:   "service account token has been invalidated", anew: "secret UID (%s) does not match service account secret ref claim (%s)"},
		{kind: "Node", extraKey: "authentication.kubernetes.io/node-uid",
			make: func(string) (types.UID, error) {
				made, err := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: meta}, metav1.CreateOptions{})
				return made.UID, err
			},
			remove: func(string) error { return core.Nodes().Delete(ctx, "bound", now) },
			gone:   "service account token has been invalidated", anew: "node UID (%s) does not match service account node ref claim (%s)"},
		{kind: "ServiceAccount",
			make:   func(string) (types.UID, error) { return "", nil },
			remove: func(account string) error { return core.ServiceAccounts("default").Delete(ctx, account, now) },
			gone:   `serviceaccounts "ACCOUNT" not found`, anew: "service account UID (%s) does not match claim (%s)"},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			account := "robot-" + strings.ToLower(tt.kind)
			accountUID, err := makeAccount(account)
			if err != nil {
				t.Fatal(err)
			}
			uid, err := tt.make(account)
			if err != nil {
				t.Fatal(err)
			}
			ask := &authenticationv1.TokenRequest{}
			if tt.kind != "ServiceAccount" {
				ask.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: tt.kind, Name: "bound", UID: uid}
			}
			request, err := core.ServiceAccounts("default").CreateToken(ctx, account, ask, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			token := request.Status.Token
			who, err := c.whoAmI(t, token)
			if err != nil || who.Username != "system:serviceaccount:default:"+account || who.UID != string(accountUID) {
				t.Fatalf("the token is of %v, %v", who, err)
			}
			if tt.extraKey != "" && (len(who.Extra[tt.extraKey]) != 1 || who.Extra[tt.extraKey][0] != string(uid)) {
				t.Errorf("%s is %v, want %s", tt.extraKey, who.Extra[tt.extraKey], uid)
			}
			if status := c.tokenReview(t, token); !status.Authenticated || status.User.Username != who.Username || status.Error != "" {
				t.Errorf("token review: %+v", status)
			}

			refused := func(why string) {
				t.Helper()
				eventually(t, "the token to be refused", func() (bool, error) {
					_, err := c.whoAmI(t, token)
					return apierrors.IsUnauthorized(err), err
				})
				eventually(t, "the review to say so", func() (bool, error) {
					status := c.tokenReview(t, token)
					return !status.Authenticated && status.Error == why, fmt.Errorf("%+v, want %s", status, why)
				})
			}
			if err := tt.remove(account); err != nil {
				t.Fatal(err)
			}
			refused(strings.ReplaceAll(tt.gone, "ACCOUNT", account))
			old, another := uid, types.UID("")
			if tt.kind == "ServiceAccount" {
				old = accountUID
				another, err = makeAccount(account)
			} else {
				another, err = tt.make(account)
			}
			if err != nil {
				t.Fatal(err)
			}
			refused(fmt.Sprintf(tt.anew, another, old))
			if tt.kind == "ServiceAccount" {
				return
			}
			// Nor is there a new token to be had that is bound to the one that is gone.
			if _, err := core.ServiceAccounts("default").CreateToken(ctx, account, ask, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("a token bound to the one that is gone: %v", err)
			}
			if err := tt.remove(account); err != nil {
				t.Fatal(err)
			}
			want := strings.ToLower(tt.kind) + `s "bound" not found`
			if _, err := core.ServiceAccounts("default").CreateToken(ctx, account, ask, metav1.CreateOptions{}); err == nil || err.Error() != want {
				t.Errorf("a token bound to nothing: %v, want %s", err, want)
			}
		})
	}
}

// A token is for its audiences alone, and a review says for which of those asked about.
func TestTokenAudiences(t *testing.T) {
	c := newCluster(t)
	if _, err := c.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ask := func(audiences ...string) string {
		t.Helper()
		request, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot",
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return request.Status.Token
	}
	const server = "https://kubernetes.default.svc.cluster.local"
	tests := []struct {
		name        string
		token       string
		served      bool // by the API server
		asked, want []string
	}{
		{"none said", ask(), true, nil, []string{server}},
		{"none said, for others", ask(), true, []string{"vault"}, nil},
		{"for others", ask("vault", "consul"), false, []string{"vault", "nomad"}, []string{"vault"}},
		{"for others, asked for the server", ask("vault"), false, nil, nil},
		{"for both", ask("vault", server), true, []string{server, "vault"}, []string{server, "vault"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.whoAmI(t, tt.token); (err == nil) != tt.served || err != nil && !apierrors.IsUnauthorized(err) {
				t.Errorf("as a user: %v", err)
			}
			status := c.tokenReview(t, tt.token, tt.asked...)
			if status.Authenticated != (tt.want != nil) {
				t.Fatalf("%+v", status)
			}
			got := map[string]bool{}
			for _, a := range status.Audiences {
				got[a] = true
			}
			if len(got) != len(tt.want) {
				t.Errorf("good for %v, want %v", status.Audiences, tt.want)
			}
			for _, a := range tt.want {
				if !got[a] {
					t.Errorf("good for %v, want %v", status.Audiences, tt.want)
				}
			}
		})
	}
}

// A Secret that is made for it gets a token that lasts as long as the Secret and the account do, and tells when it was used last.
func TestTokensInSecrets(t *testing.T) {
	c := newCluster(t)
	core := c.CoreV1()
	if _, err := core.ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tokenIn := func(secret string) string {
		t.Helper()
		_, err := core.Secrets("default").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: secret, Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}}, Type: corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var made *corev1.Secret
		eventually(t, "the secret to have a token", func() (bool, error) {
			made, err = core.Secrets("default").Get(t.Context(), secret, metav1.GetOptions{})
			return err == nil && len(made.Data[corev1.ServiceAccountTokenKey]) > 0, err
		})
		if string(made.Data[corev1.ServiceAccountNamespaceKey]) != "default" || string(made.Data[corev1.ServiceAccountRootCAKey]) != string(c.server.Identities().CA.CertPEM) {
			t.Errorf("secret %s has %q beside its token", secret, made.Data)
		}
		return string(made.Data[corev1.ServiceAccountTokenKey])
	}
	accepted := func(token string) {
		t.Helper()
		eventually(t, "the token to be accepted", func() (bool, error) {
			who, err := c.whoAmI(t, token)
			return err == nil && who.Username == "system:serviceaccount:default:robot", err
		})
	}
	refused := func(token string) {
		t.Helper()
		eventually(t, "the token to be refused", func() (bool, error) {
			_, err := c.whoAmI(t, token)
			return apierrors.IsUnauthorized(err), err
		})
	}
	first, second := tokenIn("first"), tokenIn("second")
	accepted(first)
	accepted(second)
	used, err := core.Secrets("default").Get(t.Context(), "first", metav1.GetOptions{})
	if day := used.Labels["kubernetes.io/legacy-token-last-used"]; err != nil || len(day) != len("2006-01-02") {
		t.Errorf("the secret was used last on %q, error %v, want a day", day, err)
	}
	if err := core.Secrets("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(first)
	accepted(second)
	if err := core.ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(second)
	eventually(t, "the secret to go with its account", func() (bool, error) {
		_, err := core.Secrets("default").Get(t.Context(), "second", metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
}
