// SPDX-License-Identifier: Apache-2.0

// Package issuers authenticates by JSON Web Tokens of issuers outside of the cluster, such as OpenID Connect providers, which a file
// of kind AuthenticationConfiguration (apiserver.config.k8s.io) names, and says who may come without any credentials. The rules are
// the API machinery's own; see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration.
//
// A cluster without such a file builds nothing of this. With one it costs an environment for CEL (several megabytes), a goroutine
// blocked on the file's directory, and for each issuer its keys; a token is verified once in ten seconds.
package issuers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// remember is how long a token that was good is taken for good without looking again; kube-apiserver's default.
const remember = 10 * time.Second

// retire is for how long issuers that the file does not name any more can finish what they were asked before.
const retire = time.Minute

// Authenticator authenticates by the tokens of the issuers that a file names, as it reads now.
type Authenticator struct {
	path      string
	audiences authenticator.Audiences
	own       []string
	life      context.Context
	anonymous *apiserverconfig.AnonymousAuthConfig

	text    []byte // what is in force, or is known to be wrong for good; of the start and then of Watch alone
	current atomic.Pointer[generation]
}

// generation is the issuers of one state of the file.
type generation struct {
	tokens  authenticator.Token
	healthy func() error
	end     context.CancelFunc
}

// New reads the file at path. audiences are those of the API server, and own are the issuers of the cluster's own tokens, which the
// file must not name. Issuers are asked for their keys in the background: one that cannot be reached yet does not keep the server
// from starting. All ends with life.
func New(life context.Context, path string, audiences authenticator.Audiences, own ...string) (*Authenticator, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authentication configuration: %w", err)
	}
	a := &Authenticator{path: path, audiences: audiences, own: own, life: life, text: text}
	config, err := a.parse(text)
	if err != nil {
		return nil, fmt.Errorf("authentication configuration %s: %w", path, err)
	}
	issuers, err := a.build(config)
	if err != nil {
		return nil, fmt.Errorf("authentication configuration %s: %w", path, err)
	}
	a.anonymous = config.Anonymous
	a.current.Store(issuers)
	return a, nil
}

// Anonymous says who may come without credentials, or nothing where the file does not. It does not change as long as the server runs.
func (a *Authenticator) Anonymous() *apiserverconfig.AnonymousAuthConfig { return a.anonymous }

// AuthenticateToken implements authenticator.Token.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return a.current.Load().tokens.AuthenticateToken(ctx, token)
}

// Healthy returns why tokens of some issuer cannot be verified, if so.
func (a *Authenticator) Healthy() error { return a.current.Load().healthy() }

// build makes what verifies tokens by config.
func (a *Authenticator) build(config *apiserverconfig.AuthenticationConfiguration) (*generation, error) {
	life, end := context.WithCancel(a.life)
	var tokens []authenticator.Token
	var checks []func() error
	for i := range config.JWT {
		issuer, err := newIssuer(life, config.JWT[i], a.own)
		if err != nil {
			end()
			return nil, fmt.Errorf("issuer %s: %w", config.JWT[i].Issuer.URL, err)
		}
		tokens, checks = append(tokens, issuer), append(checks, issuer.HealthCheck)
	}
	all := cache.New(authenticator.WrapAudienceAgnosticToken(a.audiences, union.NewFailOnError(tokens...)), true, remember, 0)
	return &generation{tokens: all, end: end, healthy: func() error {
		var errs []error
		for _, check := range checks {
			errs = append(errs, check())
		}
		return utilerrors.NewAggregate(errs)
	}}, nil
}

// newIssuer verifies tokens of one issuer.
func newIssuer(life context.Context, config apiserverconfig.JWTAuthenticator, own []string) (oidc.AuthenticatorTokenWithHealthCheck, error) {
	options := oidc.Options{JWTAuthenticator: config, SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(), DisallowedIssuers: own}
	if text := config.Issuer.CertificateAuthority; text != "" {
		ca, err := dynamiccertificates.NewStaticCAContent("oidc-authenticator", []byte(text))
		if err != nil {
			return nil, err
		}
		options.CAContentProvider = ca
	}
	if config.Issuer.EgressSelectorType != "" {
		return nil, errors.New("issuer.egressSelectorType is set, and this API server has no egress selectors: leave it out")
	}
	return oidc.New(life, options)
}

var _ authenticator.Token = (*Authenticator)(nil)
