// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestNodesDeleteOnlyVolumesTheyHold(t *testing.T) {
	volume := func(provisioner string, nodes ...string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner}},
			Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}}}}}}},
		}
	}
	unpinned := volume(localProvisioner)
	unpinned.Spec.NodeAffinity = nil
	node := &user.DefaultInfo{Name: "system:node:a", Groups: []string{user.NodesGroup}}
	for _, tt := range []struct {
		name   string
		who    user.Info
		volume *corev1.PersistentVolume
		want   bool
	}{
		{"its own", node, volume(localProvisioner, "a"), true},
		{"of another node", node, volume(localProvisioner, "b"), false},
		{"of several nodes", node, volume(localProvisioner, "a", "b"), false},
		{"of another provisioner", node, volume("example.com/disk", "a"), false},
		{"of no node", node, unpinned, false},
		{"somebody who is no node", &user.DefaultInfo{Name: "jane"}, volume("example.com/disk", "b"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := admission.NewAttributesRecord(nil, tt.volume, corev1.SchemeGroupVersion.WithKind("PersistentVolume"), "", "pv",
				corev1.SchemeGroupVersion.WithResource("persistentvolumes"), "", admission.Delete, nil, false, tt.who)
			if err := (&Restriction{}).Validate(t.Context(), a, nil); (err == nil) != tt.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
