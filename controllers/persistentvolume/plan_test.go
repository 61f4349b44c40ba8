// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

type claimOption func(*v1.PersistentVolumeClaim)

func newClaim(name, class string, options ...claimOption) *v1.PersistentVolumeClaim {
	c := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Annotations: map[string]string{}}}
	c.Spec.StorageClassName = &class
	c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	c.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
	for _, o := range options {
		o(c)
	}
	return c
}

func annotated(key, value string) claimOption {
	return func(c *v1.PersistentVolumeClaim) { c.Annotations[key] = value }
}
func asking(pv string) claimOption {
	return func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName = pv }
}

func boundTo(pv string) claimOption {
	return func(c *v1.PersistentVolumeClaim) {
		c.Spec.VolumeName = pv
		c.Annotations[volume.AnnBindCompleted] = "yes"
	}
}

type volumeOption func(*v1.PersistentVolume)

func newVolume(name, class, size string, options ...volumeOption) *v1.PersistentVolume {
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	pv.Spec.StorageClassName = class
	pv.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	pv.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)}
	pv.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
	pv.Status.Phase = v1.VolumeAvailable
	for _, o := range options {
		o(pv)
	}
	return pv
}

func claimedBy(name string, uid types.UID) volumeOption {
	return func(pv *v1.PersistentVolume) {
		pv.Spec.ClaimRef = &v1.ObjectReference{Namespace: "default", Name: name, UID: uid}
	}
}

func reclaim(policy v1.PersistentVolumeReclaimPolicy) volumeOption {
	return func(pv *v1.PersistentVolume) { pv.Spec.PersistentVolumeReclaimPolicy = policy }
}

func provisioned(pv *v1.PersistentVolume) {
	pv.Annotations[volume.AnnDynamicallyProvisioned] = LocalProvisioner
}

