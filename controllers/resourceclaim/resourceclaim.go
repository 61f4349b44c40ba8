// SPDX-License-Identifier: Apache-2.0

// Package resourceclaim makes the claims to devices that pods ask for by a template, reserves what was allocated for pods
// that came to their node past the scheduler, and takes back what pods that are done had: their reservations, the
// allocation of a claim that nobody uses any more, and the claim itself if it was made for the pod.
//
// A pod costs a request for each claim that is made for it and one for its status; a claim one when a pod of it is done. Where
// no pod has claims, nothing is done but to look whether it has.
package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	resourceinformers "k8s.io/client-go/informers/resource/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// fieldManager owns what this controller writes into the status of pods.
const fieldManager = "ResourceClaimController"

// Indexes of pods by claims and templates they name (namespace/name), and of claims by the pod they were made for (UID).
const (
	claimIndex    = "podResourceClaim"
	templateIndex = "podResourceClaimTemplate"
	ownerIndex    = "claimPodOwner"
)

// Controller makes and frees claims.
type Controller struct {
	client    kubernetes.Interface
	pods      corelisters.PodLister
	claims    resourcelisters.ResourceClaimLister
	templates resourcelisters.ResourceClaimTemplateLister
	recorder  record.EventRecorder

	podIndexer, claimIndexer cache.Indexer
	synced                   []cache.InformerSynced
	podLoop, claimLoop       *loop.Loop
	made                     made
}

// New returns the controller.
func New(client kubernetes.Interface, pods coreinformers.PodInformer, claims resourceinformers.ResourceClaimInformer,
	templates resourceinformers.ResourceClaimTemplateInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client: client, pods: pods.Lister(), claims: claims.Lister(), templates: templates.Lister(), recorder: recorder,
		podIndexer: pods.Informer().GetIndexer(), claimIndexer: claims.Informer().GetIndexer(),
		synced: []cache.InformerSynced{pods.Informer().HasSynced, claims.Informer().HasSynced, templates.Informer().HasSynced},
	}
	c.podLoop, c.claimLoop = loop.New("resourceclaim", c.syncPod), loop.New("resourceclaim", c.syncClaim)
	errPodIndex := pods.Informer().AddIndexers(cache.Indexers{claimIndex: indexed(claimKeys), templateIndex: indexed(templateKeys)})
	errClaimIndex := claims.Informer().AddIndexers(cache.Indexers{ownerIndex: indexed(func(claim *resourcev1.ResourceClaim) []string {
		if _, uid := owningPod(claim); uid != "" {
			return []string{string(uid)}
		}
		return nil
	})})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.podChanged,
		UpdateFunc: func(_, cur any) { c.podChanged(cur) },
		DeleteFunc: c.podDeleted,
	})
	_, errClaims := claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.claimChanged,
		UpdateFunc: func(_, cur any) { c.claimChanged(cur) },
		DeleteFunc: c.claimDeleted,
	})
	_, errTemplates := templates.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		c.podsChanged(templateIndex, obj)
	}})
	return c, errors.Join(errPodIndex, errClaimIndex, errPods, errClaims, errTemplates)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	wg.Go(func() { c.claimLoop.Run(ctx, workers, c.synced...) })
	c.podLoop.Run(ctx, workers, c.synced...)
	wg.Wait()
}

func (c *Controller) podChanged(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !hasClaims(pod) {
		return
	}
	if done(pod) {
		c.freeClaims(pod)
	} else if pod.DeletionTimestamp == nil {
		c.podLoop.Enqueue(pod)
	}
}

func (c *Controller) podDeleted(obj any) {
	if pod, ok := loop.Object[*corev1.Pod](obj); ok && hasClaims(pod) {
		c.made.forgetPod(pod.UID)
		c.freeClaims(pod)
	}
}

// freeClaims has the claims of a pod that is done looked at.
func (c *Controller) freeClaims(pod *corev1.Pod) {
	for _, key := range claimKeys(pod) {
		c.claimLoop.Add(key)
	}
}

func (c *Controller) claimChanged(obj any) {
	c.claimLoop.Enqueue(obj)
	c.podsChanged(claimIndex, obj)
}

func (c *Controller) claimDeleted(obj any) {
	if claim, ok := loop.Object[*resourcev1.ResourceClaim](obj); ok {
		_, uid := owningPod(claim)
		c.made.forgetClaim(uid, claim.Name)
		c.podsChanged(claimIndex, claim)
	}
}

// podsChanged looks at the pods that name obj.
func (c *Controller) podsChanged(index string, obj any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return // no object of the API
	}
	// The only error is an index that does not exist, and New saw to it.
	pods, _ := c.podIndexer.ByIndex(index, key)
	for _, pod := range pods {
		c.podChanged(pod)
	}
}

func indexed[T any](keys func(T) []string) cache.IndexFunc {
	return func(obj any) ([]string, error) {
		t, ok := obj.(T)
		if !ok {
			return nil, fmt.Errorf("unexpected type %T", obj)
		}
		return keys(t), nil
	}
}
