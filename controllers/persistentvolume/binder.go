// SPDX-License-Identifier: Apache-2.0

// Package persistentvolume binds claims to volumes, asks for volumes where none fits, makes those of Hivemind's own provisioner, and
// keeps claims and volumes that are in use from being deleted.
//
//   - Binder decides for each claim (claim.go) and each volume (volume.go) by pure functions, and writes what they say.
//   - local.go makes the volumes of provisioner hivemind.dev/local; the node agent removes their data.
//   - protection.go holds the finalizers.
//
// A change of a claim costs a look at all volumes, a change of a volume a look at all unbound claims. Both sides of a binding name each
// other: the volume is written first, so that of two claims that want it one is refused by the API server.
package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/volume"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Binder is the controller kube-controller-manager calls persistent-volume-binder.
type Binder struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	dir      string
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	classes  storagelisters.StorageClassLister
	nodes    corelisters.NodeLister
	pods     cache.Indexer
	synced   []cache.InformerSynced
	loop     *loop.Loop
}

// NewBinder returns the controller. dir is where on every node the data of local volumes lives.
func NewBinder(client kubernetes.Interface, claims coreinformers.PersistentVolumeClaimInformer, volumes coreinformers.PersistentVolumeInformer,
	classes storageinformers.StorageClassInformer, nodes coreinformers.NodeInformer, pods coreinformers.PodInformer,
	recorder record.EventRecorder, dir string) (*Binder, error) {
	b := &Binder{
		client: client, recorder: recorder, dir: dir,
		claims: claims.Lister(), volumes: volumes.Lister(), classes: classes.Lister(), nodes: nodes.Lister(),
		pods: pods.Informer().GetIndexer(),
		synced: []cache.InformerSynced{claims.Informer().HasSynced, volumes.Informer().HasSynced, classes.Informer().HasSynced,
			nodes.Informer().HasSynced, pods.Informer().HasSynced},
	}
	// One loop for both kinds: the key of a claim has a namespace, that of a volume has none.
	b.loop = loop.New("persistent-volume-binder", b.sync)
	errIndex := addClaimIndex(pods.Informer())
	_, errClaims := claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    b.loop.Enqueue,
		UpdateFunc: func(_, cur any) { b.loop.Enqueue(cur) },
		DeleteFunc: func(obj any) {
			if claim, ok := loop.Object[*v1.PersistentVolumeClaim](obj); ok && claim.Spec.VolumeName != "" {
				b.loop.Add(claim.Spec.VolumeName)
			}
		},
	})
	_, errVolumes := volumes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    b.volumeChanged,
		UpdateFunc: func(_, cur any) { b.volumeChanged(cur) },
		DeleteFunc: func(obj any) {
			if pv, ok := loop.Object[*v1.PersistentVolume](obj); ok && pv.Spec.ClaimRef != nil {
				b.loop.Add(pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name)
			}
		},
	})
	_, errClasses := classes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { b.enqueueUnbound() },
		UpdateFunc: func(_, _ any) { b.enqueueUnbound() },
	})
	return b, errors.Join(errIndex, errClaims, errVolumes, errClasses)
}

// Run works until ctx ends.
func (b *Binder) Run(ctx context.Context, workers int) { b.loop.Run(ctx, workers, b.synced...) }

func (b *Binder) volumeChanged(obj any) {
	pv, ok := loop.Object[*v1.PersistentVolume](obj)
	if !ok {
		return
	}
	b.loop.Enqueue(pv)
	if pv.Spec.ClaimRef == nil && pv.Status.Phase == v1.VolumeAvailable {
		b.enqueueUnbound()
	}
	if pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.UID == "" {
		b.loop.Add(pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name)
	}
}

func (b *Binder) enqueueUnbound() {
	claims, err := b.claims.List(labels.Everything())
	if err != nil {
		return // a lister over a cache has no errors
	}
	for _, claim := range claims {
		if !metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted) {
			b.loop.Enqueue(claim)
		}
	}
}

