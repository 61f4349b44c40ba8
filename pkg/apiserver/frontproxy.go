// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// FrontProxies are who may say in headers whom a request is from: this server, when it passes requests on to others, and proxies in front
// of it that hold a certificate of the same authority.
type FrontProxies struct {
	// CA, in PEM, signs their certificates; Names are the common names that these may have.
	CA    []byte
	Names []string
	// UsernameHeaders, UIDHeaders and GroupHeaders name the user, ExtraHeaderPrefixes begin what else is known.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraHeaderPrefixes []string
}

// NewFrontProxies returns those with a certificate from ca, with the names and headers that every cluster has.
func NewFrontProxies(ca []byte) FrontProxies {
	return FrontProxies{
		CA: ca, Names: []string{"front-proxy-client"},
		UsernameHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"},
		ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}
}

// Published is what the ConfigMap kube-system/extension-apiserver-authentication says of them, for aggregated servers.
func (f FrontProxies) Published() map[string]string {
	list := func(values []string) string {
		text, err := json.Marshal(values)
		if err != nil {
			panic(err) // strings can be marshalled
		}
		return string(text)
	}
	return map[string]string{
		"requestheader-client-ca-file":       string(f.CA),
		"requestheader-allowed-names":        list(f.Names),
		"requestheader-username-headers":     list(f.UsernameHeaders),
		"requestheader-uid-headers":          list(f.UIDHeaders),
		"requestheader-group-headers":        list(f.GroupHeaders),
		"requestheader-extra-headers-prefix": list(f.ExtraHeaderPrefixes),
	}
}

// authenticator believes them. A request that names no user in a header is none of its business: the certificate of whoever sends it is
// not looked at, which would cost more than the answer.
func (f FrontProxies) authenticator() (authenticator.Request, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("request-header", f.CA)
	if err != nil {
		return nil, fmt.Errorf("read the CA of front proxies: %w", err)
	}
	slice := func(values []string) headerrequest.StringSliceProvider {
		return headerrequest.StaticStringSlice(values)
	}
	verified := headerrequest.NewDynamicVerifyOptionsSecure(ca.VerifyOptions, slice(f.Names), slice(f.UsernameHeaders), slice(f.UIDHeaders), slice(f.GroupHeaders), slice(f.ExtraHeaderPrefixes))
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		for _, header := range f.UsernameHeaders {
			if r.Header.Get(header) != "" {
				return verified.AuthenticateRequest(r)
			}
		}
		return nil, false, nil
	}), nil
}
