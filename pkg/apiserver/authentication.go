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
	named, err := proxies.authenticator()
	if err != nil {
		return nil, nil, err
	}
	return group.NewAuthenticatedGroupAdder(union.New(named, newCertificateCache(certificates), tokensOnly)), tokensOnly, nil
}

// authenticators is the whole chain: clients in this process, clients outside, and nobody, who may ask after the server's health.
func authenticators(c *Config) authenticator.Request {
	health := []apiserverconfig.AnonymousAuthCondition{{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}}
	return union.NewFailOnError(authenticateLoopback(c.Audiences), union.New(c.Authenticator, anonymous.NewAuthenticator(health)))
}
