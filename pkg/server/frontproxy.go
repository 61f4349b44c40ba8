// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/apiserver"
)

// authenticationName is the ConfigMap of kube-system by which aggregated API servers know whose word about users to take.
const authenticationName = "extension-apiserver-authentication"

// frontProxies are who may speak for users.
func (s *Server) frontProxies() apiserver.FrontProxies {
	return apiserver.NewFrontProxies(s.identities.FrontProxyCA.CertPEM)
}

// publishAuthentication writes it, unless it has what this server says. What others have written stays beside that, as kube-apiserver has it.
func (s *Server) publishAuthentication(ctx context.Context, client kubernetes.Interface) error {
	ours := s.frontProxies().Published()
	ours[clientAuthorities] = string(s.identities.CA.CertPEM)
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	published, err := maps.Get(ctx, authenticationName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: authenticationName}, Data: ours}, metav1.CreateOptions{})
	case err == nil:
		err = s.uniteAuthentication(ctx, maps, published, ours)
	}
	if err != nil {
		return fmt.Errorf("publish the authorities of clients: %w", err)
	}
	return nil
}

// uniteAuthentication adds ours to what is published. What would be too large for a ConfigMap is begun anew: other servers add theirs again.
func (s *Server) uniteAuthentication(ctx context.Context, maps typedcorev1.ConfigMapInterface, published *corev1.ConfigMap, ours map[string]string) error {
	data, unread := unite(published.Data, ours, time.Now())
	if unread != nil {
		klog.ErrorS(unread, "What cannot be read is replaced", "configMap", klog.KObj(published))
	}
	if equality.Semantic.DeepEqual(published.Data, data) {
		return nil
	}
	published.Data = data
	_, err := maps.Update(ctx, published, metav1.UpdateOptions{})
	if apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsInvalid(err) {
		klog.ErrorS(err, "What others have published does not fit and is left out", "configMap", klog.KObj(published))
		published.Data = ours
		_, err = maps.Update(ctx, published, metav1.UpdateOptions{})
	}
	return err
}
