// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/hivemind-project/hivemind/pkg/apiserver"
)

// authenticationName is the ConfigMap of kube-system by which aggregated API servers know whose word about users to take.
const authenticationName = "extension-apiserver-authentication"

// frontProxies are who may speak for users.
func (s *Server) frontProxies() apiserver.FrontProxies {
	return apiserver.NewFrontProxies(s.identities.FrontProxyCA.CertPEM)
}

// publishAuthentication writes it, unless it is as it should be.
func (s *Server) publishAuthentication(ctx context.Context, client kubernetes.Interface) error {
	want := s.frontProxies().Published()
	want["client-ca-file"] = string(s.identities.CA.CertPEM)
	if err := ensureData(ctx, client, metav1.NamespaceSystem, authenticationName, want); err != nil {
		return fmt.Errorf("publish the authorities of clients: %w", err)
	}
	return nil
}
