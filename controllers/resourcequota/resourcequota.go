// SPDX-License-Identifier: Apache-2.0

// Package resourcequota keeps the status of ResourceQuotas: what is limited and how much of it is used. Admission charges what is
// created; this controller counts anew when a quota changes and when something that it limits is given back. A quota costs
// one pass over the objects of its namespace that it limits; what no quota names is not watched.
package resourcequota

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/pkg/quota"
)

// recount is how often a quota is counted without anything having told to: a pod that should have ended long ago is no longer
// charged, and no event says when that is.
const recount = 5 * time.Minute

// Controller keeps the status of quotas.
type Controller struct {
	client kubernetes.Interface
	quotas corelisters.ResourceQuotaLister
	synced cache.InformerSynced
	loop   *loop.Loop
	watch  *watches

	mu       sync.Mutex
	registry apiquota.Registry
}

// New returns the controller. Resources that have no shared informer are watched by client, as metadata.
func New(client kubernetes.Interface, objects metadata.Interface, shared Informers) (*Controller, error) {
	quotas := shared.Core().V1().ResourceQuotas()
	c := &Controller{client: client, quotas: quotas.Lister(), synced: quotas.Informer().HasSynced}
	c.loop = loop.New("resourcequota", c.sync)
	c.watch = newWatches(client.Discovery(), objects, shared, c.returned)
	c.registry = generic.NewRegistry(quota.Evaluators(c.watch.list))
	_, err := quotas.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.loop.Enqueue,
		UpdateFunc: func(old, cur any) {
			// The status is written with every creation that is charged.
			if before, after := old.(*corev1.ResourceQuota), cur.(*corev1.ResourceQuota); !equality.Semantic.DeepEqual(before.Spec, after.Spec) || dirty(after) {
				c.loop.Enqueue(cur)
			}
		},
	})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	defer c.watch.wait()
	c.loop.Run(ctx, workers, c.synced)
}

// dirty tells whether the status does not yet speak of what the quota limits.
func dirty(q *corev1.ResourceQuota) bool {
	return !equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard)
}

// returned has the quotas counted anew that limit a resource of which something was given back.
func (c *Controller) returned(resource schema.GroupResource, namespace string) {
	evaluator := c.registry.Get(resource)
	quotas, err := c.quotas.ResourceQuotas(namespace).List(labels.Everything())
	if evaluator == nil || err != nil {
		return
	}
	for _, q := range quotas {
		if len(evaluator.MatchingResources(slices.Collect(maps.Keys(q.Spec.Hard)))) > 0 {
			c.loop.Enqueue(q)
		}
	}
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	q, err := c.quotas.ResourceQuotas(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	unserved := c.prepare(ctx, q)
	usage, err := apiquota.CalculateUsage(namespace, q.Spec.Scopes, q.Spec.Hard, c.registry, q.Spec.ScopeSelector)
	if err != nil {
		return fmt.Errorf("count what ResourceQuota %s limits: %w", key, err)
	}
	used := apiquota.Mask(apiquota.Add(q.Status.Used, nil), slices.Collect(maps.Keys(q.Spec.Hard)))
	maps.Copy(used, usage)
	for _, name := range unserved {
		delete(used, name)
	}
	if err := c.write(ctx, q, used); err != nil {
		return err
	}
	return loop.RetryAfter(recount)
}

// prepare makes sure that all that the quota limits can be counted. It returns what is not served.
func (c *Controller) prepare(ctx context.Context, q *corev1.ResourceQuota) (unserved []corev1.ResourceName) {
	names := slices.Collect(maps.Keys(q.Spec.Hard))
	for _, name := range names {
		counted, ok := strings.CutPrefix(string(name), "count/")
		if !ok {
			continue
		}
		resource := schema.ParseGroupResource(counted)
		if !c.watch.ensure(ctx, resource) {
			unserved = append(unserved, name)
			continue
		}
		c.mu.Lock()
		if c.registry.Get(resource) == nil {
			c.registry.Add(quota.Counter(resource, c.watch.list))
		}
		c.mu.Unlock()
	}
	for _, evaluator := range c.registry.List() {
		if len(evaluator.MatchingResources(names)) > 0 {
			c.watch.ensure(ctx, evaluator.GroupResource())
		}
	}
	return unserved
}

func (c *Controller) write(ctx context.Context, q *corev1.ResourceQuota, used corev1.ResourceList) error {
	if !dirty(q) && q.Status.Used != nil && apiquota.Equals(used, q.Status.Used) {
		return nil
	}
	updated := q.DeepCopy()
	updated.Status = corev1.ResourceQuotaStatus{Hard: updated.Spec.Hard, Used: used}
	_, err := c.client.CoreV1().ResourceQuotas(q.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
