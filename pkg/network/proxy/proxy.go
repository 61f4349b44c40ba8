// SPDX-License-Identifier: Apache-2.0

// Package proxy carries Services on a node by nftables rules, as kube-proxy's nftables mode does, over netlink: the
// program nft is not needed. (An nft process costs milliseconds a change; a netlink transaction, a fraction of one.)
//
// Events mark Services as changed; after a short while, in which more may come, what has changed is compared with what
// is in the kernel and the difference is written in one transaction. A change costs as much as the Services it is
// about, however many there are; memory is some hundred bytes for a port and 32 for an endpoint. At start everything is
// laid in one transaction in the place of whatever an earlier process left, of this version or another, so traffic goes
// on over restarts and upgrades.
package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/network/endpoints"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

const (
	gather     = 10 * time.Millisecond // how long a change waits for others
	checkEvery = 30 * time.Second      // how often the table is looked for
	retryAfter = time.Second           // after a transaction failed
)

// Options say for what node and into what table. All fields but Own and Lost are needed.
type Options struct {
	NodeName    string
	ClusterCIDR netip.Prefix // of all pods: other clients of cluster IPs are masqueraded
	ServiceCIDR netip.Prefix
	Table       string // nft.TableName; shared with pkg/network/bridge and cni
	// Own are service addresses that the node answers by itself, as that of cluster DNS: they are left alone.
	Own []netip.Addr
	// Others queues what the table holds besides services: for a transaction in which the table is laid anew.
	Others func(c *nftables.Conn) error
	// Lost is called when the table has vanished, before services are laid anew: `nft flush ruleset` takes the bridge's
	// rules too. May be nil.
	Lost func(ctx context.Context) error
}

// Proxy keeps the node's rules as the Services and EndpointSlices are.
type Proxy struct {
	options  Options
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	slices   cache.Indexer
	synced   []cache.InformerSynced
	ready    chan struct{}
	wake     chan struct{} // holds one token

	mu    sync.Mutex
	dirty map[types.NamespacedName]bool
	all   bool // everything is to be laid anew

	// Of Run alone.
	table   *table
	flows   *flowEnder
	applied map[types.NamespacedName][]*appliedPort
	owners  map[element]types.NamespacedName // by element without its target: who has it
	losers  map[types.NamespacedName]bool    // Services that lack an element because another has it
}

// appliedPort is a service port with what it is in the kernel.
type appliedPort struct {
	*servicePort
	objects objects
}

// New returns a proxy that is told by the informers, which the caller starts.
func New(o Options, services coreinformers.ServiceInformer, slices discoveryinformers.EndpointSliceInformer, nodes coreinformers.NodeInformer) (*Proxy, error) {
	p := &Proxy{
		options: o, services: services.Lister(), nodes: nodes.Lister(), slices: slices.Informer().GetIndexer(),
		ready: make(chan struct{}), wake: make(chan struct{}, 1), dirty: map[types.NamespacedName]bool{},
	}
	if err := endpoints.Index(slices.Informer()); err != nil {
		return nil, err
	}
	for _, h := range []struct {
		informer cache.SharedIndexInformer
		changed  func(old, now any)
	}{
		{services.Informer(), p.serviceChanged},
		{slices.Informer(), p.sliceChanged},
		{nodes.Informer(), p.nodeChanged},
	} {
		registration, err := h.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { h.changed(nil, obj) },
			UpdateFunc: h.changed,
			DeleteFunc: func(obj any) {
				if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = unknown.Obj
				}
				h.changed(obj, nil)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("watch for the service proxy: %w", err)
		}
		p.synced = append(p.synced, registration.HasSynced)
	}
	return p, nil
}

