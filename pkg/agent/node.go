// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"

	kubelet "github.com/hivemind-project/hivemind/kubelet-lite"
	"github.com/hivemind-project/hivemind/kubelet-lite/gc"
	"github.com/hivemind-project/hivemind/kubelet-lite/logs"
	"github.com/hivemind-project/hivemind/kubelet-lite/objects"
	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/server"
	"github.com/hivemind-project/hivemind/kubelet-lite/stats"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume/local"
	"github.com/hivemind-project/hivemind/pkg/events"
	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/cni"
	"github.com/hivemind-project/hivemind/pkg/network/dns"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
	"github.com/hivemind-project/hivemind/pkg/network/proxy"
)

// Container logs: each container keeps at most maxLogFiles files of maxLogSize bytes, the kubelet's defaults.
const (
	maxLogSize  = 10 << 20
	maxLogFiles = 5
)

// startKubelet wires the node agent: what pods need (volumes, network), what looks after them, and the API by which the server
// reaches their logs and terminals.
func (a *Agent) startKubelet(ctx context.Context) (err error) {
	if a.upstream, err = a.options.Upstream(); err != nil {
		return err
	}
	client := *a.upstream.Client
	client.QPS = -1
	if a.client, err = kubernetes.NewForConfig(&client); err != nil {
		return fmt.Errorf("make the node's API client: %w", err)
	}
	if a.informers = a.upstream.Informers; a.informers == nil {
		a.informers = informers.NewSharedInformerFactory(a.client, 0)
	}
	if err := a.newNetwork(); err != nil {
		return err
	}
	a.recordEvents()
	pods := objects.New(a.life, a.client)
	volumes := volume.New(volume.Options{
		PodsDir: a.config.Path("kubelet", "pods"), LocalDir: a.config.Path("volumes"),
		Client: a.client, Objects: pods, Tokens: objects.NewTokens(a.client), Allocatable: a.allocatable,
	})
	a.stats = stats.New(a.runtime, a.images, a.config.Node.Name, a.config.DataDir)
	services := a.informers.Core().V1().Services()
	a.kubelet, err = kubelet.New(kubelet.Config{
		NodeName: a.config.Node.Name, NodeIPs: []string{a.config.Node.IP},
		Client: a.client, Runtime: a.runtime, Images: a.images, Volumes: volumes, Objects: pods, Cgroups: a.cgroups,
		Services: services.Lister(), ServicesSynced: services.Informer().HasSynced,
		RootDir: a.config.Path("kubelet"), PodLogDir: a.podLogs(),
		ClusterDNS: []string{a.config.Network.ClusterDNS}, ClusterDomain: a.config.Network.ClusterDomain,
		KubeletPort: a.config.Node.KubeletPort, MaxPods: a.config.Node.MaxPods, Labels: a.config.Node.Labels,
		NetworkReady: a.bringUpNetwork, Pressure: a.stats.Pressure, ResolvConf: podnet.HostFiles(), Recorder: a.recorder,
	})
	if err != nil {
		return err
	}
	a.informers.StartWithContext(a.life)
	if err := a.serve(ctx); err != nil {
		return err
	}
	a.background("kubelet", a.kubelet.Run)
	a.housekeeping()
	return nil
}

// recordEvents opens the way of events to the server.
func (a *Agent) recordEvents() {
	broadcaster := record.NewBroadcaster(record.WithContext(a.life))
	broadcaster.StartRecordingToSink(events.NewSink(a.life, a.client.CoreV1()))
	a.recorder = broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: a.config.Node.Name})
	a.background("events", func(ctx context.Context) error {
		<-ctx.Done()
		broadcaster.Shutdown()
		return nil
	})
}

// nodeEvent records a warning about this node.
func (a *Agent) nodeEvent(reason, message string) {
	name := a.config.Node.Name
	a.recorder.Event(&v1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}, v1.EventTypeWarning, reason, message)
}

func (a *Agent) podLogs() string { return a.config.Path("logs", "pods") }

// allocatable is what pods may have of this node; nothing is known before it is registered.
func (a *Agent) allocatable() v1.ResourceList {
	if node := a.kubelet.Node(); node != nil {
		return node.Status.Allocatable
	}
	return nil
}

// housekeeping keeps the disk from filling with what nobody needs any more.
func (a *Agent) housekeeping() {
	run := func(name string, f func(context.Context)) {
		a.background(name, func(ctx context.Context) error { f(ctx); return nil })
	}
	run("log rotation", logs.NewRotator(a.runtime, a.podLogs(), maxLogSize, maxLogFiles).Run)
	run("container garbage collection", gc.NewContainers(a.runtime, a.podLogs(), a.kubelet.HasPod).Run)
	run("image garbage collection", gc.NewImages(a.runtime, a.images, a.nodeEvent).Run)
	run("local volumes", local.New(a.client, a.config.Node.Name, a.config.Path("volumes")).Run)
}

