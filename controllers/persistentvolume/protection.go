// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Finalizers that hold claims and volumes while they are in use.
const (
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
)

// claimIndex finds pods by the claims they use (namespace/name).
const claimIndex = "persistentVolumeClaim"

// addClaimIndex adds the index to the pod informer unless it is there.
func addClaimIndex(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[claimIndex]; ok {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{claimIndex: func(obj any) ([]string, error) {
		pod, ok := obj.(*v1.Pod)
		if !ok {
			return nil, nil
		}
		return claimKeys(pod), nil
	}})
	if err != nil {
		return fmt.Errorf("index pods by claim: %w", err)
	}
	return nil
}

// claimKeys are the keys of the claims that a pod uses.
func claimKeys(pod *v1.Pod) (keys []string) {
	for i := range pod.Spec.Volumes {
		switch source := &pod.Spec.Volumes[i]; {
		case source.PersistentVolumeClaim != nil:
			keys = append(keys, pod.Namespace+"/"+source.PersistentVolumeClaim.ClaimName)
		case source.Ephemeral != nil:
			keys = append(keys, pod.Namespace+"/"+ephemeral.VolumeClaimName(pod, source))
		}
	}
	return keys
}

// ClaimProtection keeps claims that a pod uses from being deleted; it is called pvc-protection-controller.
type ClaimProtection struct {
	client kubernetes.Interface
	claims corelisters.PersistentVolumeClaimLister
	pods   cache.Indexer
	synced []cache.InformerSynced
	loop   *loop.Loop
}

// NewClaimProtection returns the controller.
func NewClaimProtection(client kubernetes.Interface, claims coreinformers.PersistentVolumeClaimInformer, pods coreinformers.PodInformer) (*ClaimProtection, error) {
	c := &ClaimProtection{
		client: client, claims: claims.Lister(), pods: pods.Informer().GetIndexer(),
		synced: []cache.InformerSynced{claims.Informer().HasSynced, pods.Informer().HasSynced},
	}
	c.loop = loop.New("pvc-protection", c.sync)
	errIndex := addClaimIndex(pods.Informer())
	_, errClaims := claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
		if pod, ok := loop.Object[*v1.Pod](obj); ok {
			for _, key := range claimKeys(pod) {
				c.loop.Add(key)
			}
		}
	}})
	return c, errors.Join(errIndex, errClaims, errPods)
}

// Run works until ctx ends.
func (c *ClaimProtection) Run(ctx context.Context, workers int) {
	c.loop.Run(ctx, workers, c.synced...)
}

func (c *ClaimProtection) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	claim, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	held := slices.Contains(claim.Finalizers, claimFinalizer)
	if held == (claim.DeletionTimestamp == nil) {
		return nil
	}
	update := claim.DeepCopy()
	if held {
		used, err := c.used(ctx, claim)
		if err != nil || used {
			return err
		}
		update.Finalizers = slices.DeleteFunc(update.Finalizers, func(f string) bool { return f == claimFinalizer })
	} else {
		update.Finalizers = append(update.Finalizers, claimFinalizer)
	}
	_, err = c.client.CoreV1().PersistentVolumeClaims(namespace).Update(ctx, update, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write protection of claim %s: %w", key, err)
	}
	return nil
}

// used reports whether a pod on a node uses the claim. That none does is asked of the API server too, since the cache may be behind.
func (c *ClaimProtection) used(ctx context.Context, claim *v1.PersistentVolumeClaim) (bool, error) {
	objects, err := c.pods.ByIndex(claimIndex, keyOf(claim))
	if err != nil {
		return false, fmt.Errorf("find pods that use claim %s: %w", keyOf(claim), err)
	}
	for _, o := range objects {
		if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName != "" {
			return true, nil
		}
	}
	pods, err := c.client.CoreV1().Pods(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("find pods that use claim %s: %w", keyOf(claim), err)
	}
	return slices.ContainsFunc(pods.Items, func(pod v1.Pod) bool {
		return pod.Spec.NodeName != "" && slices.Contains(claimKeys(&pod), keyOf(claim))
	}), nil
}

// VolumeProtection keeps bound volumes from being deleted; it is called pv-protection-controller.
type VolumeProtection struct {
	client  kubernetes.Interface
	volumes corelisters.PersistentVolumeLister
	synced  []cache.InformerSynced
	loop    *loop.Loop
}

// NewVolumeProtection returns the controller.
func NewVolumeProtection(client kubernetes.Interface, volumes coreinformers.PersistentVolumeInformer) (*VolumeProtection, error) {
	c := &VolumeProtection{client: client, volumes: volumes.Lister(), synced: []cache.InformerSynced{volumes.Informer().HasSynced}}
	c.loop = loop.New("pv-protection", c.sync)
	_, err := volumes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	return c, err
}

// Run works until ctx ends.
func (c *VolumeProtection) Run(ctx context.Context, workers int) {
	c.loop.Run(ctx, workers, c.synced...)
}

func (c *VolumeProtection) sync(ctx context.Context, name string) error {
	pv, err := c.volumes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	held := slices.Contains(pv.Finalizers, volumeFinalizer)
	if held == (pv.DeletionTimestamp == nil) || (held && pv.Status.Phase == v1.VolumeBound) {
		return nil
	}
	update := pv.DeepCopy()
	if held {
		update.Finalizers = slices.DeleteFunc(update.Finalizers, func(f string) bool { return f == volumeFinalizer })
	} else {
		update.Finalizers = append(update.Finalizers, volumeFinalizer)
	}
	_, err = c.client.CoreV1().PersistentVolumes().Update(ctx, update, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write protection of volume %s: %w", name, err)
	}
	return nil
}