func newClass(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func TestPlanClaim(t *testing.T) {
	waits, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	local, external := newClass("local", LocalProvisioner, waits), newClass("csi", "csi.example.com", now)
	usual := newClass("usual", "csi.example.com", now)
	usual.Annotations = map[string]string{annDefaultClass: "true"}
	older := newClass("a-older", "csi.example.com", now)
	older.Annotations = usual.Annotations
	older.CreationTimestamp = metav1.NewTime(time.Unix(1, 0))
	usual.CreationTimestamp = metav1.NewTime(time.Unix(2, 0))
	small, large := newVolume("small", "hand", "1Gi"), newVolume("large", "hand", "5Gi")
	external1 := "Waiting for a volume to be created either by the external provisioner 'csi.example.com' or manually by the system administrator. " +
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered."
	for _, test := range []struct {
		name  string
		claim *v1.PersistentVolumeClaim
		world world
		want  claimPlan
	}{
		{"the smallest that will do", newClaim("c", "hand"), world{volumes: []*v1.PersistentVolume{large, small}}, claimPlan{bind: small}},
		{"other class", newClaim("c", "other"), world{volumes: []*v1.PersistentVolume{small}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Warning", "ProvisioningFailed", `storageclass.storage.k8s.io "other" not found`}}},
		{"other access mode", newClaim("c", "", func(c *v1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
		}),
			world{volumes: []*v1.PersistentVolume{newVolume("pv", "", "1Gi")}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"}}},
		{"taken by another", newClaim("c", ""), world{volumes: []*v1.PersistentVolume{newVolume("pv", "", "1Gi", claimedBy("other", "other"))}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"}}},
		{"waits for a pod", newClaim("c", "local"), world{classes: []*storagev1.StorageClass{local}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"}}},
		{"waits for two pods to be placed", newClaim("c", "local"), world{classes: []*storagev1.StorageClass{local}, waiting: []string{"p", "q"}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "WaitForPodScheduled", "waiting for pods p,q to be scheduled"}}},
		{"waits, though a volume is free", newClaim("c", "local"), world{classes: []*storagev1.StorageClass{local}, volumes: []*v1.PersistentVolume{newVolume("pv", "local", "1Gi")}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"}}},
		{"its pod is placed", newClaim("c", "local", annotated(volume.AnnSelectedNode, "n")), world{classes: []*storagev1.StorageClass{local}},
			claimPlan{phase: v1.ClaimPending, provision: local}},
		{"the scheduler has chosen a volume", newClaim("c", "local"),
			world{classes: []*storagev1.StorageClass{local}, volumes: []*v1.PersistentVolume{newVolume("pv", "local", "1Gi", claimedBy("c", "c"))}},
			claimPlan{bind: newVolume("pv", "local", "1Gi", claimedBy("c", "c"))}},
		{"external provisioner", newClaim("c", "csi"), world{classes: []*storagev1.StorageClass{external}},
			claimPlan{phase: v1.ClaimPending, provision: external, event: &event{"Normal", "ExternalProvisioning", external1}}},
		{"by hand only", newClaim("c", "hand"), world{classes: []*storagev1.StorageClass{newClass("hand", noProvisioner, now)}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Warning", "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"}}},
		{"the youngest default class", newClaim("c", "", func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }),
			world{classes: []*storagev1.StorageClass{older, usual}}, claimPlan{class: "usual"}},
		{"no class on purpose", newClaim("c", ""), world{classes: []*storagev1.StorageClass{usual}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"}}},

		{"asks for one that is not there", newClaim("c", "", asking("pv")), world{}, claimPlan{phase: v1.ClaimPending}},
		{"asks for a free one", newClaim("c", "hand", asking("small")), world{volumes: []*v1.PersistentVolume{small}}, claimPlan{bind: small}},
		{"asks for one that is too small", newClaim("c", "hand", asking("tiny")), world{volumes: []*v1.PersistentVolume{newVolume("tiny", "hand", "1Mi")}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Warning", "VolumeMismatch", `Cannot bind to requested volume "tiny": requested PV is too small`}}},
		{"asks for one of another class", newClaim("c", "fast", asking("small")), world{volumes: []*v1.PersistentVolume{small}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Warning", "VolumeMismatch", `Cannot bind to requested volume "small": storageClassName does not match`}}},
		{"asks for one reserved for it", newClaim("c", "hand", asking("pv")), world{volumes: []*v1.PersistentVolume{newVolume("pv", "hand", "1Gi", claimedBy("c", ""))}},
			claimPlan{bind: newVolume("pv", "hand", "1Gi", claimedBy("c", ""))}},
		{"asks for another's", newClaim("c", "hand", asking("pv")), world{volumes: []*v1.PersistentVolume{newVolume("pv", "hand", "1Gi", claimedBy("d", "d"))}},
			claimPlan{phase: v1.ClaimPending, event: &event{"Warning", "FailedBinding", `volume "pv" already bound to a different claim.`}}},

		{"bound, all well", newClaim("c", "hand", boundTo("pv")), world{volumes: []*v1.PersistentVolume{newVolume("pv", "hand", "1Gi", claimedBy("c", "c"))}},
			claimPlan{bind: newVolume("pv", "hand", "1Gi", claimedBy("c", "c"))}},
		{"bound, volume gone", newClaim("c", "hand", boundTo("pv")), world{},
			claimPlan{phase: v1.ClaimLost, event: &event{"Warning", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"}}},
		{"bound, said once that it is gone", newClaim("c", "hand", boundTo("pv"), func(c *v1.PersistentVolumeClaim) { c.Status.Phase = v1.ClaimLost }), world{},
			claimPlan{phase: v1.ClaimLost}},
		{"bound, volume is another's", newClaim("c", "hand", boundTo("pv")), world{volumes: []*v1.PersistentVolume{newVolume("pv", "hand", "1Gi", claimedBy("d", "d"))}},
			claimPlan{phase: v1.ClaimLost, event: &event{"Warning", "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := planClaim(test.claim, test.world)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(claimPlan{}, event{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanVolume(t *testing.T) {
	byController := func(pv *v1.PersistentVolume) { pv.Annotations[volume.AnnBoundByController] = "yes" }
	for _, test := range []struct {
		name  string
		pv    *v1.PersistentVolume
		claim *v1.PersistentVolumeClaim
		want  volumePlan
	}{
		{"free", newVolume("pv", "", "1Gi"), nil, volumePlan{phase: v1.VolumeAvailable}},
		{"reserved", newVolume("pv", "", "1Gi", claimedBy("c", "")), nil, volumePlan{phase: v1.VolumeAvailable}},
		{"bound", newVolume("pv", "", "1Gi", claimedBy("c", "c")), newClaim("c", "", boundTo("pv")), volumePlan{phase: v1.VolumeBound}},
		{"made for a claim that does not know yet", newVolume("pv", "", "1Gi", claimedBy("c", "c")), newClaim("c", ""), volumePlan{syncClaim: true}},
		{"claim gone, kept", newVolume("pv", "", "1Gi", claimedBy("c", "c")), nil, volumePlan{phase: v1.VolumeReleased}},
		{"claim gone, to be deleted by its provisioner", newVolume("pv", "", "1Gi", claimedBy("c", "c"), reclaim(v1.PersistentVolumeReclaimDelete), provisioned), nil,
			volumePlan{phase: v1.VolumeReleased}},
		{"claim gone, to be deleted by nobody", newVolume("pv", "", "1Gi", claimedBy("c", "c"), reclaim(v1.PersistentVolumeReclaimDelete)), nil,
			volumePlan{phase: v1.VolumeFailed, event: &event{"Warning", "VolumeFailedDelete", `error getting deleter volume plugin for volume "pv": no deletable volume plugin matched`}}},
		{"claim gone, to be recycled", newVolume("pv", "", "1Gi", claimedBy("c", "c"), reclaim(v1.PersistentVolumeReclaimRecycle)), nil,
			volumePlan{phase: v1.VolumeFailed, event: &event{"Warning", "VolumeFailedRecycle", "No recycler plugin found for the volume!"}}},
		{"failed stays failed", newVolume("pv", "", "1Gi", claimedBy("c", "c"), func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeFailed }), nil, volumePlan{}},
		{"claim has another, made for it", newVolume("pv", "", "1Gi", claimedBy("c", "c"), reclaim(v1.PersistentVolumeReclaimDelete), provisioned), newClaim("c", "", boundTo("other")),
			volumePlan{phase: v1.VolumeReleased}},
		{"claim has another, bound by the controller", newVolume("pv", "", "1Gi", claimedBy("c", "c"), byController), newClaim("c", "", boundTo("other")),
			volumePlan{unbind: true, phase: v1.VolumeAvailable}},
		{"other mode", newVolume("pv", "", "1Gi", claimedBy("c", "c"), func(pv *v1.PersistentVolume) { pv.Spec.VolumeMode = ptr.To(v1.PersistentVolumeBlock) }), newClaim("c", ""),
			volumePlan{event: &event{"Warning", "VolumeMismatch", `Cannot bind PersistentVolume to requested PersistentVolumeClaim "c" due to incompatible volumeMode.`},
				claimEvent: &event{"Warning", "VolumeMismatch", `Cannot bind PersistentVolume "pv" to requested PersistentVolumeClaim due to incompatible volumeMode.`}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, planVolume(test.pv, test.claim), cmp.AllowUnexported(volumePlan{}, event{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
