// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/apiserver"
	"github.com/hivemind-project/hivemind/pkg/auth/bootstrap"
	"github.com/hivemind-project/hivemind/pkg/auth/issuers"
	"github.com/hivemind-project/hivemind/pkg/auth/token"
)

// callers is who requests can be from, and how the cluster's own tokens are had.
type callers struct {
	all, tokens authenticator.Request
	audiences   authenticator.Audiences
	anonymous   *apiserverconfig.AnonymousAuthConfig
	requests    *token.Requests
	// discovery are the documents by which others check the cluster's tokens, by path.
	discovery map[string]http.Handler
}

// authentication wires what requests may show to be somebody. Tokens are tried in this order: those of ServiceAccounts, those of
// machines that join, those of issuers outside of the cluster, which may have to be asked for their keys.
func (s *Server) authentication() (*callers, error) {
	issuerURL := "https://kubernetes.default.svc." + s.config.Network.ClusterDomain
	key := s.identities.ServiceAccountKey
	c := &callers{audiences: authenticator.Audiences{issuerURL}, anonymous: apiserver.PublicInfo()}

	issuer, err := token.NewIssuer(issuerURL, key)
	if err != nil {
		return nil, err
	}
	s.tokens = issuer
	c.requests = &token.Requests{Issuer: issuer, Audiences: c.audiences, Get: s.registry.Getters()}
	accounts, err := token.NewAuthenticator(issuerURL, c.audiences, token.WithFallback(s.cachedGetters(), s.registry.Getters()), &key.PublicKey)
	if err != nil {
		return nil, err
	}
	accounts.Used = s.labelSecret
	joining := bootstrap.NewAuthenticator(s.informers.Core().V1().Secrets().Lister())
	tokens := []authenticator.Token{accounts, authenticator.WrapAudienceAgnosticToken(c.audiences, joining)}
	if path := s.config.API.AuthenticationConfig; path != "" {
		others, err := issuers.New(s.life, path, c.audiences, issuerURL)
		if err != nil {
			return nil, err
		}
		s.work.work(s.life, "authentication configuration", others.Watch)
		tokens = append(tokens, others)
		if anonymous := others.Anonymous(); anonymous != nil {
			c.anonymous = anonymous
		}
	}
	if c.all, c.tokens, err = apiserver.Authenticators(s.identities.CA.CertPEM, s.frontProxies(), union.New(tokens...)); err != nil {
		return nil, err
	}
	c.discovery, err = token.Discovery(issuerURL, "https://"+s.externalAddress(), &key.PublicKey)
	return c, err
}

// externalAddress is where clients on other machines, and pods, reach the API server.
func (s *Server) externalAddress() string {
	return net.JoinHostPort(s.config.Node.IP, strconv.Itoa(s.config.API.Port))
}

// labelSecret sets labels of a Secret. That it fails is no reason to refuse whom its token is of.
func (s *Server) labelSecret(ctx context.Context, secret *corev1.Secret, labels map[string]string) {
	client, err := s.client(user.APIServerUser, user.SystemPrivilegedGroup)
	if err == nil {
		patch := applycorev1.Secret(secret.Name, secret.Namespace).WithUID(secret.UID).WithLabels(labels)
		var data []byte
		if data, err = json.Marshal(patch); err == nil {
			_, err = client.CoreV1().Secrets(secret.Namespace).Patch(ctx, secret.Name, types.MergePatchType, data, metav1.PatchOptions{})
		}
	}
	if err != nil {
		klog.ErrorS(err, "Cannot label the secret of a token", "secret", klog.KObj(secret), "labels", labels)
	}
}

// cachedGetters read what tokens speak of from the informers.
func (s *Server) cachedGetters() token.Getters {
	core := s.informers.Core().V1()
	accounts, pods, secrets, nodes := core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Secrets().Lister(), core.Nodes().Lister()
	return token.Getters{
		ServiceAccount: func(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			return accounts.ServiceAccounts(namespace).Get(name)
		},
		Pod: func(_ context.Context, namespace, name string) (*corev1.Pod, error) {
			return pods.Pods(namespace).Get(name)
		},
		Secret: func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
			return secrets.Secrets(namespace).Get(name)
		},
		Node: func(_ context.Context, name string) (*corev1.Node, error) { return nodes.Get(name) },
	}
}
