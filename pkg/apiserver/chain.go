// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/hivemind-project/hivemind/pkg/registry"
)

// chain is the filters that a request passes, in kube-apiserver's order, which is from the last line of this function to the first. It lacks
// those of the machinery's own chain that would do nothing here and yet cost, a sixth of a small request: traces, which nobody
// collects, and the time that each filter takes, which its neighbours' metrics tell.
func (s *Server) chain(handler http.Handler, c *genericapiserver.Config) http.Handler {
	isLong := c.LongRunningFunc
	handler = s.requests.track(s.others.Wrap(wantRaw(handler)), isLong)
	handler = filters.WithAuthorization(countWatches(handler, c.FlowControl), c.Authorization.Authorizer, c.Serializer)
	work := flowcontrolrequest.NewWorkEstimator(c.StorageObjectCountTracker.Get, c.FlowControl.GetInterestedWatchCount, flowcontrolrequest.DefaultWorkEstimatorConfig(), c.FlowControl.GetMaxSeats)
	handler = genericfilters.WithPriorityAndFairness(handler, isLong, c.FlowControl, work, c.RequestTimeout/4)
	if c.FeatureGate.Enabled(genericfeatures.ConstrainedImpersonation) {
		handler = impersonation.WithConstrainedImpersonation(handler, c.Authorization.Authorizer, c.Serializer)
	} else {
		handler = impersonation.WithImpersonation(handler, c.Authorization.Authorizer, c.Serializer)
	}
	audited := c.AuditBackend != nil && c.AuditPolicyRuleEvaluator != nil
	if audited {
		handler = beginApart(handler) // the log has the end of watches
	}
	handler = filters.WithAudit(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, isLong)
	handler = s.listener.trustKnown(handler)
	stranger := filters.WithFailedAuthenticationAudit(filters.Unauthorized(c.Serializer), c.AuditBackend, c.AuditPolicyRuleEvaluator)
	handler = filters.WithAuthentication(handler, c.Authentication.Authenticator, stranger, c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	handler = filters.WithWarningRecorder(handler)

	// From here on outwards a request that does not last has a deadline, and its response another goroutine.
	handler = genericfilters.WithTimeoutForNonLongRunningRequests(unlessWatch(withDeepStack(handler), handler), isLong)
	handler = filters.WithRequestDeadline(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, isLong, c.Serializer, c.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, isLong, c.NonLongRunningRequestWaitGroup)
	handler = filters.WithCacheControl(handler)
	handler = genericfilters.WithRetryAfter(handler, s.stopping)
	handler = genericfilters.WithHTTPLogging(handler)
	handler = filters.WithLatencyTrackers(handler)
	handler = endSlow(handler, isLong, c.RequestTimeout+slowGrace)
	handler = filters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = filters.WithRequestReceivedTimestamp(handler)
	handler = filters.WithMuxAndDiscoveryComplete(handler, s.complete)
	handler = genericfilters.WithPanicRecovery(handler, c.RequestInfoResolver)
	handler = plainOnLoopback(filters.WithAuditInit(handler))
	watch := handler
	if !audited {
		watch = genericfilters.WithPanicRecovery(beginApart(handler), c.RequestInfoResolver)
	}
	return unlessWatch(withDeepStack(handler), watch)
}

// unprotected is the chain of a server behind this one, which only this one's requests reach.
func unprotected(handler http.Handler, _ *genericapiserver.Config) http.Handler { return handler }

// withDeepStack spares requests a stack that grows step by step.
func withDeepStack(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := apirequest.RequestInfoFrom(r.Context()); ok {
			registry.GrowStackFor(info.Verb, info.Resource)
		} else {
			registry.GrowStack()
		}
		handler.ServeHTTP(w, r)
	})
}

// unlessWatch is handler, and for what may be a watch, which begins elsewhere, it is watch.
func unlessWatch(handler, watch http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if maybeWatch(r) {
			watch.ServeHTTP(w, r)
		} else {
			handler.ServeHTTP(w, r)
		}
	})
}
