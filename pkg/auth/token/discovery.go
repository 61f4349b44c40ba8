// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"net/http"

	"gopkg.in/go-jose/go-jose.v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Where relying parties outside the cluster find how to check its tokens (OpenID Connect Discovery 1.0, RFC 7517).
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeysPath          = "/openid/v1/jwks"
)

// Discovery returns the handlers of ConfigurationPath and KeysPath. server is the URL that KeysPath is below.
func Discovery(issuer, server string, keys ...*ecdsa.PublicKey) (map[string]http.Handler, error) {
	var set jose.JSONWebKeySet
	for _, key := range keys {
		id, err := keyID(key)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	configuration, err := json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		SigningAlgs   []string `json:"id_token_signing_alg_values_supported"`
	}{issuer, server + KeysPath, []string{"id_token"}, []string{"public"}, []string{string(jose.ES256)}})
	if err != nil {
		return nil, fmt.Errorf("write the OpenID configuration: %w", err)
	}
	keySet, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("write the key set of ServiceAccount tokens: %w", err)
	}
	return map[string]http.Handler{
		ConfigurationPath: document{"application/json", configuration},
		KeysPath:          document{"application/jwk-set+json", keySet},
	}, nil
}

// document is an answer made once.
type document struct {
	contentType string
	body        []byte
}

func (d document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // HEAD neither, as with kube-apiserver
		refuseMethod(w)
		return
	}
	w.Header().Set("Content-Type", d.contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	// A client that went away is no error of ours.
	_, _ = w.Write(d.body)
}

// refuseMethod answers as kube-apiserver does where only GET is served.
func refuseMethod(w http.ResponseWriter) {
	status := apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false).ErrStatus
	status.Kind, status.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusMethodNotAllowed)
	// A client that went away is no error of ours.
	_ = json.NewEncoder(w).Encode(status)
}
