// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/hivemind-project/hivemind/pkg/apiserver"
	plugins "github.com/hivemind-project/hivemind/pkg/apiserver/admission"
	"github.com/hivemind-project/hivemind/pkg/apiserver/flowcontrol"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
	"github.com/hivemind-project/hivemind/pkg/audit"
	"github.com/hivemind-project/hivemind/pkg/auth/node"
	"github.com/hivemind-project/hivemind/pkg/auth/rbac"
	"github.com/hivemind-project/hivemind/pkg/registry"
)

// startAPI wires who may come in (authentication), what they may do (authorization) and what becomes of what they write
// (admission), and starts to serve.
func (s *Server) startAPI(ctx context.Context) error {
	callers, err := s.authentication()
	if err != nil {
		return err
	}
	roles, authorizers, err := s.authorizers()
	if err != nil {
		return err
	}
	webhooks, err := s.webhooks()
	if err != nil {
		return err
	}
	admit, err := s.admission(roles, authorizers, webhooks)
	if err != nil {
		return err
	}
	flowcontrol.AskFor(s.informers)
	types, err := openapi.NewTypeConverter()
	if err != nil {
		return err
	}
	aggregation := s.aggregation()
	// All informers that requests need have been asked for. What is made below ends only when it has run, so this comes first.
	if err := s.syncInformers(ctx); err != nil {
		return fmt.Errorf("read the storage: %w", err)
	}
	if err := s.registry.HoldAddresses(ctx); err != nil {
		return err
	}
	maps.Copy(callers.discovery, s.encryptionHandlers())
	log, err := audit.Open(s.config.Audit)
	if err != nil {
		return err
	}
	listener, err := s.listen()
	if err != nil {
		return err
	}
	fairness, err := s.flowControl()
	if err != nil {
		listener.Close()
		return err
	}
	s.api, err = apiserver.New(apiserver.Config{
		Registry: s.registry, Loopback: s.loopback,
		Listener: listener, Certificate: s.identities.APIServer.CertPEM, Key: s.identities.APIServer.KeyPEM, ClientCA: s.identities.CA.CertPEM,
		ExternalAddress: s.externalAddress(),
		Authenticator:   callers.all, Audiences: callers.audiences, Anonymous: callers.anonymous, Authorizer: authorizers, Rules: roles, Admission: admit,
		Serve: registry.ServeOptions{
			Authenticator:    callers.tokens,
			Tokens:           callers.requests,
			KubeletTransport: s.kubeletTransport(),
			Health: map[string]func(context.Context) error{
				controllerManager: s.work.health(controllerManager), schedulerPart: s.work.health(schedulerPart), storagePart: s.etcd.Err,
			},
		},
		FlowControl:     fairness,
		Storage:         s.etcd,
		Informers:       s.informers.Started(),
		Audit:           log,
		Webhooks:        webhooks,
		Aggregation:     aggregation,
		TypeConverter:   types,
		CustomResources: s.etcd.RESTOptionsGetter,
		Extra:           callers.discovery,
	})
	if err != nil {
		listener.Close()
		fairness.End()
		return err
	}
	return s.api.Start(ctx)
}

// flowControl is configured by the administrator's objects, and writes those that every server has as the server itself, whom it exempts.
func (s *Server) flowControl() (*flowcontrol.Control, error) {
	client, err := s.client(user.APIServerUser, user.SystemPrivilegedGroup)
	if err != nil {
		return nil, err
	}
	return flowcontrol.New(s.informers, client.FlowcontrolV1(), s.etcd.Stats)
}

// listen opens the API server's port, unless it has been opened for it.
func (s *Server) listen() (net.Listener, error) {
	if s.options.Listener != nil {
		return s.options.Listener, nil
	}
	return apiserver.Listen(s.config.API.Port, "127.0.0.1", s.config.Node.IP)
}

func (s *Server) stopAPI(ctx context.Context) error { return s.api.Stop(ctx) }

