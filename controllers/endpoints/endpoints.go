// SPDX-License-Identifier: Apache-2.0

// Package endpoints keeps the Endpoints objects of Services with a selector, for clients that do not read EndpointSlices.
//
// A pod event costs one pass over the Services of its namespace, a sync one pass over the pods that it selects and one write
// of the whole object, which is why no more than 1000 addresses are listed, and why a large one that changes all the time is written
// again only after a rest.
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/bylabel"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// behind is how long a Service waits for the cache to show the Endpoints written last.
const behind = 50 * time.Millisecond

// Controller writes Endpoints.
type Controller struct {
	client    kubernetes.Interface
	recorder  record.EventRecorder
	services  corelisters.ServiceLister
	pods      cache.Indexer
	endpoints corelisters.EndpointsLister
	synced    []cache.InformerSynced
	trigger   *util.TriggerTimeTracker
	replaced  versions
	loop      *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, services coreinformers.ServiceInformer, pods coreinformers.PodInformer, endpoints coreinformers.EndpointsInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:    client,
		recorder:  recorder,
		services:  services.Lister(),
		pods:      pods.Informer().GetIndexer(),
		endpoints: endpoints.Lister(),
		synced:    []cache.InformerSynced{services.Informer().HasSynced, pods.Informer().HasSynced, endpoints.Informer().HasSynced},
		trigger:   util.NewTriggerTimeTracker(),
		replaced:  versions{of: map[string]string{}},
	}
	c.loop = loop.New("endpoints", c.sync).Paced()
	errIndex := bylabel.Add(pods.Informer())
	_, errServices := services.Informer().AddEventHandler(c.loop.Handler())
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.podEvent(nil, obj) },
		UpdateFunc: c.podEvent,
		DeleteFunc: func(obj any) { c.podEvent(obj, nil) },
	})
	_, errEndpoints := endpoints.Informer().AddEventHandler(cache.FilteringResourceEventHandler{
		// Those there are at the start may have lost their Service while nobody watched.
		FilterFunc: func(obj any) bool {
			ep, ok := loop.Object[*corev1.Endpoints](obj)
			return ok && ep.Labels[ManagedByLabel] == ManagedBy
		},
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, initial bool) {
				if initial {
					c.loop.Enqueue(obj)
				}
			},
			DeleteFunc: c.loop.Enqueue,
		},
	})
	return c, errors.Join(errIndex, errServices, errPods, errEndpoints)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	service, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return c.remove(ctx, namespace, name)
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
	// Asked even where nothing will be written: the tracker learns from every call.
	since := c.trigger.ComputeEndpointLastChangeTriggerTime(namespace, service, pods)
	current, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		current = nil
	} else if c.replaced.has(key, current.ResourceVersion) {
		return loop.RetryAfter(behind)
	}
	next := plan(service, pods, current, since)
	if next == nil {
		return nil
	}
	return c.write(ctx, service, current, next)
}

func (c *Controller) write(ctx context.Context, service *corev1.Service, current, next *corev1.Endpoints) error {
	api := c.client.CoreV1().Endpoints(service.Namespace)
	if current == nil {
		_, err := api.Create(ctx, next, metav1.CreateOptions{})
		if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if apierrors.IsAlreadyExists(err) {
			return loop.RetryAfter(behind) // made by us a moment ago; the cache has not heard of it
		}
		c.recorder.Eventf(next, corev1.EventTypeWarning, "FailedToCreateEndpoint",
			"Failed to create endpoint for service %v/%v: %v", service.Namespace, service.Name, err)
		return fmt.Errorf("create endpoints %s/%s: %w", service.Namespace, service.Name, err)
	}
	updated, err := api.Update(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return loop.RetryAfter(behind)
	}
	if err != nil {
		c.recorder.Eventf(next, corev1.EventTypeWarning, "FailedToUpdateEndpoint",
			"Failed to update endpoint %v/%v: %v", service.Namespace, service.Name, err)
		return fmt.Errorf("update endpoints %s/%s: %w", service.Namespace, service.Name, err)
	}
	if updated.ResourceVersion != current.ResourceVersion {
		c.replaced.set(service.Namespace+"/"+service.Name, current.ResourceVersion)
	}
	return nil
}

// remove deletes the Endpoints of a Service that is gone.
func (c *Controller) remove(ctx context.Context, namespace, name string) error {
	c.trigger.DeleteService(namespace, name)
	c.replaced.drop(namespace + "/" + name)
	// Not looked up in the cache first: it may not show yet what was created a moment ago.
	err := c.client.CoreV1().Endpoints(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete endpoints %s/%s: %w", namespace, name, err)
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

// versions remembers the resource versions that were replaced, to know a cache that still shows them.
type versions struct {
	mu sync.Mutex
	of map[string]string
}

func (v *versions) has(key, version string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	had, ok := v.of[key]
	return ok && had == version
}

func (v *versions) set(key, version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[key] = version
}

func (v *versions) drop(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.of, key)
}
