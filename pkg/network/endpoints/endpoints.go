// SPDX-License-Identifier: Apache-2.0

// Package endpoints finds the EndpointSlices of a Service, for the proxy and for DNS, in time that does not grow with
// the number of services. The index it needs costs one pointer a slice, and both share it.
package endpoints

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

const byService = "hivemind.service"

// Index adds the index to the informer of EndpointSlices, unless it has it.
func Index(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[byService]; ok {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
			return nil, nil
		}
		return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
	}})
	if err != nil {
		return fmt.Errorf("index endpoint slices by service: %w", err)
	}
	return nil
}

// Of returns the slices of a Service, in no order.
func Of(indexer cache.Indexer, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	objects, err := indexer.ByIndex(byService, namespace+"/"+service)
	if err != nil {
		return nil, fmt.Errorf("find endpoint slices of service %s/%s: %w", namespace, service, err)
	}
	slices := make([]*discoveryv1.EndpointSlice, 0, len(objects))
	for _, o := range objects {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			slices = append(slices, s)
		}
	}
	return slices, nil
}
