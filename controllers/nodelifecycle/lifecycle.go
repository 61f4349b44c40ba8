// SPDX-License-Identifier: Apache-2.0

// Package nodelifecycle watches over nodes. A node that has not been heard of is marked as such, with its pods (Controller); what is wrong with
// a node is repeated as taints, which keep new pods away at once; and pods that do not tolerate a NoExecute taint are
// evicted from it, at once or when their time is over (Evictor).
//
// Health is looked at every few seconds, which costs a lease lookup a node; taints follow each change of a node. Writes happen only where
// something changes.
package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coordinationinformers "k8s.io/client-go/informers/coordination/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Options may be left zero.
type Options struct {
	// Period is how often nodes are looked at. Default 5 s.
	Period time.Duration
	// Grace is how long a node may be silent before it is unknown. Default 50 s.
	Grace time.Duration
	// StartupGrace is the same for a node that has never said anything. Default 1 min.
	StartupGrace time.Duration
	// Clock is for tests.
	Clock clock.WithTicker
}

func (o Options) withDefaults() Options {
	if o.Period == 0 {
		o.Period = 5 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 50 * time.Second
	}
	if o.StartupGrace == 0 {
		o.StartupGrace = time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return o
}

// Controller is the controller kube-controller-manager calls node-lifecycle-controller.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	options  Options
	nodes    corelisters.NodeLister
	leases   coordinationlisters.LeaseLister
	pods     cache.Indexer
	synced   []cache.InformerSynced
	loop     *loop.Loop
	heard    map[string]heard // of the monitor's goroutine alone
}

// New returns the controller.
func New(client kubernetes.Interface, nodes coreinformers.NodeInformer, leases coordinationinformers.LeaseInformer, pods coreinformers.PodInformer,
	recorder record.EventRecorder, options Options) (*Controller, error) {
	c := &Controller{
		client: client, recorder: recorder, options: options.withDefaults(),
		nodes: nodes.Lister(), leases: leases.Lister(), pods: pods.Informer().GetIndexer(),
		synced: []cache.InformerSynced{nodes.Informer().HasSynced, leases.Informer().HasSynced, pods.Informer().HasSynced},
		heard:  map[string]heard{},
	}
	c.loop = loop.New("node-lifecycle", c.sync)
	errIndex := addNodeIndex(pods.Informer())
	_, errNodes := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.enqueueAll() },
		UpdateFunc: c.nodeUpdated,
		DeleteFunc: func(any) { c.enqueueAll() },
	})
	return c, errors.Join(errIndex, errNodes)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.loop.Run(ctx, workers) })
	ticker := c.options.Clock.NewTicker(c.options.Period)
	defer ticker.Stop()
	for {
		c.monitor(ctx)
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
	}
}

// nodeUpdated looks at the node's taints, and at those of all nodes where the number of ready ones has changed.
func (c *Controller) nodeUpdated(old, cur any) {
	was, ok1 := loop.Object[*v1.Node](old)
	is, ok2 := loop.Object[*v1.Node](cur)
	if ok1 && ok2 && readiness(was) != readiness(is) {
		c.enqueueAll()
		return
	}
	c.loop.Enqueue(cur)
}

func (c *Controller) enqueueAll() {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return // a lister over a cache has no errors
	}
	for _, node := range nodes {
		c.loop.Enqueue(node)
	}
}

// monitor looks at the health of every node.
func (c *Controller) monitor(ctx context.Context) {
	logger := klog.FromContext(ctx)
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return // a lister over a cache has no errors
	}
	now := c.options.Clock.Now()
	seen := make(map[string]heard, len(nodes))
	for _, node := range nodes {
		lease, err := c.leases.Leases(v1.NamespaceNodeLease).Get(node.Name)
		if err != nil {
			lease = nil
		}
		last, known := c.heard[node.Name]
		if !known {
			c.nodeEvent(node, "RegisteredNode", fmt.Sprintf("Node %s event: Registered Node %s in Controller", node.Name, node.Name))
		}
		last = last.listen(node, lease, now)
		seen[node.Name] = last
		if err := c.judge(ctx, node, last, now); err != nil && ctx.Err() == nil {
			logger.Error(err, "Node health could not be written", "node", klog.KObj(node))
		}
	}
	for name := range c.heard {
		if _, still := seen[name]; !still {
			gone := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
			c.nodeEvent(gone, "RemovingNode", fmt.Sprintf("Node %s event: Removing Node %s from Controller", name, name))
		}
	}
	c.heard = seen
}

// judge marks a node as unknown that has been silent for too long, and its pods as not ready.
func (c *Controller) judge(ctx context.Context, node *v1.Node, last heard, now time.Time) error {
	grace := c.options.Grace
	if condition(node, v1.NodeReady) == nil {
		grace = c.options.StartupGrace
	}
	before := readiness(node)
	if now.Sub(last.at) > grace {
		if status := silent(node, metav1.NewTime(now)); status != nil {
			updated := node.DeepCopy()
			updated.Status.Conditions = status
			var err error
			if node, err = c.client.CoreV1().Nodes().UpdateStatus(ctx, updated, metav1.UpdateOptions{}); err != nil {
				return fmt.Errorf("mark node %s as unknown: %w", updated.Name, err)
			}
			if before == v1.ConditionTrue {
				c.nodeEvent(node, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", node.Name))
			}
		}
	}
	if readiness(node) != v1.ConditionUnknown {
		return nil
	}
	return c.markPods(ctx, node.Name)
}

// markPods takes the pods of a silent node out of service.
func (c *Controller) markPods(ctx context.Context, node string) error {
	objects, err := c.pods.ByIndex(nodeIndex, node)
	if err != nil {
		return fmt.Errorf("find pods of node %s: %w", node, err)
	}
	var errs []error
	for _, o := range objects {
		pod, ok := o.(*v1.Pod)
		if !ok {
			continue
		}
		status := unready(pod, metav1.NewTime(c.options.Clock.Now()))
		if status == nil {
			continue
		}
		updated := pod.DeepCopy()
		updated.Status.Conditions = status
		_, err := c.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mark pod %s/%s as not ready: %w", pod.Namespace, pod.Name, err))
			continue
		}
		c.recorder.Event(pod, v1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return errors.Join(errs...)
}

// sync brings the taints of a node into line with its conditions.
func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	taints := taintsFor(node, disrupted(node, all), metav1.NewTime(c.options.Clock.Now()))
	if taints == nil {
		return nil
	}
	// With its version, lest a taint that somebody else has added meanwhile be lost.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": taints},
	})
	if err != nil {
		return fmt.Errorf("write taints of node %s: %w", name, err)
	}
	if _, err := c.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("write taints of node %s: %w", name, err)
	}
	return nil
}

func (c *Controller) nodeEvent(node *v1.Node, reason, message string) {
	ref := &v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	c.recorder.Event(ref, v1.EventTypeNormal, reason, message)
}

// nodeIndex finds pods by the node they are on.
const nodeIndex = "nodeLifecycleNodeName"

// addNodeIndex adds the index to the pod informer unless it is there.
func addNodeIndex(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[nodeIndex]; ok {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{nodeIndex: func(obj any) ([]string, error) {
		if pod, ok := obj.(*v1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return fmt.Errorf("index pods by node: %w", err)
	}
	return nil
}
