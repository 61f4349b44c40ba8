// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

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
	s.work.work(s.life, "authorities of clients", func(ctx context.Context) error {
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
