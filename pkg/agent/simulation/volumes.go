// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"context"
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/volume/local"
)

// reclaimer deletes the local volumes whose claims have gone, as the nodes do that they are of: there are no data to remove. One does
// it for all nodes, and reads the server's own informer.
type reclaimer struct {
	informer     cache.SharedIndexInformer
	registration cache.ResourceEventHandlerRegistration
	volumes      corelisters.PersistentVolumeLister
	nodes        map[string]*simulatedNode
	queue        workqueue.TypedRateLimitingInterface[string]
}

func newReclaimer(volumes cache.SharedIndexInformer, nodes []*simulatedNode) (*reclaimer, error) {
	r := &reclaimer{
		informer: volumes, volumes: corelisters.NewPersistentVolumeLister(volumes.GetIndexer()), nodes: make(map[string]*simulatedNode, len(nodes)),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	for _, n := range nodes {
		r.nodes[n.name] = n
	}
	see := func(o any) {
		if volume := o.(*v1.PersistentVolume); r.owner(volume) != nil {
			r.queue.Add(volume.Name)
		}
	}
	var err error
	if r.registration, err = volumes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}); err != nil {
		r.queue.ShutDown()
		return nil, fmt.Errorf("follow volumes: %w", err)
	}
	return r, nil
}

// owner is the node that a volume is to be deleted by; nil of any other volume.
func (r *reclaimer) owner(volume *v1.PersistentVolume) *simulatedNode {
	for _, name := range local.Released(volume) {
		if n := r.nodes[name]; n != nil {
			return n
		}
	}
	return nil
}

// run works until ctx ends.
func (r *reclaimer) run(ctx context.Context) error {
	var stopping sync.WaitGroup
	defer stopping.Wait()
	stopping.Go(func() {
		<-ctx.Done()
		r.queue.ShutDown()
	})
	for {
		name, ended := r.queue.Get()
		if ended {
			return r.informer.RemoveEventHandler(r.registration)
		}
		if err := r.reclaim(ctx, name); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Volume could not be reclaimed, it is tried again", "persistentVolume", name)
			r.queue.AddRateLimited(name)
		} else {
			r.queue.Forget(name)
		}
		r.queue.Done(name)
	}
}

func (r *reclaimer) reclaim(ctx context.Context, name string) error {
	volume, err := r.volumes.Get(name)
	if err != nil {
		return nil // it is gone
	}
	n := r.owner(volume)
	if n == nil {
		return nil
	}
	err = n.client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(volume.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete volume: %w", err)
	}
	return nil
}
