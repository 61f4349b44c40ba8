// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

const (
	classFinalizer = "kubernetes.io/vac-protection"
	// classIndex finds claims and volumes by the VolumeAttributesClasses that they name.
	classIndex = "volumeAttributesClassName"
)

// ClassProtection keeps VolumeAttributesClasses that a claim or a volume names from being deleted; it is called
// volumeattributesclass-protection-controller. It reads caches alone, as that of Kubernetes does: a claim made in the moment of the deletion may
// come too late.
type ClassProtection struct {
	client  kubernetes.Interface
	classes storagelisters.VolumeAttributesClassLister
	users   []cache.Indexer
	synced  []cache.InformerSynced
	loop    *loop.Loop
}

// NewClassProtection returns the controller.
func NewClassProtection(client kubernetes.Interface, classes storageinformers.VolumeAttributesClassInformer, claims coreinformers.PersistentVolumeClaimInformer,
	volumes coreinformers.PersistentVolumeInformer) (*ClassProtection, error) {
	c := &ClassProtection{client: client, classes: classes.Lister(), synced: []cache.InformerSynced{classes.Informer().HasSynced}}
	c.loop = loop.New("vac-protection", c.sync)
	_, err := classes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	return c, errors.Join(err, c.watchUsers(claims.Informer()), c.watchUsers(volumes.Informer()))
}

// watchUsers looks at a class again when an object names it no more.
func (c *ClassProtection) watchUsers(informer cache.SharedIndexInformer) error {
	c.users, c.synced = append(c.users, informer.GetIndexer()), append(c.synced, informer.HasSynced)
	errIndex := informer.AddIndexers(cache.Indexers{classIndex: func(obj any) ([]string, error) { return classNames(obj), nil }})
	leave := func(old any, now []string) {
		for _, name := range classNames(old) {
			if !slices.Contains(now, name) {
				c.loop.Add(name)
			}
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(old, cur any) { leave(old, classNames(cur)) },
		DeleteFunc: func(obj any) { leave(obj, nil) },
	})
	return errors.Join(errIndex, err)
}

// classNames are the VolumeAttributesClasses that a claim or a volume names, each once.
func classNames(obj any) (names []string) {
	add := func(name *string) {
		if name != nil && *name != "" && !slices.Contains(names, *name) {
			names = append(names, *name)
		}
	}
	if claim, ok := loop.Object[*v1.PersistentVolumeClaim](obj); ok {
		add(claim.Spec.VolumeAttributesClassName)
		add(claim.Status.CurrentVolumeAttributesClassName)
		if modify := claim.Status.ModifyVolumeStatus; modify != nil {
			add(&modify.TargetVolumeAttributesClassName)
		}
	} else if pv, ok := loop.Object[*v1.PersistentVolume](obj); ok {
		add(pv.Spec.VolumeAttributesClassName)
	}
	return names
}

// Run works until ctx ends.
func (c *ClassProtection) Run(ctx context.Context, workers int) {
	c.loop.Run(ctx, workers, c.synced...)
}

func (c *ClassProtection) sync(ctx context.Context, name string) error {
	class, err := c.classes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	held := slices.Contains(class.Finalizers, classFinalizer)
	if held == (class.DeletionTimestamp == nil) {
		return nil
	}
	update := class.DeepCopy()
	if held {
		for _, users := range c.users {
			keys, err := users.IndexKeys(classIndex, name)
			if err != nil {
				return fmt.Errorf("find what names VolumeAttributesClass %s: %w", name, err)
			}
			if len(keys) > 0 {
				return nil
			}
		}
		update.Finalizers = slices.DeleteFunc(update.Finalizers, func(f string) bool { return f == classFinalizer })
	} else {
		update.Finalizers = append(update.Finalizers, classFinalizer)
	}
	_, err = c.client.StorageV1().VolumeAttributesClasses().Update(ctx, update, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write protection of VolumeAttributesClass %s: %w", name, err)
	}
	return nil
}
