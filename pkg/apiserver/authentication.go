// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/x509"
	"fmt"

	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// Authenticators returns who requests are from: whom a front proxy names, the holder of a client certificate, or of a token (in the
// header, or in a WebSocket's protocol for browsers).
func Authenticators(clientCA []byte, proxies FrontProxies, tokens authenticator.Token) (all, tokensOnly authenticator.Request, err error) {
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", clientCA)
	if err != nil {
		return nil, nil, fmt.Errorf("read the CA of client certificates: %w", err)
	}
	certificates := x509request.NewDynamic(func() (x509.VerifyOptions, bool) { return ca.VerifyOptions() }, x509request.CommonNameUserConversion)
	tokensOnly = group.NewAuthenticatedGroupAdder(union.New(bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens)))
	// Their word about users comes before both, as in kube-apiserver.
	named, err := proxies.authenticator()
	if err != nil {
		return nil, nil, err
	}
	return group.NewAuthenticatedGroupAdder(union.New(named, newCertificateCache(certificates), tokensOnly)), tokensOnly, nil
}

// PublicInfo is who may come without credentials unless a configuration says otherwise: whoever asks after the server's health and
// version, which the role system:public-info-viewer is about.
func PublicInfo() *apiserverconfig.AnonymousAuthConfig {
	return &apiserverconfig.AnonymousAuthConfig{Enabled: true, Conditions: []apiserverconfig.AnonymousAuthCondition{
		{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"}, {Path: "/version/"},
	}}
}

// authenticators is the whole chain: clients in this process, clients outside, and nobody. Wrong credentials are not none: they are
// refused even where nobody may come.
func authenticators(c *Config) authenticator.Request {
	chain := []authenticator.Request{authenticateLoopback(c.Audiences), c.Authenticator}
	if c.Anonymous != nil && c.Anonymous.Enabled {
		chain = append(chain, anonymous.NewAuthenticator(c.Anonymous.Conditions))
	}
	return union.NewFailOnError(chain...)
}