// serve answers the server's requests for logs, terminals, ports and figures, on loopback and the node's address.
func (a *Agent) serve(ctx context.Context) error {
	port := strconv.Itoa(a.config.Node.KubeletPort)
	addresses := []string{net.JoinHostPort("127.0.0.1", port)}
	if ip := net.JoinHostPort(a.config.Node.IP, port); ip != addresses[0] {
		addresses = append(addresses, ip)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.upstream.ClientCA)
	s := server.New(server.Options{
		NodeName: a.config.Node.Name, Addresses: addresses,
		Certificate: func() (*tls.Certificate, error) { return &a.upstream.Serving, nil }, ClientCAs: clients,
		Client: a.client, Pods: a.kubelet, Runtime: a.runtime, LogDir: a.config.Path("logs"),
		Stats:   a.stats,
		Metrics: legacyregistry.Handler(),
	})
	if err := s.Start(ctx); err != nil {
		return err
	}
	a.background("kubelet API", func(ctx context.Context) error {
		<-ctx.Done()
		return s.Stop(context.WithoutCancel(ctx))
	})
	return nil
}

// newNetwork makes the service proxy and DNS, which ask the informers for what they need to see.
func (a *Agent) newNetwork() (err error) {
	n := a.config.Network
	address, err := netip.ParseAddr(n.ClusterDNS)
	if err != nil {
		return fmt.Errorf("read the address of cluster DNS: %w", err)
	}
	services, slices := a.informers.Core().V1().Services(), a.informers.Discovery().V1().EndpointSlices()
	a.proxy, err = proxy.New(proxy.Options{
		NodeName: a.config.Node.Name, ClusterCIDR: prefix(n.PodCIDR), ServiceCIDR: prefix(n.ServiceCIDR),
		Table: nft.TableName(a.config.ID()), Own: []netip.Addr{address}, Lost: a.layBridge, Others: a.queueRules,
	}, services, slices, a.informers.Core().V1().Nodes())
	if err != nil {
		return err
	}
	a.dns, err = dns.New(dns.Options{
		Domain: n.ClusterDomain, Address: address, Bridge: a.config.Bridge(), Upstream: n.UpstreamResolvers,
		Local: []netip.Prefix{prefix(n.PodCIDR), prefix(n.ServiceCIDR)},
	}, services, slices)
	return err
}

// bringUpNetwork lays the pod network once the node has its range of addresses.
func (a *Agent) bringUpNetwork(ctx context.Context, podCIDR string) error {
	pods, err := netip.ParsePrefix(podCIDR)
	if err != nil {
		return fmt.Errorf("read the node's pod CIDR: %w", err)
	}
	n := a.config.Network
	a.bridge = bridge.Options{
		Name: a.config.Bridge(), Table: nft.TableName(a.config.ID()), PodCIDR: pods,
		ClusterCIDR: prefix(n.PodCIDR), ServiceCIDR: prefix(n.ServiceCIDR), MTU: n.MTU,
	}
	if err := a.layBridge(ctx); err != nil {
		return err
	}
	a.cni = cni.Config{
		Name: "hivemind-" + a.config.ID(), Bridge: a.bridge.Name, Table: a.bridge.Table, Subnets: []netip.Prefix{pods}, MTU: n.MTU, LeaseDir: a.config.Path("cni", "leases"),
	}
	if err := a.collectLeases(ctx); err != nil {
		return err
	}
	if err := cni.WriteConfig(a.cniConfDir(), a.cni); err != nil {
		return err
	}
	a.background("service proxy", a.proxy.Run)
	a.background("cluster DNS", a.dns.Run)
	if err := a.proxy.Ready(ctx); err != nil {
		return err
	}
	return a.dns.Ready(ctx)
}

// collectLeases ends the address leases of sandboxes that went while no agent ran. No pod can start yet: the runtime has no
// network configuration, or has not been told to start anything.
func (a *Agent) collectLeases(ctx context.Context) error {
	sandboxes, err := a.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	live := map[string]bool{}
	for _, s := range sandboxes {
		live[s.Id] = true
	}
	return cni.Collect(a.cni, live)
}

// queueRules queues what is in the nftables table besides services.
func (a *Agent) queueRules(c *nftables.Conn) error {
	return errors.Join(bridge.QueueRules(c, a.bridge), cni.QueueHostPorts(c, a.cni))
}

func (a *Agent) layBridge(ctx context.Context) error { return bridge.Setup(ctx, a.bridge) }
