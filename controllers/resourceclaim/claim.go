// SPDX-License-Identifier: Apache-2.0

package resourceclaim

import (
	"context"
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// syncClaim takes back what pods that are done had of the claim.
func (c *Controller) syncClaim(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	claim, err := c.claims.ResourceClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read ResourceClaim %s: %w", key, err)
	}
	remaining, err := c.remaining(ctx, claim)
	if err != nil {
		return err
	}
	held := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	switch unused := len(remaining) == 0; {
	case len(remaining) < len(claim.Status.ReservedFor):
		// With its last user, a claim that the scheduler allocated goes back to where it can be allocated anew.
		err = c.release(ctx, claim, remaining, unused && held)
	case unused && held && claim.DeletionTimestamp != nil:
		err = c.release(ctx, claim, remaining, true)
	}
	if err != nil || len(remaining) > 0 {
		return err
	}
	return c.deleteOwned(ctx, claim)
}

// remaining are the reservations that still hold. Those for anything but pods are not judged.
func (c *Controller) remaining(ctx context.Context, claim *resourcev1.ResourceClaim) ([]resourcev1.ResourceClaimConsumerReference, error) {
	remaining := []resourcev1.ResourceClaimConsumerReference{}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.APIGroup == "" && consumer.Resource == "pods" {
			needed, err := c.needed(ctx, claim.Namespace, consumer)
			if err != nil {
				return nil, err
			}
			if !needed {
				continue
			}
		}
		remaining = append(remaining, consumer)
	}
	return remaining, nil
}

// needed tells whether the pod may yet run. The cache may not know it yet, so that it is gone is asked of the server.
func (c *Controller) needed(ctx context.Context, namespace string, consumer resourcev1.ResourceClaimConsumerReference) (bool, error) {
	pod, err := c.pods.Pods(namespace).Get(consumer.Name)
	if err == nil {
		return pod.UID == consumer.UID && !done(pod), nil
	}
	if apierrors.IsNotFound(err) {
		pod, err = c.client.CoreV1().Pods(namespace).Get(ctx, consumer.Name, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read Pod %s/%s, which a claim is reserved for: %w", namespace, consumer.Name, err)
	}
	return pod.UID == consumer.UID, nil
}

// release writes which reservations remain. If the claim is to be deallocated, its allocation goes with them, and then the
// finalizer that held it. The writes fail where anything has changed meanwhile.
func (c *Controller) release(ctx context.Context, claim *resourcev1.ResourceClaim, remaining []resourcev1.ResourceClaimConsumerReference, deallocate bool) error {
	claims := c.client.ResourceV1().ResourceClaims(claim.Namespace)
	claim = claim.DeepCopy()
	changed := len(remaining) < len(claim.Status.ReservedFor) || deallocate && claim.Status.Allocation != nil
	claim.Status.ReservedFor = remaining
	if deallocate {
		claim.Status.Allocation = nil
	}
	if changed {
		updated, err := claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("release ResourceClaim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
		claim = updated
	}
	if claim.Status.Allocation != nil || !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
		return nil
	}
	claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
	if _, err := claims.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("let go of ResourceClaim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// deleteOwned deletes a claim that was made for a pod which is done, as the pod itself may stay for long. Where the pod is gone
// or not known yet, the claim is left to the garbage collector.
func (c *Controller) deleteOwned(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	name, uid := owningPod(claim)
	if name == "" || claim.DeletionTimestamp != nil {
		return nil
	}
	pod, err := c.pods.Pods(claim.Namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Pod %s/%s: %w", claim.Namespace, name, err)
	}
	if pod.UID == uid && !done(pod) {
		return nil
	}
	err = c.client.ResourceV1().ResourceClaims(claim.Namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(claim.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete unused generated claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}
