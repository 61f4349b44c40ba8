// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/tracing"

	"github.com/hivemind-project/hivemind/pkg/informer"
)

// Webhooks is how this server reaches webhooks of admission and of custom resources: where the services are that they name,
// and what it shows them of itself.
type Webhooks struct {
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
}

// NewWebhooks finds services through informers. self is a client of this server over TLS, for webhooks that this server or one
// behind it serves at kubernetes.default.svc.
func NewWebhooks(informers *informer.Factory, self *rest.Config) (Webhooks, error) {
	location, err := url.Parse(self.Host)
	if err != nil {
		return Webhooks{}, fmt.Errorf("parse the URL of this API server: %w", err)
	}
	slices, err := proxy.NewEndpointSliceIndexerGetter(informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return Webhooks{}, fmt.Errorf("index endpoint slices by service: %w", err)
	}
	services := serviceResolver{informers.Core().V1().Services().Lister(), slices, location}
	return Webhooks{services, webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, self, tracing.NewNoopTracerProvider())}, nil
}

// serviceResolver finds one of the endpoints of a service. Calls so need neither the cluster's DNS nor the service proxy, which
// a machine that is a server alone does not have, and are spread over the endpoints.
type serviceResolver struct {
	services corelisters.ServiceLister
	slices   proxy.EndpointSliceGetter
	self     *url.URL
}

// ResolveEndpoint implements webhook.ServiceResolver.
func (r serviceResolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if namespace == corev1.NamespaceDefault && name == "kubernetes" && port == 443 {
		return r.self, nil
	}
	service, err := r.services.Services(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return proxy.ResolveCluster(r.services, namespace, name, port)
	}
	return proxy.ResolveEndpoint(r.services, r.slices, namespace, name, port)
}
