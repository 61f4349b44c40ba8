// SPDX-License-Identifier: Apache-2.0

package resourceclaim

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"
)

// syncPod makes the claims that the pod lacks, tells in its status what they are called, and reserves what it runs with.
func (c *Controller) syncPod(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := c.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Pod %s: %w", key, err)
	}
	if pod.DeletionTimestamp != nil || done(pod) {
		return nil
	}
	claims := make([]string, len(pod.Spec.ResourceClaims))
	news := false
	for i := range pod.Spec.ResourceClaims {
		claim := &pod.Spec.ResourceClaims[i]
		is, settled := named(pod, claim)
		if claims[i] = is; settled {
			continue
		}
		if claims[i], err = c.provide(ctx, pod, claim, is); err != nil {
			c.recorder.Event(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", fmt.Sprintf("PodResourceClaim %s: %v", claim.Name, err))
			return fmt.Errorf("pod %s, PodResourceClaim %s: %w", key, claim.Name, err)
		}
		news = news || claims[i] != is
	}
	if news {
		if err := c.tell(ctx, pod, claims); err != nil {
			return fmt.Errorf("update pod %s ResourceClaimStatuses: %w", key, err)
		}
	}
	if pod.Spec.NodeName == "" {
		return nil // the scheduler reserves
	}
	for i := range claims {
		if err := c.reserve(ctx, pod, claims[i]); err != nil {
			return err
		}
	}
	return nil
}

// provide returns the name of the claim that the template of the pod's claim asks for, and makes it unless it is there.
// is is its name in the status, "" for none.
func (c *Controller) provide(ctx context.Context, pod *corev1.Pod, claim *corev1.PodResourceClaim, is string) (string, error) {
	if is != "" {
		there, err := c.claims.ResourceClaims(pod.Namespace).Get(is)
		if err != nil && !apierrors.IsNotFound(err) {
			return "", err
		}
		if err == nil && metav1.IsControlledBy(there, pod) {
			c.made.forgetClaim(pod.UID, is)
			return is, nil
		}
	}
	if claim.ResourceClaimTemplateName == nil {
		return "", nil
	}
	// What was made and could not be told of, now or in the life of a server before.
	if name := c.made.claim(pod.UID, claim.Name); name != "" {
		return name, nil
	}
	owned, err := c.claimIndexer.ByIndex(ownerIndex, string(pod.UID))
	if err != nil {
		return "", err
	}
	for _, obj := range owned {
		if there, ok := obj.(*resourcev1.ResourceClaim); ok && there.Annotations[resourcev1.PodResourceClaimAnnotation] == claim.Name {
			return there.Name, nil
		}
	}
	template, err := c.templates.ResourceClaimTemplates(pod.Namespace).Get(*claim.ResourceClaimTemplateName)
	if err != nil {
		return "", fmt.Errorf("resource claim template %q: %w", *claim.ResourceClaimTemplateName, err)
	}
	created, err := c.client.ResourceV1().ResourceClaims(pod.Namespace).Create(ctx, claimOf(pod, claim.Name, template), metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create ResourceClaim: %w", err)
	}
	c.made.remember(pod.UID, claim.Name, created.Name)
	return created.Name, nil
}

// tell writes the names of all claims that were made for the pod into its status.
func (c *Controller) tell(ctx context.Context, pod *corev1.Pod, claims []string) error {
	status := corev1apply.PodStatus()
	for i := range claims {
		if claim := &pod.Spec.ResourceClaims[i]; claim.ResourceClaimTemplateName != nil && claims[i] != "" {
			status.WithResourceClaimStatuses(corev1apply.PodResourceClaimStatus().WithName(claim.Name).WithResourceClaimName(claims[i]))
		}
	}
	config := corev1apply.Pod(pod.Name, pod.Namespace).WithUID(pod.UID).WithStatus(status)
	_, err := c.client.CoreV1().Pods(pod.Namespace).ApplyStatus(ctx, config, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// reserve has the claim reserved for a pod that is on a node, if it is allocated. One that was made for another pod is left.
func (c *Controller) reserve(ctx context.Context, pod *corev1.Pod, name string) error {
	if name == "" {
		return nil
	}
	claim, err := c.claims.ResourceClaims(pod.Namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil // its arrival tells
	}
	if err != nil {
		return fmt.Errorf("read ResourceClaim %s/%s: %w", pod.Namespace, name, err)
	}
	if _, owner := owningPod(claim); owner != "" && owner != pod.UID || claim.Status.Allocation == nil || reservedFor(claim, pod) {
		return nil
	}
	claim = claim.DeepCopy()
	claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	if _, err := c.client.ResourceV1().ResourceClaims(pod.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("reserve claim %s/%s: %w", pod.Namespace, name, err)
	}
	return nil
}
