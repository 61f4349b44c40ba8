// SPDX-License-Identifier: Apache-2.0

// This file holds what is decided from objects alone.

package resourceclaim

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

func hasClaims(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

// done tells that the pod will not run any more, and so needs no claim.
func done(pod *corev1.Pod) bool {
	return podstate.Terminal(pod) || pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

// named returns the name of the claim that the pod has by that name, "" where there is none. settled tells that there will
// be none but this.
func named(pod *corev1.Pod, claim *corev1.PodResourceClaim) (name string, settled bool) {
	if claim.ResourceClaimName != nil {
		return *claim.ResourceClaimName, true
	}
	for _, status := range pod.Status.ResourceClaimStatuses {
		if status.Name != claim.Name {
			continue
		}
		if status.ResourceClaimName == nil {
			return "", true
		}
		return *status.ResourceClaimName, false
	}
	return "", false
}

// claimKeys are the claims of a pod, those among them that the scheduler made for its extended resources.
func claimKeys(pod *corev1.Pod) []string {
	var keys []string
	for i := range pod.Spec.ResourceClaims {
		if name, _ := named(pod, &pod.Spec.ResourceClaims[i]); name != "" {
			keys = append(keys, pod.Namespace+"/"+name)
		}
	}
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil && extended.ResourceClaimName != "" {
		keys = append(keys, pod.Namespace+"/"+extended.ResourceClaimName)
	}
	return keys
}

func templateKeys(pod *corev1.Pod) []string {
	var keys []string
	for i := range pod.Spec.ResourceClaims {
		if name := pod.Spec.ResourceClaims[i].ResourceClaimTemplateName; name != nil {
			keys = append(keys, pod.Namespace+"/"+*name)
		}
	}
	return keys
}

// owningPod is the pod that the claim was made for, empty where it was made by a user.
func owningPod(claim *resourcev1.ResourceClaim) (string, types.UID) {
	owner := metav1.GetControllerOfNoCopy(claim)
	if owner == nil || owner.APIVersion != "v1" || owner.Kind != "Pod" {
		return "", ""
	}
	return owner.Name, owner.UID
}

// claimOf is the claim that the template describes, made for the pod.
func claimOf(pod *corev1.Pod, name string, template *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := maps.Clone(template.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = name
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: generateName(pod.Name, name),
			Labels: maps.Clone(template.Spec.Labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: new(true)}},
		},
		Spec: *template.Spec.Spec.DeepCopy(),
	}
}

// generateName is what the name of a claim begins with: the pod's name and its own, each shortened in proportion where both
// are too long for a label.
func generateName(pod, claim string) string {
	const longest = 63 - 6 // a dash and five random characters
	base := pod + "-" + claim + "-"
	if n := len(base); n > longest {
		return pod[:len(pod)*longest/n] + "-" + claim[:len(claim)*longest/n]
	}
	return base
}

func reservedFor(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
}
