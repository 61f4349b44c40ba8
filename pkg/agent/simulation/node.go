// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/apis/config"
	kubelet "github.com/hivemind-project/hivemind/kubelet-lite"
	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/node"
	"github.com/hivemind-project/hivemind/kubelet-lite/objects"
	"github.com/hivemind-project/hivemind/kubelet-lite/server"
	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// nodeAddresses is where simulated nodes have their addresses from: a range for benchmarks (RFC 2544) that no machine is in, so that
// pods on the host's network can be endpoints, as ones on loopback could not.
var nodeAddresses = netip.MustParsePrefix("198.18.0.0/15")

// kubeletPort is what every node says that its agent listens on; see nodeAPIs.
const kubeletPort = 10250

// simulatedNode is one node: a kubelet as on any machine, on a runtime of its own.
type simulatedNode struct {
	name    string
	ip      netip.Addr
	client  kubernetes.Interface
	runtime *simulated.Runtime
	kubelet *kubelet.Kubelet
	// machine is what it says that it is.
	machine node.Machine

	apiOnce sync.Once
	api     http.Handler
}

// prepare makes what all nodes share.
func (s *Nodes) prepare(ctx context.Context) (err error) {
	none := rest.CopyConfig(s.upstream.Client(""))
	if s.rest, err = kubernetes.NewForConfig(none); err != nil {
		return fmt.Errorf("make API client: %w", err)
	}
	core := s.upstream.Informers.Core().V1()
	if s.source, err = newSharedSource(core.Pods().Informer(), core.Nodes().Informer()); err != nil {
		return err
	}
	s.recorder = record.NewBroadcaster(record.WithContext(s.life))
	s.events = &eventRouter{}
	s.recorder.StartRecordingToSink(s.events)
	for _, informer := range []cache.SharedIndexInformer{core.Services().Informer(), core.ConfigMaps().Informer(), core.Secrets().Informer()} {
		s.synced = append(s.synced, informer.HasSynced)
	}
	s.upstream.Informers.StartWithContext(s.life)
	if !cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return fmt.Errorf("read what nodes share: %w", context.Cause(ctx))
	}
	return nil
}

// newNode makes node i, which does nothing yet.
func (s *Nodes) newNode(i int) (*simulatedNode, error) {
	c := s.config
	n := &simulatedNode{name: c.NodeName(i), ip: nthAddress(nodeAddresses, i+1), machine: machineOf(c)}
	client, err := newNodeClient(s.upstream.Client(n.name), s.rest)
	if err != nil {
		return nil, err
	}
	n.client = client
	core := s.upstream.Informers.Core().V1()
	objectsOf := &cachedObjects{client: client, maps: core.ConfigMaps().Lister(), secrets: core.Secrets().Lister()}
	volumes := volume.NewVirtual(volume.Options{Client: client, Objects: objectsOf, Tokens: objects.NewTokens(client), Allocatable: func() v1.ResourceList { return n.allocatable() }})
	recorder := s.recorder.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: n.name})
	services := core.Services()
	env := &envvars.Resolver{Objects: objectsOf, Services: services.Lister(), ServicesSynced: services.Informer().HasSynced, HostIPs: []string{n.ip.String()},
		Allocatable: func() v1.ResourceList { return n.allocatable() }}
	n.runtime = simulated.New(simulated.Options{
		AwaitPodCIDR: true, PullDelay: config.Delay(c.Simulated.PullDelay), StartDelay: config.Delay(c.Simulated.StartDelay),
		Registries: c.Simulated.Registries,
		Refused: func(pod *v1.Pod, err error) {
			recorder.Event(pod, v1.EventTypeWarning, "InvalidAnnotation", err.Error()+"; what was said before stays in force")
		},
		Shell: &simulated.Shell{
			Pod: func(namespace, name string) (*v1.Pod, bool) { return n.kubelet.GetPodByName(namespace, name) },
			Environment: func(pod *v1.Pod, container *v1.Container, ips []string) ([]envvars.Var, error) {
				return env.Environment(pod, container, ips, nil)
			},
			Files: volumes.Files,
		},
	})
	objectsOf.Runtime = n.runtime
	n.kubelet, err = kubelet.New(kubelet.Config{
		NodeName: n.name, NodeIPs: []string{n.ip.String()}, Client: client, Source: s.source.of(n), Runtime: n.runtime, Images: n.runtime.Images(),
		Volumes: volumes, Objects: objectsOf, Services: services.Lister(), ServicesSynced: services.Informer().HasSynced,
		ClusterDNS: []string{c.Network.ClusterDNS}, ClusterDomain: c.Network.ClusterDomain, KubeletPort: kubeletPort, MaxPods: c.Node.MaxPods,
		Labels: labelsOf(c, i), Probes: n.runtime.Prober(), Hooks: n.runtime.Hooks(), Machine: &n.machine, Recorder: recorder, ResolvConf: []string{},
		Parallel: c.Node.MaxPods, Turns: s.turns,
	})
	return n, err
}

func (n *simulatedNode) allocatable() v1.ResourceList {
	if object := n.kubelet.Node(); object != nil {
		return object.Status.Allocatable
	}
	return nil
}

// observe takes the node's object as the API shows it.
func (n *simulatedNode) observe(object *v1.Node) {
	if object.Spec.PodCIDR == "" {
		return
	}
	config := &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: object.Spec.PodCIDR}}
	if err := n.runtime.UpdateRuntimeConfig(context.Background(), config); err != nil {
		klog.ErrorS(err, "Node has no addresses for pods", "node", n.name)
	}
}

// handler is the node's HTTP API, made when it is first asked for.
func (n *simulatedNode) handler() http.Handler {
	n.apiOnce.Do(func() {
		n.api = server.New(server.Options{NodeName: n.name, Client: n.client, Pods: n.kubelet, Runtime: n.runtime,
			Stats: n.runtime.Summary(n.name, n.machine.Capacity)}).Handler()
	})
	return n.api
}

// labelsOf are the labels that a person asked for, and the zone.
func labelsOf(c *config.Config, i int) map[string]string {
	labels := maps.Clone(c.Node.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["type"] = simulated.Name
	if c.Simulated.Zones > 0 {
		labels[v1.LabelTopologyRegion] = simulated.Name
		labels[v1.LabelTopologyZone] = "zone-" + strconv.Itoa(i%c.Simulated.Zones)
	}
	return labels
}

// machineOf is what a node says that it is.
func machineOf(c *config.Config) node.Machine {
	return node.Machine{OSImage: "Simulated", Kernel: "simulated", Capacity: v1.ResourceList{
		v1.ResourceCPU:              resource.MustParse(c.Simulated.CPU),
		v1.ResourceMemory:           resource.MustParse(c.Simulated.Memory),
		v1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}}
}

// nthAddress is the address n after the first of prefix.
func nthAddress(prefix netip.Prefix, n int) netip.Addr {
	b := prefix.Addr().As4()
	value := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	value += uint32(n)
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)})
}
