// SPDX-License-Identifier: Apache-2.0

// Package scheduler finds a node for every pod that has none. One pod at a time is looked at (cycle), against state kept up to date
// by every change (state.Cluster), and is then counted on its node at once, while the binding itself is on its way to the API
// server beside others. So a cycle never waits for a write, and its cost is that of asking each plugin about each node:
// about 10 µs for one node.
//
// Where to look: queue.go says when a pod is tried, place.go which node it gets, preempt.go who has to leave for it, bind.go what is
// written, watch.go what changes it reacts to; plugins/ holds the rules.
package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	policyinformers "k8s.io/client-go/informers/policy/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/pkg/scheduler/plugins"
	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// DefaultName is the schedulerName of pods that name no other.
const DefaultName = "default-scheduler"

// Options may be left zero.
type Options struct {
	// Name is the spec.schedulerName of the pods to place. Default DefaultName.
	Name string
	// Writes is how many bindings and status patches may be under way at once. Default 16.
	Writes int
	// VolumeTimeout is how long a pod waits for its volumes to be bound before it is tried again. Default 10 minutes.
	VolumeTimeout time.Duration
	// Budgets are the disruption budgets that preemption respects. None where nil.
	Budgets policyinformers.PodDisruptionBudgetInformer
	// Clock is for tests.
	Clock clock.WithTicker
}

// Scheduler binds pods to nodes.
type Scheduler struct {
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	options   Options
	pods      corelisters.PodLister
	volumes   *plugins.Volumes
	plugins   []plugins.Plugin
	queue     *queue
	events    events.EventBroadcaster
	recorder  events.EventRecorder
	writes    chan struct{}
	notices   notices
	running   sync.WaitGroup

	mu      sync.Mutex // guards cluster; held for the length of a cycle
	cluster *state.Cluster
	from    int // where the next search begins, so that all nodes of a large cluster get their turn
}

// New returns a scheduler. It asks informers for pods, nodes, namespaces, claims, volumes and storage classes, which Run waits for.
func New(client kubernetes.Interface, factory informers.SharedInformerFactory, options Options) *Scheduler {
	if options.Name == "" {
		options.Name = DefaultName
	}
	if options.Writes == 0 {
		options.Writes = 16
	}
	if options.VolumeTimeout == 0 {
		options.VolumeTimeout = 10 * time.Minute
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	core := factory.Core().V1()
	core.Nodes().Informer() // asked for now, so that whoever starts the informers starts this one too
	volumes := plugins.NewVolumes(client, core.PersistentVolumeClaims().Lister(), core.PersistentVolumes().Lister(),
		factory.Storage().V1().StorageClasses().Lister(), options.VolumeTimeout)
	namespaces := core.Namespaces().Lister()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	return &Scheduler{
		client:    client,
		informers: factory,
		options:   options,
		pods:      core.Pods().Lister(),
		volumes:   volumes,
		plugins:   plugins.List(volumes),
		queue:     newQueue(options.Clock),
		events:    broadcaster,
		recorder:  broadcaster.NewRecorder(scheme.Scheme, options.Name),
		writes:    make(chan struct{}, options.Writes),
		cluster: state.NewCluster(func(name string) labels.Set {
			if ns, err := namespaces.Get(name); err == nil {
				return ns.Labels
			}
			return nil
		}),
	}
}

// Run places pods until ctx ends, and returns once all its goroutines have. It may be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	logger := klog.LoggerWithName(klog.FromContext(ctx), "scheduler")
	ctx = klog.NewContext(ctx, logger)
	if err := s.events.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("start scheduler: record events: %w", err)
	}
	defer s.events.Shutdown()
	defer s.running.Wait()
	synced, stop, err := s.watch()
	defer stop()
	if err != nil {
		return fmt.Errorf("start scheduler: %w", err)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	s.running.Go(func() { s.flush(ctx) })
	for {
		p := s.queue.pop(ctx)
		if p == nil {
			return nil
		}
		s.scheduleOne(ctx, p)
	}
}