// Run keeps the rules until ctx ends. It leaves them in place then: connections go on without the proxy.
func (p *Proxy) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), p.synced...) {
		return nil // ctx ended
	}
	t, err := openTable(p.options)
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	p.table = t
	defer t.close()
	if p.flows, err = newFlowEnder(); err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	var ending sync.WaitGroup
	defer ending.Wait()
	ending.Go(func() { p.flows.run(ctx) })
	p.mark(func() { p.all = true })
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	logger := klog.FromContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			if !t.exists() {
				p.mark(func() { p.all = true })
			}
			continue
		case <-p.wake:
		}
		if !pause(ctx, gather) {
			return nil
		}
		if err := p.sync(ctx); err != nil {
			logger.Error(err, "Failed to write service rules, laying all of them anew", "table", p.options.Table)
			if !pause(ctx, retryAfter) {
				return nil
			}
			p.mark(func() { p.all = true })
			continue
		}
		select {
		case <-p.ready:
		default:
			close(p.ready)
		}
	}
}

// Ready blocks until the rules are in place for the first time, or ctx ends.
func (p *Proxy) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("service proxy: %w", context.Cause(ctx))
	}
}

// Cleanup removes a cluster's table with all its rules. It needs no proxy and is no error if there is no table.
func Cleanup(tableName string) error { return nft.DeleteTable(tableName) }

func (p *Proxy) serviceChanged(old, now any) {
	for _, o := range []any{old, now} {
		if svc, ok := o.(*corev1.Service); ok {
			p.mark(func() { p.dirty[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] = true })
		}
	}
}

func (p *Proxy) sliceChanged(old, now any) {
	for _, o := range []any{old, now} {
		slice, ok := o.(*discoveryv1.EndpointSlice)
		if ok && slice.Labels[discoveryv1.LabelServiceName] != "" {
			name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
			p.mark(func() { p.dirty[name] = true })
		}
	}
}

// nodeChanged matters if our own zone changes: it decides about topology hints.
func (p *Proxy) nodeChanged(old, now any) {
	node, ok := now.(*corev1.Node)
	if !ok || node.Name != p.options.NodeName {
		return
	}
	if before, ok := old.(*corev1.Node); ok && before.Labels[corev1.LabelTopologyZone] == node.Labels[corev1.LabelTopologyZone] {
		return
	}
	if node.Labels[corev1.LabelTopologyZone] != "" {
		p.mark(func() { p.all = true })
	}
}

// mark notes a change and wakes Run.
func (p *Proxy) mark(note func()) {
	p.mu.Lock()
	note()
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Proxy) take() (dirty map[types.NamespacedName]bool, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dirty, all = p.dirty, p.all
	p.dirty, p.all = map[types.NamespacedName]bool{}, false
	return dirty, all
}

// sync writes what has changed.
func (p *Proxy) sync(ctx context.Context) error {
	dirty, all := p.take()
	here := place{node: p.options.NodeName}
	if node, err := p.nodes.Get(p.options.NodeName); err == nil {
		here.zone = node.Labels[corev1.LabelTopologyZone]
	}
	if all {
		if p.applied != nil && p.options.Lost != nil && !p.table.exists() {
			klog.FromContext(ctx).Info("The nftables table has vanished, laying it anew", "table", p.options.Table)
			if err := p.options.Lost(ctx); err != nil {
				return err
			}
		}
		return p.resync(ctx, here)
	}
	return p.update(ctx, dirty, here)
}

// resync lays everything anew.
func (p *Proxy) resync(ctx context.Context, here place) error {
	services, err := p.services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	// Who has an element that two claim must not depend on the order of a map.
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return compareNames(nameOf(a), nameOf(b))
	})
	p.applied = map[types.NamespacedName][]*appliedPort{}
	p.owners = map[element]types.NamespacedName{}
	p.losers = map[types.NamespacedName]bool{}
	var everything []objects
	var changed []*servicePort
	for _, svc := range services {
		ports, err := p.portsOf(svc, here)
		if err != nil {
			return err
		}
		for _, port := range ports {
			port.objects.elements = p.claim(ctx, nameOf(svc), port.objects.elements)
			everything = append(everything, port.objects)
			changed = append(changed, port.servicePort)
		}
		if len(ports) > 0 {
			p.applied[nameOf(svc)] = ports
		}
	}
	if err := p.table.reset(ctx, everything); err != nil {
		return err
	}
	p.flows.add(nil, changed)
	return nil
}

