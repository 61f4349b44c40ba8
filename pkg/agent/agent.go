// SPDX-License-Identifier: Apache-2.0

// Package agent is the agent role: what makes a machine a node, as an ordered list of components. It reaches the server as any
// other node does, by TLS with the node's own certificate; on a server node it reads services from that server's
// informers instead of keeping a copy of its own. To see what runs at boot and in which order, read Components.
package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	internalapi "k8s.io/cri-api/pkg/apis"
	criclient "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/apis/config"
	kubelet "github.com/hivemind-project/hivemind/kubelet-lite"
	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
	"github.com/hivemind-project/hivemind/kubelet-lite/stats"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/cni"
	"github.com/hivemind-project/hivemind/pkg/network/dns"
	"github.com/hivemind-project/hivemind/pkg/network/proxy"
)

// criTimeout is how long one call to the runtime may take, but for those that take a time of their own, as pulls do.
const criTimeout = 2 * time.Minute

// Upstream is the server as the agent knows it.
type Upstream struct {
	// Client is how to reach it as this node.
	Client *rest.Config
	// Serving is what the agent's own API serves with, to clients whose certificates are from ClientCA.
	Serving  tls.Certificate
	ClientCA *x509.Certificate
	// Informers are those of a server in this process; nil elsewhere.
	Informers informers.SharedInformerFactory
}

// Options are what is not configuration.
type Options struct {
	// BinDir has containerd, its shim, runc, the CNI plugin and pause.tar.
	BinDir string
	// Upstream is asked once, when the agent starts.
	Upstream func() (Upstream, error)
}

// Agent is one node's agent. What a component makes, those after it use.
type Agent struct {
	config  *config.Config
	options Options

	upstream   Upstream
	client     kubernetes.Interface
	informers  informers.SharedInformerFactory
	cgroups    *cgroup.Manager
	containerd *containerd.Supervisor
	runtime    internalapi.RuntimeService
	images     internalapi.ImageManagerService
	stats      *stats.Provider
	proxy      *proxy.Proxy
	dns        *dns.Server
	kubelet    *kubelet.Kubelet
	bridge     bridge.Options
	cni        cni.Config
	recorder   record.EventRecorder

	// life ends when the agent stops; what runs in the background ends with it.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// New returns an agent that has not started.
func New(c *config.Config, options Options) *Agent {
	life, end := context.WithCancel(context.Background())
	return &Agent{config: c, options: options, life: life, end: end}
}

// Components is what runs at boot, in order.
func (a *Agent) Components() []component.Component {
	return []component.Component{
		{Name: "containerd", Start: a.startContainerd, Ready: a.runtimeReady, Stop: a.stopContainerd},
		{Name: "agent", Start: a.startKubelet, Stop: a.stop},
		{Name: "node", Start: func(context.Context) error { return nil }, Ready: a.nodeReady},
	}
}

func (a *Agent) startContainerd(ctx context.Context) error {
	mounts, err := cgroup.Detect()
	if err != nil {
		return err
	}
	pause, err := os.ReadFile(filepath.Join(a.options.BinDir, "pause.tar"))
	if err != nil {
		return fmt.Errorf("read the image of pods' sandboxes: %w", err)
	}
	a.cgroups = cgroup.New(mounts, a.config.CgroupRoot(), 0)
	a.containerd = containerd.New(containerd.Options{
		BinDir: a.options.BinDir, DataDir: a.config.DataDir, RunDir: a.config.RunDir(), CgroupRoot: a.config.CgroupRoot(),
		CNIBinDirs: []string{a.options.BinDir}, CNIConfDir: a.cniConfDir(), PauseImage: pause, Registries: a.config.Registries,
	}, a.cgroups)
	return a.containerd.Start(ctx)
}

func (a *Agent) cniConfDir() string { return a.config.Path("cni", "net.d") }

// runtimeReady waits for containerd and connects to it.
func (a *Agent) runtimeReady(ctx context.Context) error {
	if err := a.containerd.Ready(ctx); err != nil {
		return err
	}
	endpoint := "unix://" + a.containerd.Socket()
	var err error
	if a.runtime, err = criclient.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(criTimeout).WithTracerProvider(nil).Build(a.life); err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	if a.images, err = criclient.NewRemoteImageServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(criTimeout).WithTracerProvider(nil).Build(a.life); err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	return nil
}

func (a *Agent) stopContainerd(ctx context.Context) error { return a.containerd.Stop(ctx) }

func (a *Agent) nodeReady(ctx context.Context) error { return a.kubelet.Ready(ctx) }

// stop ends everything in the background. Containers go on running.
func (a *Agent) stop(ctx context.Context) error {
	a.end()
	done := make(chan struct{})
	go func() {
		a.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("something still runs: %w", context.Cause(ctx))
	}
}

// background runs f until the agent stops. An error is logged with the name.
func (a *Agent) background(name string, f func(context.Context) error) {
	a.running.Add(1)
	go func() {
		defer a.running.Done()
		if err := f(a.life); err != nil && a.life.Err() == nil {
			klog.ErrorS(err, "Ended before its time", "name", name)
		}
	}()
}

// prefix is a CIDR of the configuration, which has been validated.
func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
