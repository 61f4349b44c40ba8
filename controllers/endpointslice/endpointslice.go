// SPDX-License-Identifier: Apache-2.0

// Package endpointslice keeps the EndpointSlices of Services with a selector, by the reconciler that Kubernetes itself
// uses (k8s.io/endpointslice).
//
// A pod event costs one pass over the Services of its namespace; a sync costs one pass over the pods that it selects and
// rewrites the slices that changed, of at most 100 endpoints each. Pods that change only in what endpoints do not show cost
// a comparison.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	"k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/bylabel"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

const (
	// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by.
	ManagedBy = "endpointslice-controller.k8s.io"
	// perSlice is how many endpoints a slice holds at most.
	perSlice = 100
	// settle is how long the events of foreign changes to slices are gathered before they are undone.
	settle = time.Second
	// behind is how long a Service waits for the cache to show the slices written last.
	behind = 50 * time.Millisecond
)

// Controller writes EndpointSlices.
type Controller struct {
	recorder   record.EventRecorder
	services   corelisters.ServiceLister
	pods       cache.Indexer
	nodes      corelisters.NodeLister
	slices     discoverylisters.EndpointSliceLister
	synced     []cache.InformerSynced
	tracker    *util.EndpointSliceTracker
	trigger    *util.TriggerTimeTracker
	topology   *topologycache.TopologyCache
	reconciler *endpointslice.Reconciler
	loop       *loop.Loop
	topologies *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, services coreinformers.ServiceInformer, pods coreinformers.PodInformer, nodes coreinformers.NodeInformer, endpointSlices discoveryinformers.EndpointSliceInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		recorder: recorder,
		services: services.Lister(),
		pods:     pods.Informer().GetIndexer(),
		nodes:    nodes.Lister(),
		slices:   endpointSlices.Lister(),
		synced: []cache.InformerSynced{services.Informer().HasSynced, pods.Informer().HasSynced,
			nodes.Informer().HasSynced, endpointSlices.Informer().HasSynced},
		tracker:  util.NewEndpointSliceTracker(),
		trigger:  util.NewTriggerTimeTracker(),
		topology: topologycache.NewTopologyCache(),
	}
	c.reconciler = endpointslice.NewReconciler(client, c.nodes, perSlice, c.tracker, c.topology, recorder, ManagedBy,
		endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	c.loop = loop.New("endpointslice", c.sync).Paced()
	errIndex := bylabel.Add(pods.Informer())
	c.topologies = loop.New("endpointslice-topology", c.syncTopology)

	_, errServices := services.Informer().AddEventHandler(c.loop.Handler())
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.podEvent(nil, obj) },
		UpdateFunc: c.podEvent,
		DeleteFunc: func(obj any) { c.podEvent(obj, nil) },
	})
	_, errSlices := endpointSlices.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.sliceAdded,
		UpdateFunc: c.sliceChanged,
		DeleteFunc: c.sliceGone,
	})
	_, errNodes := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.topologies.Add("nodes") },
		UpdateFunc: c.nodeChanged,
		DeleteFunc: func(any) { c.topologies.Add("nodes") },
	})
	return c, errors.Join(errIndex, errServices, errPods, errSlices, errNodes)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.RunWith(ctx, workers, c.topologies, c.synced...)
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	service, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.trigger.DeleteService(namespace, name)
		c.reconciler.DeleteService(namespace, name)
		c.tracker.DeleteService(namespace, name)
		return nil // the garbage collector takes the slices
	}
	if err != nil {
		return err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return nil
	}
	pods, err := bylabel.Pods(c.pods, namespace, service.Spec.Selector)
	if err != nil {
		return fmt.Errorf("list pods of service %s: %w", key, err)
	}
	existing, err := c.slices.EndpointSlices(namespace).List(labels.Set{
		discoveryv1.LabelServiceName: name,
		discoveryv1.LabelManagedBy:   ManagedBy,
	}.AsSelectorPreValidated())
	if err != nil {
		return fmt.Errorf("list endpoint slices of service %s: %w", key, err)
	}
	existing = slices.DeleteFunc(existing, func(s *discoveryv1.EndpointSlice) bool { return s.DeletionTimestamp != nil })
	if c.tracker.StaleSlices(service, existing) {
		return loop.RetryAfter(behind)
	}
	// Asked even where nothing will be written: the tracker learns from every call.
	since := c.trigger.ComputeEndpointLastChangeTriggerTime(namespace, service, pods)
	if err := c.reconciler.Reconcile(klog.FromContext(ctx), service, pods, existing, since); err != nil {
		c.recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", namespace, name, err)
		return fmt.Errorf("endpoint slices of service %s: %w", key, err)
	}
	return nil
}

// syncTopology hands the nodes to the cache that topology hints are reckoned from.
func (c *Controller) syncTopology(ctx context.Context, _ string) error {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	c.topology.SetNodes(klog.FromContext(ctx), nodes)
	for _, service := range c.topology.GetOverloadedServices() {
		c.loop.Add(service)
	}
	return nil
}

func (c *Controller) podEvent(old, cur any) {
	services, err := util.GetServicesToUpdate(c.services, util.GetPodUpdateProjectionKey(old, cur))
	if err != nil {
		klog.ErrorS(err, "Failed to find the services of a pod")
		return
	}
	for service := range services {
		c.loop.Add(service)
	}
}

// Slices that changed otherwise than by this controller's hand are looked at again.

func (c *Controller) sliceAdded(obj any) {
	if slice, ok := loop.Object[*discoveryv1.EndpointSlice](obj); ok && c.reconciler.ManagedByController(slice) && c.tracker.ShouldSync(slice) {
		c.enqueueService(slice)
	}
}

func (c *Controller) sliceChanged(old, cur any) {
	before, ok1 := loop.Object[*discoveryv1.EndpointSlice](old)
	after, ok2 := loop.Object[*discoveryv1.EndpointSlice](cur)
	if !ok1 || !ok2 {
		return
	}
	if before.Labels[discoveryv1.LabelServiceName] != after.Labels[discoveryv1.LabelServiceName] {
		c.enqueueService(before)
		c.enqueueService(after)
		return
	}
	if c.reconciler.ManagedByChanged(before, after) || (c.reconciler.ManagedByController(after) && c.tracker.ShouldSync(after)) {
		c.enqueueService(after)
	}
}

func (c *Controller) sliceGone(obj any) {
	slice, ok := loop.Object[*discoveryv1.EndpointSlice](obj)
	if ok && c.reconciler.ManagedByController(slice) && c.tracker.Has(slice) && !c.tracker.HandleDeletion(slice) {
		c.enqueueService(slice)
	}
}

func (c *Controller) enqueueService(slice *discoveryv1.EndpointSlice) {
	if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
		c.loop.AddAfter(slice.Namespace+"/"+name, settle)
	}
}

func (c *Controller) nodeChanged(old, cur any) {
	before, ok1 := loop.Object[*corev1.Node](old)
	after, ok2 := loop.Object[*corev1.Node](cur)
	if ok1 && ok2 && (nodeReady(before) != nodeReady(after) || before.Labels[corev1.LabelTopologyZone] != after.Labels[corev1.LabelTopologyZone]) {
		c.topologies.Add("nodes")
	}
}

func nodeReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
