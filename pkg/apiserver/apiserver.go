// SPDX-License-Identifier: Apache-2.0

// Package apiserver is the HTTP side of the API: the handler chain, authentication, authorization, admission, discovery, OpenAPI and
// custom resources, around the stores of pkg/registry.
//
// Cost: about 15 MB resident for the routes of 35 resources; a request costs a walk down the chain (authenticate, authorize,
// admit) and one round trip to the storage in process.
package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/compatibility"

	plugins "github.com/hivemind-project/hivemind/pkg/apiserver/admission"
	"github.com/hivemind-project/hivemind/pkg/apiserver/aggregation"
	"github.com/hivemind-project/hivemind/pkg/apiserver/flowcontrol"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
	"github.com/hivemind-project/hivemind/pkg/audit"
	"github.com/hivemind-project/hivemind/pkg/registry"
	"github.com/hivemind-project/hivemind/pkg/room"
)

// Config is what the server is made of.
type Config struct {
	Registry *registry.Registry
	Loopback *Loopback

	// Listener is where clients connect; Certificate and Key, in PEM, are shown to them; ClientCA is whom client
	// certificates must come from, unless they are a front proxy's.
	Listener                   net.Listener
	Certificate, Key, ClientCA []byte
	// ExternalAddress is host:port that discovery tells clients.
	ExternalAddress string

	// Authenticator says who a request from outside is. Audiences are those of this server.
	Authenticator authenticator.Request
	Audiences     authenticator.Audiences
	// Anonymous says who may come without credentials: nobody, where it is nil.
	Anonymous  *apiserverconfig.AnonymousAuthConfig
	Authorizer authorizer.Authorizer
	Rules      authorizer.RuleResolver
	// Admission decides on writes, in order.
	Admission []admission.Interface
	// Audit logs requests, where there is a policy.
	Audit audit.Log
	// Webhooks is how this server reaches those of custom resources, and by what services servers are found that take part in
	// the API; Aggregation is what else the latter need.
	Webhooks    Webhooks
	Aggregation Aggregation
	// Serve is passed on to the registry's REST side.
	Serve registry.ServeOptions
	// TypeConverter knows the structure of the types that are served, for server-side apply.
	TypeConverter managedfields.TypeConverter
	// CustomResources returns where custom resources are kept, given how to encode them.
	CustomResources func(runtime.Codec) generic.RESTOptionsGetter
	// FlowControl decides which requests are worked on first, and which are refused.
	FlowControl *flowcontrol.Control
	// Storage is where objects are kept; Informers are those that requests need. Health checks ask both.
	Storage   Storage
	Informers CacheSyncWaiter
	// Extra are further handlers by path, such as the OpenID discovery documents; a path that ends in / is a prefix.
	Extra map[string]http.Handler
}

// Server is the API server, ready to run.
type Server struct {
	control  *flowcontrol.Control
	generic  *genericapiserver.GenericAPIServer
	custom   *apiextensions.CustomResourceDefinitions
	others   *aggregation.Aggregator
	loopback *Loopback
	listener *trackingListener
	requests *requests
	complete chan struct{} // closed when all that is served is known
	stopping chan struct{} // closed, once, when the server stops
	once     sync.Once
	done     chan error
	cancel   context.CancelFunc
}

