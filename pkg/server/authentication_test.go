// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/auth/issuers/issuertest"
)

// withToken is a client that has a token and nothing else.
func (c *cluster) withToken(token string) *kubernetes.Clientset {
	anonymous := rest.AnonymousClientConfig(c.config)
	anonymous.BearerToken, anonymous.QPS = token, -1
	return kubernetes.NewForConfigOrDie(anonymous)
}

// whoAmI asks the server who the holder of a token is.
func (c *cluster) whoAmI(t *testing.T, token string) (authenticationv1.UserInfo, error) {
	t.Helper()
	review, err := c.withToken(token).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

// tokenReview has the server review a token, as an administrator.
func (c *cluster) tokenReview(t *testing.T, token string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	review, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status
}

// TestTokenReviewKeepsStatus holds that what a client says of a token stays where the server finds nothing, as kube-apiserver has it.
func TestTokenReviewKeepsStatus(t *testing.T) {
	c := newCluster(t)
	said := authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "somebody"}, Audiences: []string{"a"}}
	review, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: "nonsense"}, Status: said}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := review.Status; s.Authenticated || s.User.Username != "somebody" || len(s.Audiences) != 1 {
		t.Errorf("status %+v", s)
	}
}

// get asks for a path without credentials, or with a token.
func (c *cluster) get(t *testing.T, path, token string) (int, string) {
	t.Helper()
	anonymous := rest.AnonymousClientConfig(c.config)
	anonymous.BearerToken = token
	client, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// Who comes without credentials hears of the server's health and version, and nothing else; wrong credentials are not none.
func TestAnonymous(t *testing.T) {
	c := newCluster(t)
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/healthz": 200, "/version": 200, "/version/": 200,
		"/livez/ping": 401, "/readyz/etcd": 401, "/metrics": 401, "/": 401, "/api": 401, "/apis": 401, "/openapi/v2": 401, "/openapi/v3": 401,
		"/.well-known/openid-configuration": 401, "/openid/v1/jwks": 401, "/api/v1/namespaces": 401, "/api/v1/namespaces/kube-public/configmaps/cluster-info": 401,
		"/nothing": 401, "/debug/pprof/": 401, "/logs": 401,
	} {
		code, body := c.get(t, path, "")
		if code != want {
			t.Errorf("GET %s: %d %s, want %d", path, code, body, want)
		}
		if want == 401 {
			var status metav1.Status
			if err := json.Unmarshal([]byte(body), &status); err != nil {
				t.Errorf("GET %s: %v in %s", path, err, body)
			}
			if status.Message != "Unauthorized" || status.Reason != metav1.StatusReasonUnauthorized || status.Code != 401 {
				t.Errorf("GET %s: %+v", path, status)
			}
		}
		if code, _ := c.get(t, path, "abc123.0123456789abcdef"); code != 401 {
			t.Errorf("GET %s with a token that is nobody's: %d", path, code)
		}
	}
}

// Of everyone who may come without credentials, roles say what they may do.
func TestAnonymousByConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	for _, tt := range []struct {
		name, anonymous string
		want            map[string]string
	}{
		{"all paths", "anonymous: {enabled: true}", map[string]string{
			"/livez": "200", "/version": "200", "/livez/ping": `403 forbidden: User "system:anonymous" cannot get path "/livez/ping"`,
			"/api/v1/namespaces": `403 namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the cluster scope`}},
		{"one path", "anonymous: {enabled: true, conditions: [{path: /livez}]}", map[string]string{"/livez": "200", "/readyz": "401 Unauthorized", "/version": "401 Unauthorized"}},
		{"none", "anonymous: {enabled: false}", map[string]string{"/livez": "401 Unauthorized", "/api": "401 Unauthorized"}},
		{"not said", "jwt: []", map[string]string{"/livez": "200", "/version": "200", "/livez/ping": "401 Unauthorized"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n" + tt.anonymous + "\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c := startCluster(t, filepath.Join(t.TempDir(), "hivemind"), func(c *config.Config) { c.API.AuthenticationConfig = path })
			for path, want := range tt.want {
				code, body := c.get(t, path, "")
				got := fmt.Sprint(code)
				var status metav1.Status
				if json.Unmarshal([]byte(body), &status) == nil && status.Message != "" {
					got += " " + status.Message
				}
				if got != want {
					t.Errorf("GET %s: %s, want %s", path, got, want)
				}
			}
		})
	}
}

