// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"context"
	"errors"
	"time"

	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	localavailability "k8s.io/kube-aggregator/pkg/controllers/status/local"
	availabilitymetrics "k8s.io/kube-aggregator/pkg/controllers/status/metrics"
	remoteavailability "k8s.io/kube-aggregator/pkg/controllers/status/remote"
)

const (
	// checkers is how many APIServices are checked at once; a check of a server that does not answer takes five seconds.
	checkers = 5
	// checkEvery is how often aggregated servers are checked that nothing is heard of.
	checkEvery = 30 * time.Second
)

// remote is what watches over aggregated servers.
type remote struct {
	discovery aggregator.DiscoveryAggregationController
}

// newRemote starts to, until ctx ends.
func newRemote(ctx context.Context, c Config) *remote {
	r := &remote{discovery: aggregator.NewDiscoveryManager(c.Discovery.WithSource(aggregated.AggregatorSource))}
	go r.discovery.Run(ctx.Done(), nil)

	// In a process with several servers the metrics are those of the first that had an aggregated server.
	metrics := availabilitymetrics.New()
	_ = metrics.Register(legacyregistry.Register, legacyregistry.CustomRegister)
	services := &resyncing{SharedIndexInformer: c.APIServices}
	far, errFar := remoteavailability.New(plain{services}, c.Informers.Core().V1().Services(), c.Informers.Discovery().V1().EndpointSlices(),
		c.Client, nil, func() ([]byte, []byte) { return c.ClientCertificate, c.ClientKey }, c.Services, metrics)
	near, errNear := localavailability.New(plain{c.APIServices}, c.Client, metrics)
	if err := errors.Join(errFar, errNear); err != nil {
		klog.ErrorS(err, "Nothing checks whether aggregated servers are available")
		return r
	}
	go far.Run(checkers, ctx.Done())
	go near.Run(1, ctx.Done())
	go services.run(ctx)
	return r
}

// plain is an informer as the controllers of k8s.io/kube-aggregator take it.
type plain struct{ cache.SharedIndexInformer }

func (p plain) Informer() cache.SharedIndexInformer { return p.SharedIndexInformer }
func (p plain) Lister() listers.APIServiceLister {
	return listers.NewAPIServiceLister(p.GetIndexer())
}

// resyncing tells handlers that want to be told again and again of APIServices of those that name a service. The informer does so
// for nobody else, nor for the many that name none.
type resyncing struct {
	cache.SharedIndexInformer
	again []cache.ResourceEventHandler
}

// AddEventHandlerWithResyncPeriod implements cache.SharedInformer. It is called before run.
func (r *resyncing) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	r.again = append(r.again, handler)
	return r.AddEventHandler(handler)
}

func (r *resyncing) run(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, obj := range r.GetStore().List() {
			if s, ok := obj.(*apiregistrationv1.APIService); ok && s.Spec.Service != nil {
				for _, handler := range r.again {
					handler.OnUpdate(s, s)
				}
			}
		}
	}
}