func (b *Binder) sync(ctx context.Context, key string) error {
	if namespace, name, ok := strings.Cut(key, "/"); ok {
		claim, err := b.claims.PersistentVolumeClaims(namespace).Get(name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return b.syncClaim(ctx, claim)
	}
	pv, err := b.volumes.Get(key)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.syncVolume(ctx, pv)
}

func (b *Binder) syncClaim(ctx context.Context, claim *v1.PersistentVolumeClaim) error {
	w, err := b.look(claim)
	if err != nil {
		return err
	}
	p, err := planClaim(claim, w)
	if err != nil {
		return fmt.Errorf("error finding PV for claim %q: %w", keyOf(claim), err)
	}
	if p.event != nil {
		b.recorder.Event(claim, p.event.kind, p.event.reason, p.event.message)
	}
	switch {
	case p.class != "":
		update := claim.DeepCopy()
		update.Spec.StorageClassName = &p.class
		if _, err := b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, update, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("give claim %s the default storage class: %w", keyOf(claim), err)
		}
		return nil
	case p.bind != nil:
		return b.bind(ctx, p.bind, claim)
	case p.provision != nil:
		if claim, err = b.setProvisioner(ctx, claim, p.provision.Provisioner); err != nil {
			return err
		}
		if p.provision.Provisioner == LocalProvisioner {
			if err := b.provision(ctx, claim, p.provision); err != nil {
				return err
			}
		}
	}
	if p.phase != "" {
		_, err = b.setClaimPhase(ctx, claim, p.phase, nil)
	}
	return err
}

// look gathers what a decision about claim rests on.
func (b *Binder) look(claim *v1.PersistentVolumeClaim) (w world, err error) {
	if w.volumes, err = b.volumes.List(labels.Everything()); err != nil {
		return w, fmt.Errorf("list persistent volumes: %w", err)
	}
	if w.classes, err = b.classes.List(labels.Everything()); err != nil {
		return w, fmt.Errorf("list storage classes: %w", err)
	}
	objects, err := b.pods.ByIndex(claimIndex, keyOf(claim))
	if err != nil {
		return w, fmt.Errorf("find pods that use claim %s: %w", keyOf(claim), err)
	}
	for _, o := range objects {
		if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName == "" {
			w.waiting = append(w.waiting, pod.Name)
		}
	}
	slices.Sort(w.waiting)
	return w, nil
}

// bind makes volume and claim name each other and marks both as Bound. Where it is cut short, it is taken up again
// by the next sync.
func (b *Binder) bind(ctx context.Context, pv *v1.PersistentVolume, claim *v1.PersistentVolumeClaim) error {
	bound, dirty, err := volume.GetBindVolumeToClaim(pv, claim)
	if err != nil {
		return fmt.Errorf("bind volume %s to claim %s: %w", pv.Name, keyOf(claim), err)
	}
	if dirty {
		if bound, err = b.client.CoreV1().PersistentVolumes().Update(ctx, bound, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("bind volume %s to claim %s: %w", pv.Name, keyOf(claim), err)
		}
	}
	if bound, err = b.setVolumePhase(ctx, bound, v1.VolumeBound); err != nil {
		return err
	}
	if claim.Spec.VolumeName != bound.Name || !metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted) {
		update := claim.DeepCopy()
		if update.Spec.VolumeName != bound.Name {
			update.Spec.VolumeName = bound.Name
			metav1.SetMetaDataAnnotation(&update.ObjectMeta, volume.AnnBoundByController, "yes")
		}
		metav1.SetMetaDataAnnotation(&update.ObjectMeta, volume.AnnBindCompleted, "yes")
		if claim, err = b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, update, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("bind claim %s to volume %s: %w", keyOf(update), bound.Name, err)
		}
	}
	_, err = b.setClaimPhase(ctx, claim, v1.ClaimBound, bound)
	return err
}

