// SPDX-License-Identifier: Apache-2.0

// Package namespace empties namespaces that are being deleted and then lets them go: pods first, since what they use
// must outlive them, then everything else that discovery names, custom resources included.
//
// A namespace costs one list for each resource served, and a deletion and a second list for each that had content. It is
// looked at again when its pods are gone, or after a wait that grows with what is left.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

const (
	// settle is how long a namespace is left alone after it was marked, until every API server refuses to create in it.
	settle = 500 * time.Millisecond
	// finalizerEstimate is how long finalizers are expected to take.
	finalizerEstimate = 15 * time.Second
	// maxWait is the longest wait until a namespace is looked at again.
	maxWait = 5 * time.Second
)

var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// Controller deletes namespaces.
type Controller struct {
	client     kubernetes.Interface
	metadata   metadata.Interface
	discovery  discovery.ServerResourcesInterface
	namespaces corelisters.NamespaceLister
	pods       corelisters.PodLister
	synced     []cache.InformerSynced
	settle     time.Duration
	now        func() time.Time
	loop       *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, metadata metadata.Interface, discovery discovery.ServerResourcesInterface, namespaces coreinformers.NamespaceInformer, pods coreinformers.PodInformer) (*Controller, error) {
	c := &Controller{
		client:     client,
		metadata:   metadata,
		discovery:  discovery,
		namespaces: namespaces.Lister(),
		pods:       pods.Lister(),
		synced:     []cache.InformerSynced{namespaces.Informer().HasSynced, pods.Informer().HasSynced},
		settle:     settle,
		now:        time.Now,
	}
	c.loop = loop.New("namespace", c.sync)
	leaving := func(obj any) {
		if ns, ok := loop.Object[*corev1.Namespace](obj); ok && ns.DeletionTimestamp != nil {
			c.loop.EnqueueAfter(ns, c.settle)
		}
	}
	_, errNamespaces := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    leaving,
		UpdateFunc: func(_, cur any) { leaving(cur) },
	})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
		if pod, ok := loop.Object[*corev1.Pod](obj); ok {
			if ns, err := c.namespaces.Get(pod.Namespace); err == nil && ns.DeletionTimestamp != nil {
				c.loop.Add(ns.Name)
			}
		}
	}})
	return c, errors.Join(errNamespaces, errPods)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

// sync takes the name of a namespace.
func (c *Controller) sync(ctx context.Context, name string) error {
	if _, err := c.namespaces.Get(name); apierrors.IsNotFound(err) {
		return nil
	}
	ns, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && (ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read namespace %s: %w", name, err)
	}
	if ns.Status.Phase != corev1.NamespaceTerminating {
		ns.Status.Phase = corev1.NamespaceTerminating
		if ns, err = c.client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{}); err != nil {
			return ignoreNotFound(fmt.Errorf("update status of namespace %s: %w", name, err))
		}
	}

	left := c.empty(ctx, ns)
	if setConditions(&ns.Status, left.conditions(), c.now()) {
		if ns, err = c.client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{}); err != nil {
			return ignoreNotFound(fmt.Errorf("update status of namespace %s: %w", name, err))
		}
	}
	if err := errors.Join(left.errs()...); err != nil {
		return fmt.Errorf("delete the content of namespace %s: %w", name, err)
	}
	if left.any() {
		return loop.RetryAfter(min(left.estimate/2+time.Second, maxWait))
	}
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if _, err := c.client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		return ignoreNotFound(fmt.Errorf("finalize namespace %s: %w", name, err))
	}
	return nil
}

// empty deletes what is in the namespace and tells what is left of it.
func (c *Controller) empty(ctx context.Context, ns *corev1.Namespace) *remains {
	left := newRemains()
	lists, err := c.discovery.ServerPreferredNamespacedResources()
	if err != nil {
		left.discovery = err
	}
	resources, err := deletable(lists)
	if err != nil {
		left.parsing = err
	}
	if slices.ContainsFunc(resources, func(r resource) bool { return r.gvr == podsResource }) {
		c.emptyResource(ctx, ns, resource{gvr: podsResource, collection: true, list: true}, left)
		if left.any() || len(left.deletion) > 0 {
			return left
		}
	}
	for _, r := range resources {
		if r.gvr != podsResource {
			c.emptyResource(ctx, ns, r, left)
		}
	}
	return left
}

func (c *Controller) emptyResource(ctx context.Context, ns *corev1.Namespace, r resource, left *remains) {
	api := c.metadata.Resource(r.gvr).Namespace(ns.Name)
	list := func() ([]metav1.PartialObjectMetadata, error) {
		if !r.list {
			return nil, nil
		}
		found, err := api.List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			return nil, nil // served no more, or not to be listed
		}
		if err != nil {
			return nil, err
		}
		return found.Items, nil
	}
	items, err := list()
	if err != nil {
		left.deletion = append(left.deletion, err)
		return
	}
	if len(items) == 0 && r.list {
		return
	}
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if r.collection {
		err = api.DeleteCollection(ctx, options, metav1.ListOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			r.collection, err = false, nil
		}
	}
	if !r.collection {
		for i := range items {
			if err = ignoreNotFound(api.Delete(ctx, items[i].Name, options)); err != nil {
				break
			}
		}
	}
	if err == nil {
		items, err = list()
	}
	if err != nil {
		left.deletion = append(left.deletion, err)
		return
	}
	var estimate time.Duration
	if r.gvr == podsResource {
		estimate = c.grace(ns)
	}
	left.add(r.gvr, items, estimate)
}

// grace is how long the namespace's pods may yet take to stop.
func (c *Controller) grace(ns *corev1.Namespace) time.Duration {
	pods, err := c.pods.Pods(ns.Name).List(labels.Everything())
	if err != nil {
		return 0
	}
	var longest time.Duration
	for _, pod := range pods {
		if grace := pod.Spec.TerminationGracePeriodSeconds; !podstate.Terminal(pod) && grace != nil {
			longest = max(longest, time.Duration(*grace)*time.Second)
		}
	}
	if c.now().Sub(ns.DeletionTimestamp.Time) >= longest {
		return 0
	}
	return longest
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
