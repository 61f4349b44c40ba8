// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/version" // kubernetes_build_info, by which dashboards and alerts tell versions apart
)

// Storage is what health checks, metrics and flow control want to know of where objects are kept.
type Storage interface {
	// Answers is nil where it can be read.
	Answers(context.Context) error
	// Stats is how many objects a resource has, and how large they are.
	Stats(context.Context, schema.GroupResource) (storage.Stats, error)
	// Size is what it occupies on disk, in bytes.
	Size() int64
}

// scrapes serves /metrics, all of it the machinery's. What kube-apiserver finds out every minute, how many objects there are and how large the
// storage is, is found out when it is asked for: a millisecond.
type scrapes struct {
	storage   Storage
	resources []schema.GroupResource
	custom    apiextensionslisters.CustomResourceDefinitionLister
	handler   http.Handler

	mu      sync.Mutex // the machinery's metrics are the process's, so that one scrape follows the other
	counted sets.Set[schema.GroupResource]
}

// serveMetrics replaces the machinery's handler.
func (s *Server) serveMetrics(server *genericapiserver.GenericAPIServer, c *Config) {
	all := &scrapes{
		storage: c.Storage, handler: legacyregistry.Handler(), counted: sets.New[schema.GroupResource](),
		resources: append(c.Registry.Resources(), apiextensions.Resource("customresourcedefinitions")),
		custom:    s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister(),
	}
	server.Handler.NonGoRestfulMux.Unregister("/metrics")
	server.Handler.NonGoRestfulMux.Handle("/metrics", all)
}

// ServeHTTP implements http.Handler.
func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	metrics.SetStorageMonitorGetter(func() ([]metrics.Monitor, error) { return []metrics.Monitor{sizeMonitor{s.storage}}, nil })
	// A server that has stopped must not be remembered.
	defer metrics.SetStorageMonitorGetter(func() ([]metrics.Monitor, error) { return nil, nil })
	s.count(r.Context())
	s.handler.ServeHTTP(w, r)
}

// count counts the objects of every resource, and forgets resources that are gone.
func (s *scrapes) count(ctx context.Context) {
	resources := sets.New(s.resources...)
	if definitions, err := s.custom.List(labels.Everything()); err == nil {
		for _, d := range definitions {
			resources.Insert(schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural})
		}
	}
	for resource := range resources {
		stats, err := s.storage.Stats(ctx, resource)
		metrics.UpdateStoreStats(resource, stats, err)
	}
	for gone := range s.counted.Difference(resources) {
		metrics.DeleteStoreStats(gone)
	}
	s.counted = resources
}

// sizeMonitor is the storage as the machinery monitors it.
type sizeMonitor struct{ storage Storage }

// Monitor implements metrics.Monitor.
func (m sizeMonitor) Monitor(context.Context) (metrics.StorageMetrics, error) {
	return metrics.StorageMetrics{Size: m.storage.Size()}, nil
}

// Close implements metrics.Monitor.
func (m sizeMonitor) Close() error { return nil }