// A user of an OpenID Connect provider is known by the name and groups that the file gives them, and roles hold for them.
func TestUsersOfAnIssuer(t *testing.T) {
	issuer := issuertest.New(t)
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n" + issuer.YAML("hivemind") + `  claimMappings:
    username: {expression: "'corp:' + claims.sub"}
    groups: {claim: roles, prefix: "corp:"}
    uid: {claim: sub}
    extra: [{key: example.com/team, valueExpression: claims.team}]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, filepath.Join(t.TempDir(), "hivemind"), func(c *config.Config) { c.API.AuthenticationConfig = path })
	token := issuer.Token(t, "hivemind", map[string]any{"sub": "ann", "roles": []string{"dev"}, "team": "blue"})
	want := authenticationv1.UserInfo{Username: "corp:ann", UID: "ann", Groups: []string{"corp:dev", "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{"example.com/team": {"blue"}}}
	eventually(t, "the issuer's keys", func() (bool, error) {
		_, err := c.whoAmI(t, token)
		return err == nil, err
	})
	who, err := c.whoAmI(t, token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Error(diff)
	}
	status := c.tokenReview(t, token)
	if diff := cmp.Diff(want, status.User); diff != "" || !status.Authenticated {
		t.Errorf("token review: %v %s", status, diff)
	}
	if status := c.tokenReview(t, token, "vault"); status.Authenticated {
		t.Errorf("token review for another audience: %+v", status)
	}
	if _, err := c.withToken(token).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dev"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "corp:dev"}}}
	if _, err := c.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group's role to count", func() (bool, error) {
		_, err := c.withToken(token).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
	if _, err := c.whoAmI(t, issuer.Token(t, "others", map[string]any{"sub": "ann", "roles": []string{"dev"}, "team": "blue"})); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for others: %v", err)
	}
	// ServiceAccounts' tokens go on beside it.
	c.defaultAccount(t)
	own, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := c.whoAmI(t, own.Status.Token); err != nil || who.Username != "system:serviceaccount:default:default" {
		t.Errorf("a ServiceAccount is %v, %v", who, err)
	}

	if err := os.WriteFile(path, []byte(strings.Replace(text, "'corp:' +", "'co:' +", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "the changed file to count", func() (bool, error) {
		n++
		who, err := c.whoAmI(t, issuer.Token(t, "hivemind", map[string]any{"sub": "ann", "roles": []string{"dev"}, "team": "blue", "n": n}))
		return err == nil && who.Username == "co:ann", fmt.Errorf("%v, %w", who, err)
	})
}

// An issuer that takes connections and says nothing keeps nobody but its own users out, neither at the start nor later.
func TestIssuerThatHangs(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections that nobody has accepted go with it
	issuer, path := issuertest.New(t), filepath.Join(t.TempDir(), "authentication.yaml")
	hanging := strings.ReplaceAll(issuer.YAML("hivemind"), issuer.URL, "https://"+silent.Addr().String())
	mapping := "  claimMappings: {username: {claim: sub, prefix: \"\"}}\n"
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n" + hanging + mapping + issuer.YAML("hivemind") + mapping
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, filepath.Join(t.TempDir(), "hivemind"), func(c *config.Config) { c.API.AuthenticationConfig = path })
	eventually(t, "the other issuer's keys", func() (bool, error) {
		who, err := c.whoAmI(t, issuer.Token(t, "hivemind", map[string]any{"sub": "ann"}))
		return err == nil && who.Username == "ann", err
	})
	if _, err := c.whoAmI(t, issuer.Token(t, "hivemind", map[string]any{"iss": "https://" + silent.Addr().String(), "sub": "ben"})); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token of the issuer that hangs: %v", err)
	}
	c.defaultAccount(t)
	own, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := c.whoAmI(t, own.Status.Token); err != nil || who.Username != "system:serviceaccount:default:default" {
		t.Errorf("a ServiceAccount is %v, %v", who, err)
	}
}

