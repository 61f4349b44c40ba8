// SPDX-License-Identifier: Apache-2.0

// Package nodeipam gives every node a part of the cluster's pod addresses: spec.podCIDR, which is never changed afterwards. What is taken
// is read from the nodes themselves, so a restart forgets nothing. Finding a free part costs a look at each that is taken.
package nodeipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Controller is the controller kube-controller-manager calls node-ipam-controller.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	nodes    corelisters.NodeLister
	synced   []cache.InformerSynced
	loop     *loop.Loop

	mu   sync.Mutex
	pool *pool
}

// New returns the controller. Each node gets a part of cidr with a prefix of size bits.
func New(client kubernetes.Interface, nodes coreinformers.NodeInformer, recorder record.EventRecorder, cidr netip.Prefix, size int) (*Controller, error) {
	pool, err := newPool(cidr, size)
	if err != nil {
		return nil, err
	}
	c := &Controller{client: client, recorder: recorder, nodes: nodes.Lister(), synced: []cache.InformerSynced{nodes.Informer().HasSynced}, pool: pool}
	c.loop = loop.New("node-ipam", c.sync)
	_, err = nodes.Informer().AddEventHandler(c.loop.Handler())
	return c, err
}

// Run works until ctx ends. Nothing is given out before all that is taken is known.
func (c *Controller) Run(ctx context.Context, workers int) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		klog.FromContext(ctx).Error(err, "Node addresses are not given out")
		return
	}
	for _, node := range nodes {
		c.keep(ctx, node)
	}
	c.loop.Run(ctx, workers)
}

// keep records what a node has. Two nodes with the same part cannot be mended here: one of them has to be made anew.
func (c *Controller) keep(ctx context.Context, node *v1.Node) {
	for _, text := range cidrsOf(node) {
		prefix, err := netip.ParsePrefix(text)
		if err == nil {
			c.mu.Lock()
			err = c.pool.keep(prefix, node.Name)
			c.mu.Unlock()
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Node has a podCIDR that is not its own", "node", klog.KObj(node), "podCIDR", text)
		}
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pool.release(name)
		return nil
	}
	if err != nil {
		return err
	}
	if len(cidrsOf(node)) > 0 {
		c.keep(ctx, node)
		return nil
	}
	if node.DeletionTimestamp != nil {
		return nil
	}
	c.mu.Lock()
	prefix, err := c.pool.take(name)
	c.mu.Unlock()
	if err != nil {
		ref := &v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID}
		c.recorder.Eventf(ref, v1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: %s", name, "CIDRNotAvailable")
		return fmt.Errorf("give node %s addresses: %w", name, err)
	}
	// A failed write keeps the part for the node: it may have been done all the same, and the next try writes it again.
	if err := nodeutil.PatchNodeCIDRs(ctx, c.client, types.NodeName(name), []string{prefix.String()}); err != nil {
		return fmt.Errorf("give node %s addresses %s: %w", name, prefix, err)
	}
	return nil
}

func cidrsOf(node *v1.Node) []string {
	if len(node.Spec.PodCIDRs) == 0 && node.Spec.PodCIDR != "" {
		return []string{node.Spec.PodCIDR}
	}
	return node.Spec.PodCIDRs
}

// pool is a range of addresses in parts of one size, and who has which.
type pool struct {
	cidr  netip.Prefix
	size  int
	owner map[netip.Prefix]string
	parts map[string]netip.Prefix // given out here, by node
}

var errFull = errors.New("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")

func newPool(cidr netip.Prefix, size int) (*pool, error) {
	cidr = cidr.Masked()
	if !cidr.IsValid() || size < cidr.Bits() || size > cidr.Addr().BitLen() || size-cidr.Bits() > 16 {
		return nil, fmt.Errorf("cluster CIDR %s cannot be divided into parts of /%d", cidr, size)
	}
	return &pool{cidr: cidr, size: size, owner: map[netip.Prefix]string{}, parts: map[string]netip.Prefix{}}, nil
}

// keep records that a node has a part, or all that overlap where it is of another size.
func (p *pool) keep(part netip.Prefix, node string) error {
	if other, taken := p.owner[part]; taken && other != node {
		return fmt.Errorf("%s is node %s's", part, other)
	}
	p.owner[part.Masked()] = node
	p.parts[node] = part.Masked()
	return nil
}

// take returns the node's part, or the first free one.
func (p *pool) take(node string) (netip.Prefix, error) {
	if part, ok := p.parts[node]; ok {
		return part, nil
	}
	for i := range 1 << (p.size - p.cidr.Bits()) {
		part := nth(p.cidr, p.size, i)
		if p.free(part) {
			return part, p.keep(part, node)
		}
	}
	return netip.Prefix{}, errFull
}

func (p *pool) free(part netip.Prefix) bool {
	if _, taken := p.owner[part]; taken {
		return false
	}
	for other := range p.owner {
		if other.Overlaps(part) {
			return false
		}
	}
	return true
}

func (p *pool) release(node string) {
	maps.DeleteFunc(p.owner, func(_ netip.Prefix, name string) bool { return name == node })
	delete(p.parts, node)
}

// nth is the i-th part of size bits in cidr.
func nth(cidr netip.Prefix, size, i int) netip.Prefix {
	b := cidr.Addr().AsSlice()
	for bit := size - 1; i > 0; bit-- {
		if i&1 == 1 {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		i >>= 1
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, size)
}
