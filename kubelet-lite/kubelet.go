// SPDX-License-Identifier: Apache-2.0

// Package kubelet is the node agent: it registers this machine as a node, runs the pods that are given to it, and tells the API
// server how they are. Read Run first: it is the order in which everything comes to life. The parts are packages of their
// own, and what they cost is said there; a node at rest renews a lease and looks at its own health every ten seconds.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/version"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/images"
	"github.com/hivemind-project/hivemind/kubelet-lite/lifecycle"
	"github.com/hivemind-project/hivemind/kubelet-lite/node"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/podnet"
	"github.com/hivemind-project/hivemind/kubelet-lite/podworker"
	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
	"github.com/hivemind-project/hivemind/kubelet-lite/status"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
	"github.com/hivemind-project/hivemind/pkg/events"
)

// Volumes brings pods' volumes; volume.Manager does.
type Volumes interface {
	podworker.Volumes
	SubPath(pod types.UID, volume, container string, index int, from volume.Mounted, subPath string) (string, error)
	// List returns the pods that have a directory on this machine.
	List() ([]types.UID, error)
}

// Objects are the ConfigMaps and Secrets that pods refer to; objects.Cache is one.
type Objects interface {
	podworker.Objects
	envvars.Objects
}

// Config is what a kubelet is made of. What is not said to be optional must be set.
type Config struct {
	NodeName string
	NodeIPs  []string // the first is the primary one
	// Client acts as the node. Its rate limit should be off (rest.Config.QPS < 0): work is bounded here.
	Client kubernetes.Interface
	// Source shows the node's pods. Optional: without it they are watched through Client.
	Source  Source
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
	Volumes Volumes
	Objects Objects
	Cgroups podworker.Cgroups // optional
	// Services are all Services, for the environment; ServicesSynced says that they have been read.
	Services       corelisters.ServiceLister
	ServicesSynced func() bool

	// RootDir is for pods' own files and PodLogDir for container logs. Both are empty where the runtime has neither mounts nor
	// logs: then nothing is written.
	RootDir       string
	PodLogDir     string
	ClusterDNS    []string
	ClusterDomain string
	KubeletPort   int
	MaxPods       int               // default 110
	Labels        map[string]string // optional, beside those that every node has
	Taints        []v1.Taint        // optional, of a new node
	Reserved      v1.ResourceList   // optional, kept from pods

	// NetworkReady is called once the node has its pod CIDR, and returns when pods can have addresses. Optional: without it
	// there is no wait for a pod CIDR.
	NetworkReady func(ctx context.Context, podCIDR string) error
	// Pressure says which of the node's resources run out. Optional.
	Pressure func() (memory, disk, pids bool)
	// Probes answers probes, and Hooks runs containers' hooks. Optional: without them the containers are asked.
	Probes prober.Asker
	Hooks  podworker.Hooks
	// Parallel bounds how many pods are started, and how many stopped, at once. Optional.
	Parallel int
	// Turns bounds, by its capacity, how many statuses and deletions of pods are sent at once by all nodes that share it. Optional.
	Turns chan struct{}
	// Machine overrides what this machine is, for simulated nodes. Optional.
	Machine *node.Machine
	// Recorder records events. Optional: without it they are sent through Client.
	Recorder record.EventRecorder
	// ResolvConf are the machine's resolver configurations, first choice first. Optional.
	ResolvConf []string
	// NoSeccomp says that the runtime was built without seccomp (`runc features` tells). Optional.
	NoSeccomp bool
	// Clock is for tests. Optional.
	Clock clock.WithDelayedExecution
}

// Kubelet is the agent of one node.
type Kubelet struct {
	config  Config
	cache   *pleg.Cache
	watcher *pleg.Watcher
	ready   chan struct{}
	source  Source

	mu        sync.Mutex
	workers   *podworker.Manager
	node      *node.Node
	listed    bool // the API server's list of pods has been read
	networkUp bool
	relistErr error
}