// flush wakes pods that nothing has woken for long, in case that no plugin foresaw what would let them fit.
func (s *Scheduler) flush(ctx context.Context) {
	ticker := s.options.Clock.NewTicker(30 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
			s.queue.wakeStale()
		case <-ctx.Done():
			return
		}
	}
}

// scheduleOne finds a node for one pod and sends it there, or says why there is none.
func (s *Scheduler) scheduleOne(ctx context.Context, p *queued) {
	s.mu.Lock()
	if s.cluster.Pod(p.pod.UID) != nil { // placed meanwhile
		s.mu.Unlock()
		s.queue.done(p)
		return
	}
	placement, failure := s.search(p.pod)
	s.mu.Unlock()
	if failure != nil {
		s.fail(ctx, p, failure)
		return
	}
	s.running.Go(func() { s.bind(ctx, p, placement) })
}

// placement is a pod counted on its node, and what is left to do before it can be bound there.
type placement struct {
	pod     *state.Pod // with spec.nodeName set
	node    *state.Node
	judges  []judge
	release []func()
}

// failure is an attempt that has found no node.
type failure struct {
	message  string
	errored  bool // not for want of a node, but by an error
	waitsFor state.Change
	room     *candidate // who leaves for the pod
	denied   bool       // a node that the pod was promised is of no use any more
}

// search runs one cycle and counts the pod on the node found. s.mu is held.
func (s *Scheduler) search(pod *state.Pod) (*placement, *failure) {
	if len(s.cluster.Nodes()) == 0 {
		return nil, &failure{message: "no nodes available to schedule pods", waitsFor: state.Anything}
	}
	c, refused := newCycle(pod, s.cluster, s.plugins)
	if refused == nil {
		nodes, asked, m := c.feasible(s.from)
		s.from = (s.from + asked) % len(s.cluster.Nodes())
		if len(nodes) > 0 {
			return s.take(c, c.best(nodes, rand.IntN))
		}
		refused = m
	}
	f := &failure{message: refused.message(), waitsFor: refused.waitsFor}
	room, why := preemption(c, refused, pod, s.cluster, s.plugins, s.budgets())
	if room != nil {
		f.room = room
		f.waitsFor |= state.PodRemoved
		s.cluster.Nominate(pod, room.node)
		return nil, f
	}
	f.message += " " + why
	if pod.Status.NominatedNodeName != "" && !leavingFor(pod, refused, s.cluster) {
		f.denied = true
		s.cluster.Denominate(pod.UID)
	}
	return nil, f
}

// leavingFor reports whether pods are on their way off the node that was promised to pod.
func leavingFor(pod *state.Pod, m *misfit, cluster *state.Cluster) bool {
	return mayNotPreempt(pod, m, cluster) != "" && helps(m, pod.Status.NominatedNodeName)
}

// take reserves what the pod needs on the node and counts it there.
func (s *Scheduler) take(c *cycle, node *state.Node) (*placement, *failure) {
	assumed, object := *c.pod, *c.pod.Pod
	object.Spec.NodeName = node.Name
	assumed.Pod = &object
	p := &placement{pod: &assumed, node: node, judges: c.judges}
	for _, j := range c.judges {
		if j.Reserve == nil {
			continue
		}
		release, err := j.Reserve(node)
		if err != nil {
			p.giveBack()
			return nil, &failure{message: fmt.Sprintf("running Reserve plugin %q: %v", j.Name(), err), errored: true}
		}
		p.release = append(p.release, release)
	}
	s.cluster.Denominate(assumed.UID)
	s.cluster.Assume(&assumed)
	return p, nil
}

func (p *placement) giveBack() {
	for _, release := range p.release {
		release()
	}
}

func (s *Scheduler) budgets() []*policyv1.PodDisruptionBudget {
	if s.options.Budgets == nil {
		return nil
	}
	budgets, err := s.options.Budgets.Lister().List(labels.Everything())
	if err != nil { // a lister over a cache has none to give
		return nil
	}
	return budgets
}
