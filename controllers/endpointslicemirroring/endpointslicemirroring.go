// SPDX-License-Identifier: Apache-2.0

// Package endpointslicemirroring copies Endpoints that somebody wrote by hand, for a Service without a selector, to
// EndpointSlices, which is all that proxies and DNS read. A sync costs one pass over the addresses of the Endpoints.
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice/util"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

const (
	// ManagedBy is the value of the label endpointslice.kubernetes.io/managed-by.
	ManagedBy = "endpointslicemirroring-controller.k8s.io"
	// behind is how long Endpoints wait for the cache to show the slices written last.
	behind = 50 * time.Millisecond
	// leaderAnnotation marks Endpoints that old clients use as a lock.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// Controller mirrors Endpoints.
type Controller struct {
	client    kubernetes.Interface
	recorder  record.EventRecorder
	endpoints corelisters.EndpointsLister
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	synced    []cache.InformerSynced
	tracker   *util.EndpointSliceTracker
	loop      *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, endpoints coreinformers.EndpointsInformer, services coreinformers.ServiceInformer, slices discoveryinformers.EndpointSliceInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:    client,
		recorder:  recorder,
		endpoints: endpoints.Lister(),
		services:  services.Lister(),
		slices:    slices.Lister(),
		synced:    []cache.InformerSynced{endpoints.Informer().HasSynced, services.Informer().HasSynced, slices.Informer().HasSynced},
		tracker:   util.NewEndpointSliceTracker(),
	}
	c.loop = loop.New("endpointslicemirroring", c.sync)
	_, errEndpoints := endpoints.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { c.endpointsEvent(obj) },
		UpdateFunc: func(old, cur any) {
			if !c.endpointsEvent(cur) {
				c.endpointsEvent(old)
			}
		},
		DeleteFunc: func(obj any) { c.endpointsEvent(obj) },
	})
	_, errServices := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.serviceEvent,
		UpdateFunc: func(old, cur any) {
			before, ok1 := loop.Object[*corev1.Service](old)
			after, ok2 := loop.Object[*corev1.Service](cur)
			if ok1 && ok2 && (before.Spec.Selector == nil) != (after.Spec.Selector == nil) {
				c.loop.Enqueue(cur)
			}
		},
		DeleteFunc: c.serviceEvent,
	})
	_, errSlices := slices.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.sliceSeen,
		UpdateFunc: c.sliceChanged,
		DeleteFunc: c.sliceGone,
	})
	return c, errors.Join(errEndpoints, errServices, errSlices)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	existing, err := c.slices.EndpointSlices(namespace).List(labels.Set{
		discoveryv1.LabelServiceName: name,
		discoveryv1.LabelManagedBy:   ManagedBy,
	}.AsSelectorPreValidated())
	if err != nil {
		return fmt.Errorf("list endpoint slices of %s: %w", key, err)
	}
	endpoints, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	service, errService := c.services.Services(namespace).Get(name)
	if errService != nil && !apierrors.IsNotFound(errService) {
		return errService
	}
	if err != nil || errService != nil || service.Spec.Selector != nil || !mirrored(endpoints) {
		c.tracker.DeleteService(namespace, name)
		return c.apply(ctx, key, nil, changes{remove: existing})
	}
	if c.tracker.StaleSlices(service, existing) {
		return loop.RetryAfter(behind)
	}
	p := plan(endpoints, existing)
	if p.invalid > 0 {
		c.recorder.Eventf(endpoints, corev1.EventTypeWarning, "InvalidIPAddress",
			"Skipped %d invalid IP addresses when mirroring to EndpointSlices", p.invalid)
	}
	if p.skipped > p.invalid {
		c.recorder.Eventf(endpoints, corev1.EventTypeWarning, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", perSubset, p.skipped)
	}
	return c.apply(ctx, key, endpoints, p)
}

func (c *Controller) apply(ctx context.Context, key string, endpoints *corev1.Endpoints, p changes) error {
	for _, slice := range p.kept {
		c.tracker.Update(slice)
	}
	for _, slice := range p.create {
		if endpoints.DeletionTimestamp != nil {
			break
		}
		created, err := c.client.DiscoveryV1().EndpointSlices(slice.Namespace).Create(ctx, slice, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create endpoint slice of %s: %w", key, err)
		}
		c.tracker.Update(created)
	}
	for _, slice := range p.update {
		updated, err := c.client.DiscoveryV1().EndpointSlices(slice.Namespace).Update(ctx, slice, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("update endpoint slice %s of %s: %w", slice.Name, key, err)
		}
		c.tracker.Update(updated)
	}
	for _, slice := range p.remove {
		err := c.client.DiscoveryV1().EndpointSlices(slice.Namespace).Delete(ctx, slice.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete endpoint slice %s of %s: %w", slice.Name, key, err)
		}
		if endpoints != nil {
			c.tracker.ExpectDeletion(slice)
		}
	}
	return nil
}

// mirrored reports whether Endpoints want to be mirrored.
func mirrored(endpoints *corev1.Endpoints) bool {
	_, isLock := endpoints.Annotations[leaderAnnotation]
	return !isLock && endpoints.Labels[discoveryv1.LabelSkipMirror] != "true"
}

func (c *Controller) endpointsEvent(obj any) bool {
	endpoints, ok := loop.Object[*corev1.Endpoints](obj)
	if !ok || !mirrored(endpoints) {
		return false
	}
	c.loop.Enqueue(endpoints)
	return true
}

func (c *Controller) serviceEvent(obj any) {
	if service, ok := loop.Object[*corev1.Service](obj); ok && service.Spec.Selector == nil {
		c.loop.Enqueue(service)
	}
}

func (c *Controller) sliceSeen(obj any) {
	if slice, ok := loop.Object[*discoveryv1.EndpointSlice](obj); ok && managed(slice) && c.tracker.ShouldSync(slice) {
		c.enqueue(slice)
	}
}

func (c *Controller) sliceChanged(old, cur any) {
	before, ok1 := loop.Object[*discoveryv1.EndpointSlice](old)
	after, ok2 := loop.Object[*discoveryv1.EndpointSlice](cur)
	if !ok1 || !ok2 {
		return
	}
	if managed(before) != managed(after) || before.Labels[discoveryv1.LabelServiceName] != after.Labels[discoveryv1.LabelServiceName] {
		c.enqueue(before)
		c.enqueue(after)
		return
	}
	c.sliceSeen(after)
}

func (c *Controller) sliceGone(obj any) {
	slice, ok := loop.Object[*discoveryv1.EndpointSlice](obj)
	if ok && managed(slice) && c.tracker.Has(slice) && !c.tracker.HandleDeletion(slice) {
		c.enqueue(slice)
	}
}

func (c *Controller) enqueue(slice *discoveryv1.EndpointSlice) {
	if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
		c.loop.Add(slice.Namespace + "/" + name)
	}
}

func managed(slice *discoveryv1.EndpointSlice) bool {
	return slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy
}
