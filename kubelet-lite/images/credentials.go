// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// credential is one entry of a Docker configuration: who to be towards the repositories that its key covers.
type credential struct {
	key  string
	auth *runtimeapi.AuthConfig
}

type dockerEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// credentialsOf reads the entries of a pull secret, of either type.
func credentialsOf(secret *v1.Secret) ([]credential, error) {
	var entries map[string]dockerEntry
	switch secret.Type {
	case v1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]dockerEntry `json:"auths"`
		}
		if err := json.Unmarshal(secret.Data[v1.DockerConfigJsonKey], &file); err != nil {
			return nil, fmt.Errorf("read %s of secret %s/%s: %w", v1.DockerConfigJsonKey, secret.Namespace, secret.Name, err)
		}
		entries = file.Auths
	case v1.SecretTypeDockercfg:
		if err := json.Unmarshal(secret.Data[v1.DockerConfigKey], &entries); err != nil {
			return nil, fmt.Errorf("read %s of secret %s/%s: %w", v1.DockerConfigKey, secret.Namespace, secret.Name, err)
		}
	}
	var list []credential
	for key, e := range entries {
		if e.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(e.Auth)
			if err != nil {
				plain, err = base64.RawStdEncoding.DecodeString(e.Auth)
			}
			if err != nil {
				return nil, fmt.Errorf("read auth for %s of secret %s/%s: %w", key, secret.Namespace, secret.Name, err)
			}
			user, password, ok := strings.Cut(string(plain), ":")
			if !ok {
				return nil, fmt.Errorf("read auth for %s of secret %s/%s: not of the form user:password", key, secret.Namespace, secret.Name)
			}
			e.Username, e.Password = user, password
		}
		list = append(list, credential{key: key, auth: &runtimeapi.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken}})
	}
	return list, nil
}

// match returns the credentials that cover a repository, the most specific first.
func match(all []credential, repository string) []*runtimeapi.AuthConfig {
	var fit []credential
	for _, c := range all {
		if covers(c.key, repository) {
			fit = append(fit, c)
		}
	}
	slices.SortStableFunc(fit, func(a, b credential) int { return len(trimKey(b.key)) - len(trimKey(a.key)) })
	auths := make([]*runtimeapi.AuthConfig, len(fit))
	for i, c := range fit {
		auths[i] = c.auth
	}
	return auths
}

// covers says whether a key like https://index.docker.io/v1/, registry:5000, *.example.com or host/path covers a repository. Each
// part of the host may be a pattern; ports must be equal where the key names one; the path is a prefix.
func covers(key, repository string) bool {
	keyHost, keyPath, _ := strings.Cut(trimKey(key), "/")
	host, rest, _ := strings.Cut(repository, "/")
	if isDockerHub(keyHost) {
		keyHost = "docker.io"
	}
	keyName, keyPort := splitPort(keyHost)
	name, port := splitPort(host)
	if keyPort != "" && keyPort != port {
		return false
	}
	keyParts, parts := strings.Split(keyName, "."), strings.Split(name, ".")
	if len(keyParts) != len(parts) {
		return false
	}
	for i := range parts {
		if ok, err := path.Match(keyParts[i], parts[i]); err != nil || !ok {
			return false
		}
	}
	return strings.HasPrefix(rest, keyPath)
}

// trimKey takes off the scheme, and the API version that Docker writes at the end.
func trimKey(key string) string {
	if u, err := url.Parse(key); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		key = u.Host + u.Path
	}
	key = strings.TrimSuffix(key, "/")
	for _, version := range []string{"/v1", "/v2"} {
		key = strings.TrimSuffix(key, version)
	}
	return key
}

func isDockerHub(host string) bool {
	return host == "index.docker.io" || host == "registry-1.docker.io"
}

func splitPort(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port
	}
	return host, ""
}
