// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// localProvisioner makes volumes out of directories of one node, whose agent removes data and volume in the end.
const localProvisioner = "hivemind.dev/local"

// Validate implements admission.ValidationInterface: a node deletes no volumes but those whose data it holds. This is decided
// here and not in Admit because only now the object that is to be deleted is known.
func (r *Restriction) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, isNode := identity(a.GetUserInfo())
	if !isNode || a.GetOperation() != admission.Delete || a.GetResource().GroupResource() != corev1.Resource("persistentvolumes") {
		return nil
	}
	volume, ok := a.GetOldObject().(*corev1.PersistentVolume)
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetOldObject()))
	}
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != localProvisioner || !pinnedTo(volume, node) {
		return admission.NewForbidden(a, fmt.Errorf("node %q can only delete volumes of provisioner %q whose data it holds", node, localProvisioner))
	}
	return nil
}

// pinnedTo tells whether a volume can be used on that node alone.
func pinnedTo(volume *corev1.PersistentVolume, node string) bool {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return false
	}
	terms := volume.Spec.NodeAffinity.Required.NodeSelectorTerms
	return len(terms) == 1 && slices.ContainsFunc(terms[0].MatchExpressions, func(e corev1.NodeSelectorRequirement) bool {
		return e.Key == corev1.LabelHostname && e.Operator == corev1.NodeSelectorOpIn && slices.Equal(e.Values, []string{node})
	})
}

var _ admission.ValidationInterface = (*Restriction)(nil)
