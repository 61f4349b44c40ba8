// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// authenticationName is the ConfigMap of kube-system by which aggregated API servers know whose word about users to take.
const authenticationName = "extension-apiserver-authentication"

// publishAuthentication writes it, unless it is as it should be.
func (s *Server) publishAuthentication(ctx context.Context, client kubernetes.Interface) error {
	want := s.frontProxies().Published()
	want["client-ca-file"] = string(s.identities.CA.CertPEM)
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	old, err := maps.Get(ctx, authenticationName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: authenticationName}, Data: want}, metav1.CreateOptions{})
	case err == nil && !apiequality.Semantic.DeepEqual(old.Data, want):
		old.Data = want
		_, err = maps.Update(ctx, old, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish the authorities of clients: %w", err)
	}
	return nil
}

// keepAuthentication has it written again whenever somebody has changed or deleted it, until the server ends.
func (s *Server) keepAuthentication(client kubernetes.Interface) error {
	touched := make(chan struct{}, 1)
	touch := func(any) {
		select {
		case touched <- struct{}{}:
		default:
		}
	}
	_, err := s.informers.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(obj any) bool {
			name, err := cache.DeletionHandlingObjectToName(obj)
			return err == nil && name.Namespace == metav1.NamespaceSystem && name.Name == authenticationName
		},
		Handler: cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, cur any) { touch(cur) }, DeleteFunc: touch},
	})
	if err != nil {
		return fmt.Errorf("follow the ConfigMap %s: %w", authenticationName, err)
	}
	s.work.start(s.life, "authorities of clients", func(ctx context.Context) error {
		for {
			select {
			case <-touched:
			case <-ctx.Done():
				return nil
			}
			if err := s.publishAuthentication(ctx, client); err != nil && ctx.Err() == nil {
				klog.ErrorS(err, "Trying again in a second")
				time.AfterFunc(time.Second, func() { touch(nil) })
			}
		}
	})
	return nil
}
