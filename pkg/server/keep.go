// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// attemptLater bounds an attempt to write what is missing. Webhooks may take half a minute each.
const attemptLater = 2 * time.Minute

// keep has what is published written again whenever somebody has changed or deleted it, until the server ends: pods find the API server by the service
// kubernetes, which is in the namespace that people empty. It costs a comparison of names for each change of a Service, an EndpointSlice or a ConfigMap.
func (s *Server) keep(client kubernetes.Interface) error {
	touched := make(chan struct{}, 1)
	touch := func(any) {
		select {
		case touched <- struct{}{}:
		default:
		}
	}
	// What people change of a service stays until the next start, as in Kubernetes.
	gone, changed := cache.ResourceEventHandlerFuncs{DeleteFunc: touch}, cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, cur any) { touch(cur) }, DeleteFunc: touch}
	core := s.informers.Core().V1()
	for _, kept := range []struct {
		informer        cache.SharedIndexInformer
		namespace, name string
		handler         cache.ResourceEventHandler
	}{
		{core.Services().Informer(), metav1.NamespaceDefault, kubernetesService, gone},
		{core.Services().Informer(), metav1.NamespaceSystem, dnsService, gone},
		{s.informers.Discovery().V1().EndpointSlices().Informer(), metav1.NamespaceDefault, kubernetesService, changed},
		{core.ConfigMaps().Informer(), metav1.NamespaceSystem, authenticationName, changed},
	} {
		_, err := kept.informer.AddEventHandler(cache.FilteringResourceEventHandler{
			FilterFunc: func(obj any) bool {
				name, err := cache.DeletionHandlingObjectToName(obj)
				return err == nil && name.Namespace == kept.namespace && name.Name == kept.name
			},
			Handler: kept.handler,
		})
		if err != nil {
			return fmt.Errorf("follow %s/%s: %w", kept.namespace, kept.name, err)
		}
	}
	s.work.work(s.life, "what is published", func(ctx context.Context) error {
		for {
			select {
			case <-touched:
				s.untilDone(ctx, func(ctx context.Context) error { return s.publish(ctx, client) })
			case <-ctx.Done():
				return nil
			}
		}
	})
	return nil
}

// untilDone calls write until it succeeds or ctx ends, less and less often. It logs errors that say something new.
func (s *Server) untilDone(ctx context.Context, write func(context.Context) error) {
	pause := wait.Backoff{Duration: time.Second, Factor: 2, Steps: 5, Cap: 15 * time.Second, Jitter: 0.1}
	for last := ""; ctx.Err() == nil; {
		attempt, cancel := context.WithTimeout(ctx, attemptLater)
		err := write(attempt)
		cancel()
		if err == nil {
			if last != "" {
				klog.InfoS("What could not be written before is there")
			}
			return
		}
		if text := err.Error(); text != last && ctx.Err() == nil {
			last = text
			klog.ErrorS(err, "What every cluster has could not be written; trying again")
		}
		select {
		case <-time.After(pause.Step()):
		case <-ctx.Done():
		}
	}
}