// setClaimPhase writes the phase, and with a volume its capacity and access modes, where they differ.
func (b *Binder) setClaimPhase(ctx context.Context, claim *v1.PersistentVolumeClaim, phase v1.PersistentVolumeClaimPhase, pv *v1.PersistentVolume) (*v1.PersistentVolumeClaim, error) {
	update := claim.DeepCopy()
	update.Status.Phase = phase
	switch {
	case pv == nil:
		update.Status.AccessModes, update.Status.Capacity = nil, nil
	case claim.Status.Phase != v1.ClaimBound || claim.Status.Capacity == nil:
		update.Status.Capacity = pv.Spec.Capacity
		fallthrough
	default:
		update.Status.AccessModes = pv.Spec.AccessModes
	}
	if claim.Status.Phase == phase && slices.Equal(claim.Status.AccessModes, update.Status.AccessModes) &&
		len(claim.Status.Capacity) == len(update.Status.Capacity) {
		return claim, nil
	}
	update, err := b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, update, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("set phase %s of claim %s: %w", phase, keyOf(claim), err)
	}
	return update, nil
}

func (b *Binder) setVolumePhase(ctx context.Context, pv *v1.PersistentVolume, phase v1.PersistentVolumePhase) (*v1.PersistentVolume, error) {
	if pv.Status.Phase == phase {
		return pv, nil
	}
	update := pv.DeepCopy()
	update.Status.Phase = phase
	update.Status.Message = ""
	update, err := b.client.CoreV1().PersistentVolumes().UpdateStatus(ctx, update, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("set phase %s of volume %s: %w", phase, pv.Name, err)
	}
	return update, nil
}

// setProvisioner tells provisioners which of them a claim waits for.
func (b *Binder) setProvisioner(ctx context.Context, claim *v1.PersistentVolumeClaim, provisioner string) (*v1.PersistentVolumeClaim, error) {
	if claim.Annotations[volume.AnnStorageProvisioner] == provisioner {
		return claim, nil
	}
	update := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&update.ObjectMeta, volume.AnnBetaStorageProvisioner, provisioner)
	metav1.SetMetaDataAnnotation(&update.ObjectMeta, volume.AnnStorageProvisioner, provisioner)
	update, err := b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, update, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("name provisioner %s in claim %s: %w", provisioner, keyOf(claim), err)
	}
	return update, nil
}

func (b *Binder) syncVolume(ctx context.Context, pv *v1.PersistentVolume) error {
	claim, err := b.claimOf(ctx, pv)
	if err != nil {
		return err
	}
	p := planVolume(pv, claim)
	if p.event != nil && pv.Status.Phase != p.phase {
		b.recorder.Event(pv, p.event.kind, p.event.reason, p.event.message)
	}
	if p.claimEvent != nil {
		b.recorder.Event(claim, p.claimEvent.kind, p.claimEvent.reason, p.claimEvent.message)
	}
	if p.unbind {
		update := pv.DeepCopy()
		if metav1.HasAnnotation(pv.ObjectMeta, volume.AnnBoundByController) {
			update.Spec.ClaimRef = nil
			delete(update.Annotations, volume.AnnBoundByController)
		} else {
			update.Spec.ClaimRef.UID = ""
		}
		if pv, err = b.client.CoreV1().PersistentVolumes().Update(ctx, update, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("unbind volume %s: %w", update.Name, err)
		}
	}
	if p.phase != "" {
		if _, err := b.setVolumePhase(ctx, pv, p.phase); err != nil {
			return err
		}
	}
	if p.syncClaim {
		b.loop.Enqueue(claim)
	}
	return nil
}

// claimOf returns the claim that a volume is bound to, nil where it is to none or to one that is gone. What is released by mistake is
// lost, so the cache alone is not believed that a claim is gone.
func (b *Binder) claimOf(ctx context.Context, pv *v1.PersistentVolume) (*v1.PersistentVolumeClaim, error) {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return nil, nil
	}
	claim, err := b.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name)
	if (apierrors.IsNotFound(err) || (err == nil && claim.UID != ref.UID)) && pv.Status.Phase != v1.VolumeReleased && pv.Status.Phase != v1.VolumeFailed {
		claim, err = b.client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up claim %s/%s of volume %s: %w", ref.Namespace, ref.Name, pv.Name, err)
	case claim.UID != ref.UID:
		return nil, nil
	}
	return claim, nil
}

func keyOf(claim *v1.PersistentVolumeClaim) string { return claim.Namespace + "/" + claim.Name }

// world is what a decision about a claim rests on.
type world struct {
	volumes []*v1.PersistentVolume
	classes []*storagev1.StorageClass
	waiting []string // pods without a node that use the claim
}