// authorizers decide in this order: administrators, nodes, roles.
func (s *Server) authorizers() (*rbac.Authorizer, authorizer.Authorizer, error) {
	roles, err := rbac.New(s.informers.Rbac().V1())
	if err != nil {
		return nil, nil, err
	}
	nodes, err := node.NewAuthorizer(s.informers.Core().V1().Pods(), s.informers.Core().V1().PersistentVolumes(), nil, s.registry.NodeOfResourceSlice)
	if err != nil {
		return nil, nil, err
	}
	all, err := union.New(
		union.NamedAuthorizer{AuthorizerName: "system:masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
		union.NamedAuthorizer{AuthorizerName: "Node", Authorizer: nodes},
		union.NamedAuthorizer{AuthorizerName: "RBAC", Authorizer: roles},
	)
	return roles, all, err
}

// admission is the plugins in kube-apiserver's order: those that change objects act before those that only refuse.
func (s *Server) admission(roles *rbac.Authorizer, all authorizer.Authorizer, webhooks apiserver.Webhooks) ([]admission.Interface, error) {
	self := &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	client, err := kubernetes.NewForConfig(s.loopback.Config(self))
	if err != nil {
		return nil, err
	}
	namespaces, err := lifecycle.NewLifecycle(sets.New("default", "kube-system", "kube-public"))
	if err != nil {
		return nil, fmt.Errorf("prepare admission by namespace: %w", err)
	}
	namespaces.SetExternalKubeInformerFactory(s.informers)
	namespaces.SetExternalKubeClientSet(client)
	core := s.informers.Core().V1()
	extensions := plugins.Extensions{
		Client: client, Informers: s.informers, Authorizer: all, Custom: s.loopback.JSONConfig(self),
		Services: webhooks.Services, Authentication: apiserver.BoundAnswers(webhooks.Authentication), Life: s.life,
	}
	quotas, err := plugins.NewResourceQuota(client, s.informers, s.life.Done())
	if err != nil {
		return nil, err
	}
	security, err := plugins.NewPodSecurity(client, core.Namespaces().Lister(), core.Pods().Lister())
	if err != nil {
		return nil, err
	}
	classes := s.informers.Storage().V1().StorageClasses().Lister()
	return []admission.Interface{
		namespaces,
		plugins.NewLimitRanger(client, core.LimitRanges().Lister()),
		plugins.NewServiceAccount(client, core.ServiceAccounts().Lister()),
		node.NewRestriction(core.Pods().Lister(), core.Nodes().Lister(), s.informers.Storage().V1().CSIDrivers().Lister(), all),
		plugins.NewTaintNodesByCondition(),
		security,
		plugins.NewPriority(s.informers.Scheduling().V1().PriorityClasses().Lister()),
		plugins.NewDefaultTolerationSeconds(),
		plugins.NewDefaultStorageClass(classes),
		plugins.NewStorageObjectInUseProtection(),
		plugins.NewPersistentVolumeClaimResize(classes),
		plugins.NewRuntimeClass(client, s.informers.Node().V1().RuntimeClasses().Lister()),
		plugins.NewCertificates(all),
		plugins.NewDefaultIngressClass(s.informers.Networking().V1().IngressClasses().Lister()),
		plugins.NewPodTopologyLabels(core.Nodes().Lister()),
		plugins.NewPodResizeValidator(core.Nodes().Lister()),
		rbac.NewEscalationGuard(roles, all),
		plugins.NewPolicyParameters(client, all),
		extensions.MutatingPolicies(),
		extensions.MutatingWebhooks(),
		plugins.NewFewErrors(),
		extensions.ValidatingPolicies(),
		extensions.ValidatingWebhooks(),
		quotas, // the last, so that nothing is charged that another refuses
	}, nil
}

// webhooks is how webhooks are reached. One that this server serves itself is called as the administrator.
func (s *Server) webhooks() (apiserver.Webhooks, error) {
	return apiserver.NewWebhooks(s.informers, s.identities.RESTConfig(s.URL(), s.identities.Admin))
}

// aggregation is how servers are reached that take part in the API.
func (s *Server) aggregation() apiserver.Aggregation {
	services, ok := s.informers.Lookup(apiregistrationv1.SchemeGroupVersion.WithResource("apiservices"))
	if !ok {
		panic("APIServices are not in the resource table")
	}
	return apiserver.Aggregation{
		APIServices: services, Informers: s.informers,
		ClientCertificate: s.identities.FrontProxyClient.CertPEM, ClientKey: s.identities.FrontProxyClient.KeyPEM, FrontProxyCA: s.identities.FrontProxyCA.CertPEM,
	}
}

// kubeletTransport is how this server speaks to node agents: it shows its own certificate and checks theirs.
func (s *Server) kubeletTransport() http.RoundTripper {
	roots := x509.NewCertPool()
	roots.AddCert(s.identities.CA.Cert)
	trust := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{s.identities.APIServerKubeletClient.TLS()}, MinVersion: tls.VersionTLS12}
	dial := s.dialNodes
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	} else {
		trust.ServerName = "localhost" // which is where they are, whatever their addresses
	}
	return &http.Transport{
		TLSClientConfig:     trust,
		DialContext:         dial,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     time.Minute,
	}
}