// New returns a kubelet that does nothing until Run.
func New(c Config) (*Kubelet, error) {
	switch {
	case c.NodeName == "":
		return nil, errors.New("kubelet: no node name")
	case c.Client == nil || c.Runtime == nil || c.Images == nil || c.Volumes == nil || c.Objects == nil:
		return nil, errors.New("kubelet: client, runtime, images, volumes and objects are all needed")
	case (c.Probes == nil) != (c.Hooks == nil):
		return nil, errors.New("kubelet: probes and hooks are both to be given, or neither")
	case (c.RootDir == "") != (c.PodLogDir == ""):
		return nil, errors.New("kubelet: directories for pods and for logs are both needed, or neither")
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.ResolvConf == nil {
		c.ResolvConf = podnet.HostFiles()
	}
	k := &Kubelet{config: c, cache: pleg.NewCache(), ready: make(chan struct{}), source: c.Source, networkUp: c.NetworkReady == nil}
	if k.source == nil {
		var err error
		if k.source, err = newWatches(c.Client, c.NodeName); err != nil {
			return nil, err
		}
	}
	k.watcher = pleg.NewWatcher(c.Runtime, k.cache, k.runtimeChanged, k.relisted)
	return k, nil
}

// Run is the agent's life. It returns when ctx ends, with everything that it started stopped; containers go on running.
func (k *Kubelet) Run(ctx context.Context) error {
	c := &k.config
	if err := k.makeDirectories(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()

	runtimeName, runtimeVersion, err := k.runtimeVersion(ctx)
	if err != nil {
		return err
	}
	recorder := c.Recorder
	if recorder == nil {
		broadcaster := record.NewBroadcaster(record.WithContext(ctx))
		defer broadcaster.Shutdown()
		broadcaster.StartRecordingToSink(events.NewSink(ctx, c.Client.CoreV1()))
		recorder = broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: c.NodeName})
	}
	var machine node.Machine
	if c.Machine != nil {
		machine = *c.Machine
	} else {
		machine = node.Inspect(c.RootDir)
	}
	self := node.New(node.Options{Name: c.NodeName, IPs: c.NodeIPs, Labels: c.Labels, Taints: c.Taints, MaxPods: c.MaxPods, KubeletPort: c.KubeletPort,
		KubeletVersion: version.Get().GitVersion, RuntimeVersion: runtimeName + "://" + runtimeVersion, Machine: machine, Reserved: c.Reserved,
		Client: c.Client, Images: c.Images, Recorder: recorder, Health: k.health})
	workers := k.newWorkers(ctx, recorder, self, runtimeName, machine)
	k.mu.Lock()
	k.workers, k.node = workers, self
	k.mu.Unlock()
	defer workers.Wait()
	defer cancel()

	// What runs already is known before any pod is looked at.
	unsubscribe, subscribed := k.watcher.Subscribe(ctx)
	if subscribed {
		defer unsubscribe()
	}
	if err := k.firstRelist(ctx); err != nil {
		return err
	}
	if !subscribed {
		parts.Go(func() { k.watcher.Run(ctx) })
	}
	if err := self.Register(ctx); err != nil {
		return err
	}
	parts.Go(func() { self.Run(ctx) })
	if err := k.bringUpNetwork(ctx, self); err != nil {
		return err
	}
	parts.Go(func() { k.waitReady(ctx, self) })
	return k.source.Run(ctx, observer{k, ctx})
}

func (k *Kubelet) makeDirectories() error {
	if k.config.RootDir == "" {
		return nil
	}
	for _, dir := range []string{filepath.Join(k.config.RootDir, "pods"), k.config.PodLogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("kubelet: %w", err)
		}
	}
	return nil
}

// Ready blocks until the node has been Ready once.
func (k *Kubelet) Ready(ctx context.Context) error {
	select {
	case <-k.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %s is not ready: %w", k.config.NodeName, ctx.Err())
	}
}

// Evict ends a pod because the node needs what it uses. grace, in seconds, overrides the pod's own.
func (k *Kubelet) Evict(uid types.UID, reason, message string, grace *int64) {
	if w := k.podWorkers(); w != nil {
		w.Fail(uid, reason, message, grace)
	}
}

// Wake has a pod looked at, for example because an object that it refers to has changed.
func (k *Kubelet) Wake(uid types.UID) {
	if w := k.podWorkers(); w != nil {
		w.Wake(uid)
	}
}

func (k *Kubelet) newWorkers(ctx context.Context, recorder record.EventRecorder, self *node.Node, runtimeName string, machine node.Machine) *podworker.Manager {
	c := &k.config
	asker, hooks := c.Probes, c.Hooks
	if asker == nil || hooks == nil {
		build := version.Get()
		real := probe.New(c.Runtime, build.Major+"."+build.Minor)
		asker, hooks = real, lifecycle.NewRunner(c.Runtime, real, recorder)
	}
	resolver := &podnet.Resolver{ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, Files: c.ResolvConf}
	builder := &criconfig.Builder{RootDir: c.RootDir, PodLogDir: c.PodLogDir, Resolver: resolver, NoSeccomp: c.NoSeccomp,
		MemoryCapacity: machine.Capacity.Memory().Value(), SubPath: c.Volumes.SubPath}
	if c.Cgroups != nil {
		builder.CgroupParent = c.Cgroups.PodCgroup
	}
	return podworker.NewManager(ctx, podworker.Deps{
		Client: c.Client, Runtime: c.Runtime, RuntimeName: runtimeName, RuntimeHandler: k.runtimeHandler(ctx),
		Watcher: k.watcher, Cache: k.cache, Volumes: c.Volumes, Objects: c.Objects, Cgroups: c.Cgroups, Builder: builder,
		Images:   images.NewPuller(c.Images, c.Objects, recorder, c.Clock, k.Wake),
		Env:      &envvars.Resolver{Objects: c.Objects, Services: c.Services, ServicesSynced: c.ServicesSynced, HostIPs: c.NodeIPs, Allocatable: self.Allocatable},
		Prober:   prober.NewManager(asker, k.Wake),
		Hooks:    hooks,
		Status:   status.NewManager(ctx, c.Client, c.Turns),
		Refuses:  k.refuses,
		Parallel: c.Parallel, Turns: c.Turns,
		Recorder: recorder, HostIPs: c.NodeIPs, Clock: c.Clock,
	})
}