// New builds the server; nothing runs yet.
func New(c Config) (*Server, error) {
	s := &Server{
		control: c.FlowControl, loopback: c.Loopback, listener: trackConnections(c.Listener), requests: newRequests(),
		complete: make(chan struct{}), stopping: make(chan struct{}), done: make(chan error, 1),
	}
	c.Listener = s.listener
	main, err := genericConfig(&c)
	if err != nil {
		return nil, err
	}
	custom, next, err := newCustomResources(main, c)
	if err != nil {
		return nil, err
	}
	documents, err := openapi.NewServer(definitionsOf(custom))
	if err != nil {
		return nil, err
	}
	if s.others, err = newAggregator(main, c, custom, documents); err != nil {
		return nil, err
	}
	main.BuildHandlerChainFunc = func(handler http.Handler, config *genericapiserver.Config) http.Handler {
		return s.chain(newLists(c.FlowControl.Counts).limit(withRoom(withLives(refuseMistakes(handler, c.Registry.Codecs)), room.New(), config.LongRunningFunc)), config)
	}
	// The informers are not handed on: readiness would depend on those that controllers start at any time later.
	server, err := main.Complete(nil).New("hivemind-apiserver", next)
	if err != nil {
		return nil, fmt.Errorf("build the API server: %w", err)
	}
	server.Handler.GoRestfulContainer.Router(newRouter())
	c.Serve.Authorizer, c.Serve.Rules, c.Serve.Audiences = main.Authorization.Authorizer, c.Rules, c.Audiences
	if err := installGroups(server, main, c, s.others); err != nil {
		return nil, err
	}
	s.others.Install(server.Handler.NonGoRestfulMux, next.UnprotectedHandler())
	if err := server.AddPostStartHook("aggregate-servers", func(ctx genericapiserver.PostStartHookContext) error { return s.others.Start(ctx) }); err != nil {
		return nil, err
	}
	documents.Install(server.Handler.NonGoRestfulMux)
	if err := server.AddPostStartHook("priority-and-fairness-config-producer", keepFlowControl(c.FlowControl)); err != nil {
		return nil, err
	}
	for path, handler := range c.Extra {
		if path[len(path)-1] == '/' {
			server.Handler.NonGoRestfulMux.HandlePrefix(path, handler)
		} else {
			server.Handler.NonGoRestfulMux.Handle(path, handler)
		}
	}
	s.generic, s.custom = server, custom
	s.serveMetrics(server, &c)
	c.Loopback.SetHandler(server.Handler)
	return s, nil
}

// privileged is the server itself as its own client.
var privileged = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// genericConfig is what the API machinery wants to know, for this server and the one of custom resources behind it.
func genericConfig(c *Config) (*genericapiserver.Config, error) {
	g := genericapiserver.NewConfig(c.Registry.Codecs)
	certificate, err := dynamiccertificates.NewStaticCertKeyContent("serving", c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read the API server's certificate: %w", err)
	}
	clients, err := dynamiccertificates.NewStaticCAContent("client-ca", slices.Concat(c.ClientCA, c.Aggregation.FrontProxyCA))
	if err != nil {
		return nil, fmt.Errorf("read the CA of client certificates: %w", err)
	}
	g.SecureServing = &genericapiserver.SecureServingInfo{Listener: c.Listener, Cert: certificate, ClientCA: clients, MinTLSVersion: tls.VersionTLS12}
	g.ExternalAddress = c.ExternalAddress
	g.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	g.LoopbackClientConfig = c.Loopback.Config(privileged)
	g.Authentication = genericapiserver.AuthenticationInfo{APIAudiences: c.Audiences, Authenticator: authenticators(c)}
	g.Authorization.Authorizer = c.Authorizer
	g.RuleResolver = c.Rules
	g.AdmissionControl = plugins.NewChain(c.Admission...)
	g.AuditBackend, g.AuditPolicyRuleEvaluator = c.Audit.Backend, c.Audit.Rules
	g.EquivalentResourceRegistry = runtime.NewEquivalentResourceRegistryWithIdentity(storedAs)
	g.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	g.AggregatedDiscoveryGroupManager = discoveryendpoint.NewResourceManager("apis")
	g.FlowControl, g.StorageObjectCountTracker = c.FlowControl, c.FlowControl.Counts
	g.EnableProfiling = false
	g.EnableIndex = true
	g.EnableDiscovery = false // that of groups is the aggregator's
	g.SkipOpenAPIInstallation = true
	g.RequestTimeout = time.Minute
	g.ShutdownWatchTerminationGracePeriod = 0
	// Those who still ask while the last requests finish hear of it, and the readiness check fails for them.
	g.ShutdownSendRetryAfter = true
	addHealthChecks(g, c)
	return g, nil
}

