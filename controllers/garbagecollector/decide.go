// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// owners are an object's owners by what has become of them.
type owners struct {
	solid    []types.UID // exist
	dangling []types.UID // do not exist
	waiting  []types.UID // are being deleted and wait for this object to go first
	// misplaced says that an owner is named that this object cannot have.
	misplaced bool
}

// decision is what is done to an object: owner references are dropped or no longer block, then it is deleted by the
// policy remove, if that is set.
type decision struct {
	drop    []types.UID
	unblock bool
	remove  metav1.DeletionPropagation
}

// decide says what follows for obj from its owners. hasDependents says that it is an owner itself, circular that one of
// its dependents waits for its own dependents, so that the two might wait for each other.
func decide(obj metav1.Object, of owners, hasDependents, circular bool) decision {
	switch {
	case of.misplaced:
		return decision{}
	case len(of.solid) > 0:
		// A waiting owner must not wait for what somebody else keeps.
		return decision{drop: append(slices.Clone(of.dangling), of.waiting...)}
	case len(of.waiting) > 0 && hasDependents:
		return decision{unblock: circular, remove: metav1.DeletePropagationForeground}
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return decision{remove: metav1.DeletePropagationOrphan}
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return decision{remove: metav1.DeletePropagationForeground}
	case len(of.waiting)+len(of.dangling) > 0:
		return decision{remove: metav1.DeletePropagationBackground}
	}
	return decision{}
}
