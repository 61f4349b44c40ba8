// SPDX-License-Identifier: Apache-2.0

// This file holds what a node may do about devices: read the claims of its pods, and publish what it has in slices.

package node

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// NodeOfSlice returns the node whose devices a ResourceSlice has, "" where it is of no single node. It reads the storage:
// no informer is kept for what most clusters have none of.
type NodeOfSlice func(ctx context.Context, name string) (string, error)

// decideSlice leaves the node at creation, which is not known yet, to Restriction.
func (a *Authorizer) decideSlice(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	if attrs.GetSubresource() != "" {
		return false, "cannot authorize ResourceSlice subresources"
	}
	switch attrs.GetVerb() {
	case "create":
		return true, ""
	case "get", "update", "patch", "delete":
		if attrs.GetName() == "" {
			return false, "No Object name found"
		}
		of, err := a.nodeOfSlice(ctx, attrs.GetName())
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return false, fmt.Sprintf("read ResourceSlice %s: %v", attrs.GetName(), err)
		case err != nil || of != node:
			return false, fmt.Sprintf("no relationship found between node '%s' and this object", node)
		}
		return true, ""
	case "watch", "list", "deletecollection":
		// A selector that does not parse selects nothing for certain.
		selector, _ := attrs.GetFieldSelector()
		for _, r := range selector {
			if r.Field == resourcev1.ResourceSliceSelectorNodeName && r.Operator == selection.Equals && r.Value == node {
				return true, ""
			}
		}
		return false, "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return false, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

// admitSlice admits the making and deleting of slices of the node's own devices. A request to delete many is only seen
// here object by object; updates cannot change the node.
func admitSlice(node string, a admission.Attributes) error {
	obj, what := a.GetObject(), "create"
	switch a.GetOperation() {
	case admission.Create:
	case admission.Delete:
		obj, what = a.GetOldObject(), "delete"
	default:
		return nil
	}
	slice, ok := obj.(*resourcev1.ResourceSlice)
	if !ok {
		return fmt.Errorf("unexpected type %T", obj)
	}
	if slice.Spec.NodeName == nil || *slice.Spec.NodeName != node {
		return errors.New("can only " + what + " ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}

// refersToResourceClaim tells whether the pod uses that ResourceClaim of its namespace.
func refersToResourceClaim(pod *corev1.Pod, name string) bool {
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil && extended.ResourceClaimName == name {
		return true
	}
	made := map[string]bool{}
	for i := range pod.Spec.ResourceClaims {
		claim := &pod.Spec.ResourceClaims[i]
		if claim.ResourceClaimName != nil && *claim.ResourceClaimName == name {
			return true
		}
		made[claim.Name] = claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName != nil
	}
	for i := range pod.Status.ResourceClaimStatuses {
		status := &pod.Status.ResourceClaimStatuses[i]
		if made[status.Name] && status.ResourceClaimName != nil && *status.ResourceClaimName == name {
			return true
		}
	}
	return false
}
