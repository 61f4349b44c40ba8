// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ensureClaims makes the claims of a pod that are missing, and gives all of them the owners that the set's retention policy
// asks for, so that the garbage collector deletes them when it should.
func (c *Controller) ensureClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	n, ok := ordinal(set, pod.Name)
	if !ok {
		return nil
	}
	var errs []error
	api := c.client.CoreV1().PersistentVolumeClaims(set.Namespace)
	for _, want := range claimsOf(set, n) {
		claim, err := c.claims.PersistentVolumeClaims(set.Namespace).Get(want.Name)
		switch {
		case apierrors.IsNotFound(err):
			want.OwnerReferences, _ = claimOwners(set, pod, n, want.OwnerReferences)
			if _, err = api.Create(ctx, want, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
				continue // the cache is behind
			}
			if err != nil {
				c.recorder.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %s", want.Name, pod.Name, set.Name, err)
				errs = append(errs, fmt.Errorf("failed to create PVC %s: %w", want.Name, err))
				continue
			}
			c.recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", want.Name, pod.Name, set.Name)
		case err != nil:
			errs = append(errs, fmt.Errorf("failed to retrieve PVC %s: %w", want.Name, err))
		case claim.DeletionTimestamp != nil:
			errs = append(errs, fmt.Errorf("pvc %s is being deleted", want.Name))
		default:
			refs, changed := claimOwners(set, pod, n, claim.OwnerReferences)
			if !changed {
				continue
			}
			claim = claim.DeepCopy()
			claim.OwnerReferences = refs
			if _, err := api.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
				errs = append(errs, fmt.Errorf("could not update claim %s for delete policy ownerRefs: %w", want.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// leavingClaim reports whether a claim of the pod belongs to an earlier pod of that name, and will go as that one did.
func (c *Controller) leavingClaim(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	n, ok := ordinal(set, pod.Name)
	if !ok {
		return false
	}
	for _, want := range claimsOf(set, n) {
		claim, err := c.claims.PersistentVolumeClaims(set.Namespace).Get(want.Name)
		if err == nil && slices.ContainsFunc(claim.OwnerReferences, func(ref metav1.OwnerReference) bool {
			return ref.Kind == "Pod" && ref.Name == pod.Name && ref.UID != pod.UID
		}) {
			return true
		}
	}
	return false
}

// claimOwners returns the owners of a claim by the retention policy, and whether they differ from refs: the set where the
// claim goes with it, the pod where it is scaled away and its claim with it. A claim that somebody else controls is
// left alone.
func claimOwners(set *appsv1.StatefulSet, pod *corev1.Pod, n int, refs []metav1.OwnerReference) ([]metav1.OwnerReference, bool) {
	deleted, scaled := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		deleted, scaled = p.WhenDeleted, p.WhenScaled
	}
	isSet := func(ref metav1.OwnerReference) bool { return ref.UID == set.UID }
	isPod := func(ref metav1.OwnerReference) bool { return pod.UID != "" && ref.UID == pod.UID }
	foreign := slices.ContainsFunc(refs, func(ref metav1.OwnerReference) bool {
		return ref.Controller != nil && *ref.Controller && !isSet(ref) && !isPod(ref)
	})
	if foreign {
		return refs, false
	}
	away := n < first(set) || n >= first(set)+int(*set.Spec.Replicas)
	podOwns := away && scaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType && pod.UID != ""
	setOwns := !podOwns && deleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	if podOwns == slices.ContainsFunc(refs, isPod) && setOwns == slices.ContainsFunc(refs, isSet) {
		return refs, false
	}
	refs = slices.DeleteFunc(slices.Clone(refs), func(ref metav1.OwnerReference) bool { return isSet(ref) || isPod(ref) })
	if setOwns {
		refs = append(refs, *metav1.NewControllerRef(set, kind))
	}
	if podOwns {
		refs = append(refs, *metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod")))
	}
	return refs, true
}