// A machine joins by a bootstrap token, as kubeadm's users have it: the token's group may ask for a certificate once it is bound to the
// role for it.
func TestBootstrapTokens(t *testing.T) {
	c := newCluster(t)
	const token = "abc123.0123456789abcdef"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abc123"}, Type: corev1.SecretTypeBootstrapToken, StringData: map[string]string{
		"token-id": "abc123", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
		"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token", "expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}}
	secrets := c.CoreV1().Secrets("kube-system")
	if _, err := c.whoAmI(t, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("before there is the token: %v", err)
	}
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := authenticationv1.UserInfo{Username: "system:bootstrap:abc123", Groups: []string{
		"system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"}}
	eventually(t, "the token to be known", func() (bool, error) {
		who, err := c.whoAmI(t, token)
		return err == nil && cmp.Diff(want, who) == "", fmt.Errorf("%v, %w", who, err)
	})
	if status := c.tokenReview(t, token); !status.Authenticated || cmp.Diff(want, status.User) != "" {
		t.Errorf("token review: %+v", status)
	}

	// What a machine is told of the cluster is signed with its token.
	eventually(t, "the signature", func() (bool, error) {
		info, err := c.CoreV1().ConfigMaps("kube-public").Get(t.Context(), "cluster-info", metav1.GetOptions{})
		return err == nil && info.Data["jws-kubeconfig-abc123"] != "" && strings.Contains(info.Data["kubeconfig"], c.config.Host), fmt.Errorf("%v, %w", info, err)
	})

	requests := c.withToken(token).CertificatesV1().CertificateSigningRequests()
	ask := func(name string) *certificatesv1.CertificateSigningRequest {
		csr, _ := request(t, name, certificatesv1.KubeAPIServerClientKubeletSignerName, nodeSubject("joining"), certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
		return csr
	}
	if _, err := requests.Create(t.Context(), ask("early"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a request without a role: %v", err)
	}
	for name, role := range map[string]string{
		"kubeadm:kubelet-bootstrap":          "system:node-bootstrapper",
		"kubeadm:node-autoapprove-bootstrap": "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
	} {
		if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:bootstrappers:kubeadm:default-node-token"}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the request to be taken", func() (bool, error) {
		_, err := requests.Create(t.Context(), ask("joining"), metav1.CreateOptions{})
		return err == nil, err
	})
	eventually(t, "the certificate", func() (bool, error) {
		csr, err := requests.Get(t.Context(), "joining", metav1.GetOptions{})
		return err == nil && len(csr.Status.Certificate) > 0, err
	})

	// The token cleaner deletes a token that has expired.
	made, err := secrets.Get(t.Context(), secret.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Data["expiration"] = []byte(time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	if _, err := secrets.Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token to go", func() (bool, error) {
		_, err := secrets.Get(t.Context(), secret.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
	if _, err := c.whoAmI(t, token); !apierrors.IsUnauthorized(err) {
		t.Errorf("after it has expired: %v", err)
	}
	eventually(t, "the signature to go", func() (bool, error) {
		info, err := c.CoreV1().ConfigMaps("kube-public").Get(t.Context(), "cluster-info", metav1.GetOptions{})
		return err == nil && len(info.Data) == 1, fmt.Errorf("%v, %w", info, err)
	})
}