// keepFlowControl makes the configuration of flow control, on which readiness waits, and keeps it.
func keepFlowControl(control *flowcontrol.Control) genericapiserver.PostStartHookFunc {
	return func(ctx genericapiserver.PostStartHookContext) error {
		if control.Ensure(ctx) == nil { // or else the server stops; of a hook that fails the machinery would end the process
			go control.Keep(ctx)
		}
		return nil
	}
}

// storedAs tells which resources are the same objects under another name, so that a webhook for the one hears of writes to
// the other: events are in two groups.
func storedAs(resource schema.GroupResource) string {
	if resource.Resource == "events" && (resource.Group == "" || resource.Group == eventsv1.GroupName) {
		return "events"
	}
	return resource.String()
}

// installGroups serves every group of the table. It differs from the machinery's own InstallAPIGroups in that the
// schema for server-side apply is not built before somebody needs it.
func installGroups(server *genericapiserver.GenericAPIServer, config *genericapiserver.Config, c Config, others *aggregation.Aggregator) error {
	versions := map[string][]schema.GroupVersion{}
	var names []string
	for _, g := range c.Registry.Groups(c.Serve) {
		if err := installGroup(server, config, c, g); err != nil {
			return fmt.Errorf("serve %s: %w", g.GroupVersion, err)
		}
		if versions[g.GroupVersion.Group] == nil {
			names = append(names, g.GroupVersion.Group)
		}
		versions[g.GroupVersion.Group] = append(versions[g.GroupVersion.Group], g.GroupVersion)
		others.AddBuiltIn(g.GroupVersion)
	}
	for _, name := range names {
		publishGroup(server, config, name, versions[name])
	}
	others.AddBuiltIn(apiextensionsv1.SchemeGroupVersion)
	return nil
}

// stopWithin is how long a server that has not become ready in time may take to stop.
const stopWithin = 10 * time.Second

// Start runs the server until Stop and waits for it to be ready. Where ctx ends first, the server is stopped.
func (s *Server) Start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.readDefinitions(ctx, run.Done())
	prepared := s.generic.PrepareRun()
	go func() { s.done <- prepared.RunWithContext(run) }()
	go s.completePaths(run.Done())
	err := s.waitReady(ctx)
	if err != nil && ctx.Err() != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		// The machinery ends the process when a hook is interrupted that follows the start, so these are given their time.
		err = errors.Join(err, s.waitReady(stop), s.Stop(stop))
	}
	if err != nil {
		return err
	}
	return s.others.Register(run)
}

// completePaths waits until every part of the server has told its paths.
func (s *Server) completePaths(stop <-chan struct{}) {
	for _, told := range s.generic.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-told:
		case <-stop:
			return
		}
	}
	close(s.complete)
}

// readDefinitions reads the definitions of custom resources that are stored. The server's hooks would do so as well, but look only
// ten times a second whether it is done.
func (s *Server) readDefinitions(ctx context.Context, stop <-chan struct{}) {
	definitions := s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer()
	s.custom.Informers.Start(stop)
	select {
	case <-definitions.HasSyncedChecker().Done():
	case <-ctx.Done(): // whoever waits for the server to be ready tells
	}
}

func (s *Server) waitReady(ctx context.Context) error {
	for {
		if ready(ctx, s.loopback) {
			return nil
		}
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("run the API server: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w", context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Done tells when the server has ended, and why.
func (s *Server) Done() <-chan error { return s.done }

// ready asks the server itself.
func ready(ctx context.Context, loopback *Loopback) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://loopback/readyz", nil)
	if err != nil {
		return false
	}
	response, err := loopback.Config(privileged).Transport.RoundTrip(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body) // a handler whose reader goes complains
	return err == nil && response.StatusCode == http.StatusOK
}
