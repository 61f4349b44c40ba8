// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"fmt"

	"k8s.io/client-go/rest"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// RESTConfig is the configuration of a client that speaks to server (https://host:port) as id, unthrottled.
func (b *Bundle) RESTConfig(server string, id *Pair) *rest.Config {
	return &rest.Config{
		Host:  server,
		QPS:   -1,
		Burst: -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   b.CA.CertPEM,
			CertData: id.CertPEM,
			KeyData:  id.KeyPEM,
		},
	}
}

// Kubeconfig is the kubeconfig file of a client that speaks to server as id. Cluster, user and context carry the name
// given; it is self-contained.
func (b *Bundle) Kubeconfig(name, server string, id *Pair) ([]byte, error) {
	data, err := yaml.Marshal(&clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{
			Name:    name,
			Cluster: clientcmdv1.Cluster{Server: server, CertificateAuthorityData: b.CA.CertPEM},
		}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{
			Name:     name,
			AuthInfo: clientcmdv1.AuthInfo{ClientCertificateData: id.CertPEM, ClientKeyData: id.KeyPEM},
		}},
		Contexts: []clientcmdv1.NamedContext{{
			Name:    name,
			Context: clientcmdv1.Context{Cluster: name, AuthInfo: name},
		}},
		CurrentContext: name,
	})
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig of %s: %w", id.Cert.Subject.CommonName, err)
	}
	return data, nil
}

// ClusterInfo is a kubeconfig file that says where the server is and how it is known, and nothing of any user.
func (b *Bundle) ClusterInfo(server string) ([]byte, error) {
	data, err := yaml.Marshal(&clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters:   []clientcmdv1.NamedCluster{{Cluster: clientcmdv1.Cluster{Server: server, CertificateAuthorityData: b.CA.CertPEM}}},
	})
	if err != nil {
		return nil, fmt.Errorf("write what is known of the cluster: %w", err)
	}
	return data, nil
}