// update writes the changes of the Services, all in one transaction.
func (p *Proxy) update(ctx context.Context, dirty map[types.NamespacedName]bool, here place) error {
	var old, now objects
	var oldPorts, nowPorts []*servicePort
	names := make([]types.NamespacedName, 0, len(dirty))
	for name := range dirty {
		names = append(names, name)
	}
	slices.SortFunc(names, compareNames)
	for i := 0; i < len(names); i++ { // grows by losers
		name := names[i]
		var ports []*appliedPort
		svc, err := p.services.Services(name.Namespace).Get(name.Name)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("get service %s: %w", name, err)
		default:
			if ports, err = p.portsOf(svc, here); err != nil {
				return err
			}
		}
		before := p.applied[name]
		if slices.EqualFunc(before, ports, func(a, b *appliedPort) bool { return a.equal(b.servicePort) }) && !p.losers[name] {
			continue
		}
		for _, b := range before {
			old.chains, old.elements = append(old.chains, b.objects.chains...), append(old.elements, b.objects.elements...)
			oldPorts = append(oldPorts, b.servicePort)
			for _, e := range b.objects.elements {
				delete(p.owners, slot(e))
			}
		}
		delete(p.losers, name)
		for _, n := range ports {
			n.objects.elements = p.claim(ctx, name, n.objects.elements)
			now.chains, now.elements = append(now.chains, n.objects.chains...), append(now.elements, n.objects.elements...)
			nowPorts = append(nowPorts, n.servicePort)
		}
		if len(ports) > 0 {
			p.applied[name] = ports
		} else {
			delete(p.applied, name)
		}
		if len(before) > 0 {
			// What this Service gave up may be what another waits for.
			for loser := range p.losers {
				if !slices.Contains(names, loser) {
					names = append(names, loser)
				}
			}
		}
	}
	if len(oldPorts) == 0 && len(nowPorts) == 0 {
		return nil
	}
	if err := p.table.replace(old, now); err != nil {
		return err
	}
	p.flows.add(oldPorts, nowPorts)
	return nil
}

// portsOf returns the ports of a Service with their objects. The Service's cluster IPs are with its first port.
func (p *Proxy) portsOf(svc *corev1.Service, here place) ([]*appliedPort, error) {
	sliceList, err := endpoints.Of(p.slices, svc.Namespace, svc.Name)
	if err != nil {
		return nil, err
	}
	var ports []*appliedPort
	for _, sp := range servicePorts(svc, sliceList, here, p.options.Own) {
		a := &appliedPort{servicePort: sp, objects: objectsOf(sp, p.options.ClusterCIDR)}
		if len(ports) == 0 {
			for _, ip := range sp.clusterIPs {
				a.objects.elements = append(a.objects.elements, element{set: clusterIPSet, key: string(ip.AsSlice())})
			}
		}
		ports = append(ports, a)
	}
	return ports, nil
}

// claim keeps the elements that no other Service has: two may name the same external IP and port, and the kernel would
// refuse the whole transaction.
func (p *Proxy) claim(ctx context.Context, name types.NamespacedName, elements []element) []element {
	var kept []element
	for _, e := range elements {
		if e.set == endpointMap || e.set == stickyMap { // their keys are the chain's own
			kept = append(kept, e)
			continue
		}
		if owner, taken := p.owners[slot(e)]; taken {
			if owner != name {
				p.losers[name] = true
				klog.FromContext(ctx).Info("Service claims an address and port that another service has", "service", klog.KRef(name.Namespace, name.Name), "owner", klog.KRef(owner.Namespace, owner.Name))
			}
			continue
		}
		p.owners[slot(e)] = name
		kept = append(kept, e)
	}
	return kept
}

// slot is an element without its target: what can be there once.
func slot(e element) element { return element{set: e.set, key: e.key} }

func nameOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

func compareNames(a, b types.NamespacedName) int {
	if a.Namespace != b.Namespace {
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	}
	if a.Name < b.Name {
		return -1
	}
	if a.Name > b.Name {
		return 1
	}
	return 0
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