// runtimeHandler resolves RuntimeClasses as they are used: few pods have one.
func (k *Kubelet) runtimeHandler(ctx context.Context) func(*string) (string, error) {
	return func(class *string) (string, error) {
		if class == nil || *class == "" {
			return "", nil
		}
		object, err := k.config.Client.NodeV1().RuntimeClasses().Get(ctx, *class, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("failed to get RuntimeClass %s: %w", *class, err)
		}
		return object.Handler, nil
	}
}

// runtimeVersion waits for the runtime to answer.
func (k *Kubelet) runtimeVersion(ctx context.Context) (name, version string, err error) {
	err = retry(ctx, func() error {
		answer, err := k.config.Runtime.Version(ctx, "")
		if err == nil {
			name, version = answer.RuntimeName, answer.RuntimeVersion
		}
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("container runtime does not answer: %w", err)
	}
	if len(version) > 0 && version[0] == 'v' {
		version = version[1:]
	}
	return name, version, nil
}

func (k *Kubelet) firstRelist(ctx context.Context) error {
	if err := retry(ctx, func() error { return k.watcher.Relist(ctx) }); err != nil {
		return fmt.Errorf("list what the container runtime runs: %w", err)
	}
	return nil
}

// bringUpNetwork waits for the node's range of addresses and hands it on.
func (k *Kubelet) bringUpNetwork(ctx context.Context, self *node.Node) error {
	if up := k.config.NetworkReady; up != nil {
		cidr, err := self.WaitPodCIDR(ctx)
		if err != nil {
			return err
		}
		config := &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: cidr}}
		if err := k.config.Runtime.UpdateRuntimeConfig(ctx, config); err != nil {
			return fmt.Errorf("tell the container runtime its pod CIDR: %w", err)
		}
		if err := up(ctx, cidr); err != nil {
			return fmt.Errorf("bring up the pod network of node %s: %w", k.config.NodeName, err)
		}
	}
	k.mu.Lock()
	k.networkUp = true
	k.mu.Unlock()
	return nil
}

// waitReady has the status looked at often until the node is ready for the first time.
func (k *Kubelet) waitReady(ctx context.Context, self *node.Node) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if current := self.Current(); current != nil && isReady(current) && k.health(ctx).NotReady == "" {
			close(k.ready)
			return
		}
		self.Kick()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// health is what the node's conditions follow from.
func (k *Kubelet) health(ctx context.Context) node.Health {
	var h node.Health
	if k.config.Pressure != nil {
		h.MemoryPressure, h.DiskPressure, h.PIDPressure = k.config.Pressure()
	}
	k.mu.Lock()
	up, relistErr := k.networkUp, k.relistErr
	k.mu.Unlock()
	answer, err := k.config.Runtime.Status(ctx, false)
	switch {
	case err != nil:
		h.NotReady = "container runtime status check failed: " + err.Error()
	case relistErr != nil:
		h.NotReady = "PLEG is not healthy: " + relistErr.Error()
	default:
		h.NotReady = runtimeProblem(answer.GetStatus().GetConditions(), up)
	}
	return h
}

func runtimeProblem(conditions []*runtimeapi.RuntimeCondition, networkUp bool) string {
	for _, c := range conditions {
		if c.Status {
			continue
		}
		text := fmt.Sprintf("%s=false reason:%s message:%s", c.Type, c.Reason, c.Message)
		switch c.Type {
		case runtimeapi.RuntimeReady:
			return "container runtime not ready: " + text
		case runtimeapi.NetworkReady:
			return "container runtime network not ready: " + text
		}
	}
	if !networkUp {
		return "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:pod network has not been set up yet"
	}
	return ""
}

func (k *Kubelet) relisted(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	k.mu.Lock()
	k.relistErr = err
	k.mu.Unlock()
}

func (k *Kubelet) podWorkers() *podworker.Manager {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers
}

func isReady(n *v1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == v1.NodeReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// retry repeats what fails, with growing delays, until ctx ends.
func retry(ctx context.Context, do func() error) error {
	for delay := 20 * time.Millisecond; ; delay = min(delay*2, time.Second) {
		err := do()
		if err == nil {
			return nil
		}
		klog.FromContext(ctx).V(2).Info("Trying again", "err", err, "after", delay)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(delay):
		}
	}
}
