// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	endpointmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	proxyrequest "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/transport"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	remoteavailability "k8s.io/kube-aggregator/pkg/controllers/status/remote"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// proxy passes requests on to the service that an APIService names.
type proxy struct {
	services webhook.ServiceResolver
	target   atomic.Pointer[target]
}

// target is where requests go, as an APIService says.
type target struct {
	service   apiregistrationv1.ServiceReference
	available bool
	// transport trusts the servers that the APIService does; where it says so wrongly, err tells.
	transport http.RoundTripper
	err       error
}

// update follows the APIService. Requests under way go on as they began.
func (p *proxy) update(s *apiregistrationv1.APIService, certificate, key []byte) {
	t := &target{service: *s.Spec.Service, available: helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available)}
	t.transport, t.err = transport.New(remoteavailability.BuildTransportConfig(nil, certificate, key, s))
	if t.err != nil {
		klog.ErrorS(t.err, "An APIService says in a way that cannot be read whom to trust", "apiService", s.Name)
	}
	if old := p.target.Swap(t); old != nil && old.transport != t.transport {
		old.closeIdle()
	}
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := p.target.Load()
	if !t.available {
		fail(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	p.pass(t, w, r)
}

// anyway is the proxy also to servers that are not known to be available.
type anyway struct{ *proxy }

// ServeHTTP implements http.Handler.
func (p anyway) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.pass(p.target.Load(), w, r) }

// mostOfADocument is how long what a server tells of itself may be, in bytes: it is kept in memory while it is read.
const mostOfADocument = 16 << 20

// documents are a server as those ask it that want to know what it serves. One that tells without end, or of more things than an object may have in it, is taken for
// one that does not answer in time: what it has said by then could be understood as a document of nothing.
type documents struct{ http.Handler }

// ServeHTTP implements http.Handler.
func (d documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.Handler.ServeHTTP(&boundedWriter{ResponseWriter: w, ctx: r.Context(), left: mostOfADocument}, r)
}

type boundedWriter struct {
	http.ResponseWriter
	ctx  context.Context // of the request
	left int
	said room.Counter
}

func (w *boundedWriter) Write(data []byte) (int, error) {
	if w.left -= len(data); w.left < 0 || w.said.Add(data) != nil {
		<-w.ctx.Done()
		return 0, context.Cause(w.ctx)
	}
	return w.ResponseWriter.Write(data)
}

func (p *proxy) pass(t *target, w http.ResponseWriter, r *http.Request) {
	if t.err != nil {
		fail(w, r, t.err.Error(), http.StatusInternalServerError)
		return
	}
	who, ok := request.UserFrom(r.Context())
	if !ok {
		fail(w, r, "missing user", http.StatusInternalServerError)
		return
	}
	endpoint, err := p.services.ResolveEndpoint(t.service.Namespace, t.service.Name, *t.service.Port)
	if err != nil {
		klog.V(2).InfoS("No endpoint for a request to an aggregated server", "service", klog.KRef(t.service.Namespace, t.service.Name), "reason", err)
		fail(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	location := &url.URL{Scheme: "https", Host: endpoint.Host, Path: r.URL.Path, RawQuery: r.URL.Query().Encode()}
	onward, cancel := proxyrequest.NewRequestForProxy(location, r)
	defer cancel()

	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade {
		// An upgraded connection is dialled without the round tripper, which would put these in.
		transport.SetAuthProxyHeaders(onward, who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra())
	}
	flowcontrol.RequestDelegated(r.Context())
	named := transport.NewAuthProxyRoundTripper(who.GetName(), who.GetUID(), who.GetGroups(), who.GetExtra(), t.transport)
	utilproxy.NewUpgradeAwareHandler(location, named, true, upgrade, responder{}).ServeHTTP(w, onward)
}

// closeIdle ends the connections that wait for a next request.
func (t *target) closeIdle() {
	if t.transport != nil {
		utilnet.CloseIdleConnectionsFor(t.transport)
	}
}

// responder tells clients that the service did not answer.
type responder struct{}

// Error implements proxy.ErrorResponder.
func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// fail answers in the place of the service.
func fail(w http.ResponseWriter, r *http.Request, message string, code int) {
	http.Error(w, message, code)
	if info, ok := request.RequestInfoFrom(r.Context()); ok {
		endpointmetrics.RecordRequestTermination(r, info, "aggregator", code)
	}
}
