// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"context"
	"fmt"
	"path"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/reference"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// LocalProvisioner is the provisioner of storage classes whose volumes are directories on the node that the first pod runs on.
// The directory is made when the volume is first mounted, and removed by the node's agent once the volume is released.
const LocalProvisioner = "hivemind.dev/local"

// provision makes the volume for a claim of a local class. Nothing has to be made but the object.
func (b *Binder) provision(ctx context.Context, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	name := "pvc-" + string(claim.UID)
	if _, err := b.volumes.Get(name); err == nil {
		return nil // its own sync will have the claim bound
	}
	failed := func(err error) {
		b.recorder.Event(claim, v1.EventTypeWarning, "ProvisioningFailed",
			fmt.Sprintf("Failed to provision volume with StorageClass %q: %v", class.Name, err))
	}
	selected := claim.Annotations[volume.AnnSelectedNode]
	if selected == "" {
		failed(fmt.Errorf("a local volume needs to know its node: use a StorageClass with volumeBindingMode %s", storagev1.VolumeBindingWaitForFirstConsumer))
		return nil
	}
	node, err := b.nodes.Get(selected)
	if apierrors.IsNotFound(err) {
		failed(fmt.Errorf("node %q not found", selected))
		return b.reschedule(ctx, claim)
	}
	if err != nil {
		return fmt.Errorf("provision volume for claim %s: %w", keyOf(claim), err)
	}
	pv, err := localVolume(name, path.Join(b.dir, name), claim, class, node)
	if err != nil {
		failed(err)
		return b.reschedule(ctx, claim)
	}
	_, err = b.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("provision volume %s for claim %s: %w", name, keyOf(claim), err)
	}
	b.recorder.Event(claim, v1.EventTypeNormal, "ProvisioningSucceeded", fmt.Sprintf("Successfully provisioned volume %s using %s", name, LocalProvisioner))
	return nil
}

// reschedule has the scheduler choose a node anew.
func (b *Binder) reschedule(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	update := claim.DeepCopy()
	delete(update.Annotations, volume.AnnSelectedNode)
	if _, err := b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, update, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("have claim %s rescheduled: %w", keyOf(claim), err)
	}
	return nil
}

// localVolume describes a directory on node as a volume that belongs to claim, or says why it cannot be.
func localVolume(name, dir string, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, node *v1.Node) (*v1.PersistentVolume, error) {
	if ptr.Deref(claim.Spec.VolumeMode, v1.PersistentVolumeFilesystem) != v1.PersistentVolumeFilesystem {
		return nil, fmt.Errorf("%s does not support block volume provisioning", LocalProvisioner)
	}
	if claim.Spec.Selector != nil {
		return nil, fmt.Errorf("claim.Spec.Selector is not supported for dynamic provisioning on %s", LocalProvisioner)
	}
	if len(class.MountOptions) > 0 {
		return nil, fmt.Errorf("mount options are not supported by %s but StorageClass %q has mount options %v", LocalProvisioner, class.Name, class.MountOptions)
	}
	ref, err := reference.GetReference(scheme.Scheme, claim)
	if err != nil {
		return nil, fmt.Errorf("refer to claim %s: %w", keyOf(claim), err)
	}
	host := node.Labels[v1.LabelHostname]
	if host == "" {
		host = node.Name
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Annotations: map[string]string{
				volume.AnnDynamicallyProvisioned: LocalProvisioner,
				volume.AnnBoundByController:      "yes",
			},
		},
		Spec: v1.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			ClaimRef:                      ref,
			StorageClassName:              class.Name,
			VolumeAttributesClassName:     claim.Spec.VolumeAttributesClassName,
			PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, v1.PersistentVolumeReclaimDelete),
			VolumeMode:                    ptr.To(v1.PersistentVolumeFilesystem),
			PersistentVolumeSource: v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{
				Path: dir, Type: ptr.To(v1.HostPathDirectoryOrCreate),
			}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{host}}},
			}}}},
		},
	}, nil
}
