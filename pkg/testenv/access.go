// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// User is someone who may do what is listed and nothing else. To test what an operator's own roles allow it, apply them and be
// its ServiceAccount: Name "system:serviceaccount:<namespace>:<name>", Groups "system:serviceaccounts" and
// "system:serviceaccounts:<namespace>".
type User struct {
	// Name by which the API server, its authorizers and admission know the user.
	Name string
	// Groups of the user, besides system:authenticated.
	Groups []string
	// Rules are what the user may do in all namespaces and to cluster-scoped resources.
	Rules []rbacv1.PolicyRule
	// NamespaceRules are what the user may do in a namespace, which must be there.
	NamespaceRules map[string][]rbacv1.PolicyRule
	// ClusterRoles that the user has in all namespaces, such as "view".
	ClusterRoles []string
}

// User makes a user with a certificate of their own, and returns how they reach the cluster. What they may do holds when it
// returns. A name that is given again gets what is listed in addition.
func (e *Env) User(ctx context.Context, u User) (*rest.Config, error) {
	if u.Name == "" {
		return nil, errors.New("User.Name is empty: give the user a name")
	}
	c, err := e.running()
	if err != nil {
		return nil, fmt.Errorf("make user %s: %w", u.Name, err)
	}
	client, err := kubernetes.NewForConfig(e.admin)
	if err != nil {
		return nil, fmt.Errorf("make user %s: %w", u.Name, err)
	}
	if err := grant(ctx, client.RbacV1(), c.server.Informers().Rbac().V1(), u); err != nil {
		return nil, fmt.Errorf("grant user %s what they may do: %w", u.Name, err)
	}
	identities := c.server.Identities()
	identity, err := identities.CA.Issue(pki.Request{Subject: pkix.Name{CommonName: u.Name, Organization: u.Groups}, Usage: x509.ExtKeyUsageClientAuth})
	if err != nil {
		return nil, fmt.Errorf("make the certificate of user %s: %w", u.Name, err)
	}
	return identities.RESTConfig(e.admin.Host, identity), nil
}

// WriteKubeconfig writes a kubeconfig that reaches the cluster as config does, and returns its path. The file goes when the cluster stops.
func (e *Env) WriteKubeconfig(config *rest.Config) (string, error) {
	if _, err := e.running(); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	const name = "testenv"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
		Impersonate: config.Impersonate.UserName, ImpersonateUID: config.Impersonate.UID, ImpersonateGroups: config.Impersonate.Groups, ImpersonateUserExtra: config.Impersonate.Extra,
	}
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	dir, err := os.MkdirTemp(e.dir, "kubeconfig-")
	if err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	path := filepath.Join(dir, "config")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	return path, nil
}
