// SPDX-License-Identifier: Apache-2.0

// Package server is the server role: an ordered list of components. Each starts when those before it are ready and stops
// before they do. To see what runs at boot and in which order, read Components.
package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/apiserver"
	"github.com/hivemind-project/hivemind/pkg/auth/pki"
	"github.com/hivemind-project/hivemind/pkg/auth/token"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/informer"
	"github.com/hivemind-project/hivemind/pkg/registry"
	"github.com/hivemind-project/hivemind/pkg/storage"
	"github.com/hivemind-project/hivemind/pkg/storage/encryption"
)

// Server is one server of a cluster. What a component makes, those after it use.
type Server struct {
	config    *config.Config
	options   Options
	dialNodes DialFunc

	services   netip.Prefix // that the default range of service addresses is of
	identities *pki.Bundle
	tokens     *token.Issuer // of ServiceAccounts
	etcd       *storage.Etcd
	encryption *encryption.Encryption
	registry   *registry.Registry
	informers  *informer.Factory
	loopback   *apiserver.Loopback
	api        *apiserver.Server

	// life ends when the server stops; what runs in the background ends with it.
	life context.Context
	end  context.CancelFunc
	work background
}

// Options are what is not configuration. All may be left out.
type Options struct {
	// Failed is told why the process is about to end where the storage cannot go on.
	Failed func(error)
	// Version is that of the program. What another one has written is decoded as it is read, to have this one's defaults.
	Version string
	// Listener is where the API server serves, in place of the configuration's port on loopback and the node's address; its
	// port must be the configuration's. The server closes it once its component "api server" has been started.
	Listener net.Listener
}

// New returns a server that has not started.
func New(c *config.Config, options Options) *Server {
	life, end := context.WithCancel(context.Background())
	return &Server{config: c, options: options, loopback: &apiserver.Loopback{}, life: life, end: end}
}

// DialFunc opens a connection as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// DialNodes says how the agents' HTTP APIs are reached where they are in this process, as those of simulated nodes are. It is
// called before the server starts, if at all.
func (s *Server) DialNodes(dial DialFunc) { s.dialNodes = dial }

// NodeClient is how the agent of a node in this process is a client of the API server: without a socket, and bound to what that node
// may do.
func (s *Server) NodeClient(node string) *rest.Config {
	return s.loopback.Config(&user.DefaultInfo{Name: "system:node:" + node, Groups: []string{user.NodesGroup, user.AllAuthenticated}})
}

// ControllerClient is how another part of this process acts as a controller of that name, by the controller's roles.
func (s *Server) ControllerClient(name string) *rest.Config {
	return s.loopback.Config(controllerUser(name))
}

// Components is what runs at boot, in order.
func (s *Server) Components() []component.Component {
	return []component.Component{
		{Name: "certificates", Start: s.startCertificates},
		{Name: "storage", Start: s.startStorage, Stop: s.stopStorage},
		{Name: "encryption", Start: s.startEncryption},
		{Name: "informers", Start: s.startInformers, Stop: s.stopInformers},
		{Name: "api server", Start: s.startAPI, Stop: s.stopAPI},
		{Name: "bootstrap", Start: s.bootstrap},
		{Name: "controllers", Start: s.startControllers, Stop: s.stopBackground},
		{Name: "scheduler", Start: s.startScheduler},
	}
}

// Identities are the cluster's certificates; they exist once the first component has started.
func (s *Server) Identities() *pki.Bundle { return s.identities }

// Informers are fed from the storage; an agent in the same process reads them instead of keeping a copy.
func (s *Server) Informers() *informer.Factory { return s.informers }

// client is an API client that acts as a user of the control plane.
func (s *Server) client(name string, groups ...string) (kubernetes.Interface, error) {
	who := &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
	return kubernetes.NewForConfig(s.loopback.Config(who))
}

func (s *Server) startCertificates(context.Context) error {
	services, err := netip.ParsePrefix(s.config.Network.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("read the service CIDR: %w", err)
	}
	s.services = services.Masked()
	s.identities, err = pki.Ensure(s.config.Path("pki"), pki.Options{
		NodeName: s.config.Node.Name, NodeIPs: []net.IP{net.ParseIP(s.config.Node.IP)},
		ServiceIP: net.IP(s.services.Addr().Next().AsSlice()), ClusterDomain: s.config.Network.ClusterDomain, ExtraSANs: s.config.API.ExtraSANs,
	})
	if err != nil {
		return err
	}
	return s.writeKubeconfig()
}

// writeKubeconfig leaves the administrator's kubeconfig where `hivemind kubeconfig` finds it.
func (s *Server) writeKubeconfig() error {
	text, err := s.identities.Kubeconfig("hivemind", s.URL(), s.identities.Admin)
	if err != nil {
		return err
	}
	path := s.config.AdminKubeconfig()
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	return pki.WriteFile(path, text)
}

// URL is where clients on this machine reach the API server.
func (s *Server) URL() string {
	return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.config.API.Port))
}

func (s *Server) startStorage(ctx context.Context) (err error) {
	s.etcd, err = storage.Start(ctx, storage.Options{
		Dir: s.config.Path("etcd"), Name: s.config.Node.Name, QuotaBytes: s.config.Storage.QuotaBytes, UnsafeNoFsync: s.config.Storage.UnsafeNoFsync,
		Failed: s.options.Failed,
	})
	return err
}

func (s *Server) stopStorage(context.Context) error {
	s.etcd.Stop()
	return nil
}

// startInformers makes the stores of the resource table and the informers over them. Informers start when the components that
// read them have asked for theirs.
func (s *Server) startInformers(ctx context.Context) error {
	first, last, err := portRange(s.config.Network.NodePortRange)
	if err != nil {
		return err
	}
	since, err := s.etcd.WrittenSince(ctx, s.options.Version)
	if err != nil {
		return err
	}
	s.registry, err = registry.New(registry.Options{RESTOptions: s.etcd.RESTOptionsGetter, WrittenSince: since, FirstNodePort: first, LastNodePort: last})
	if err != nil {
		return err
	}
	s.informers = informer.New(s.registry.Sources())
	s.registry.AllocateFrom(s.informers.Networking().V1())
	return s.registry.Load(ctx)
}

func (s *Server) stopInformers(ctx context.Context) error {
	err := s.stopBackground(ctx) // nothing is left of it, unless controllers or scheduler failed to start
	s.informers.Shutdown()
	s.registry.Destroy()
	return err
}

// syncInformers starts the informers asked for since the last time and waits for them to have read the storage.
func (s *Server) syncInformers(ctx context.Context) error {
	s.informers.StartWithContext(s.life)
	ctx, cancel := context.WithTimeout(ctx, informer.SyncTimeout)
	defer cancel()
	return s.informers.WaitForCacheSyncWithContext(ctx).AsError()
}

// portRange parses "30000-32767".
func portRange(text string) (first, last int32, err error) {
	from, to, _ := strings.Cut(text, "-")
	a, errA := strconv.ParseInt(from, 10, 32)
	b, errB := strconv.ParseInt(to, 10, 32)
	if errA != nil || errB != nil || a > b {
		return 0, 0, fmt.Errorf("network.nodePortRange is %q: give a range such as 30000-32767", text)
	}
	return int32(a), int32(b), nil
}
