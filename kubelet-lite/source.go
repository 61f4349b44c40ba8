// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/admit"
)

// byUID is the index of the pods of this node by uid.
const byUID = "uid"

// followPods hands this node's pods to their workers until ctx ends: one watch of those that are bound to it, and one of the Node.
func (k *Kubelet) followPods(ctx context.Context) error {
	nodes := coreinformers.NewFilteredNodeInformer(k.config.Client, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", k.config.NodeName).String()
	})
	pods := coreinformers.NewFilteredPodInformer(k.config.Client, metav1.NamespaceAll, 0, cache.Indexers{byUID: uidOf}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", k.config.NodeName).String()
	})
	for _, informer := range []cache.SharedIndexInformer{nodes, pods} {
		if err := informer.SetTransform(withoutManagedFields); err != nil {
			return fmt.Errorf("kubelet: %w", err)
		}
	}
	if _, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.observeNode(o) },
		UpdateFunc: func(_, o any) { k.observeNode(o) },
	}); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	registration, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { k.setPod(o.(*v1.Pod)) },
		UpdateFunc: func(old, o any) {
			if before, after := old.(*v1.Pod), o.(*v1.Pod); before.UID != after.UID {
				k.deletePod(before)
			}
			k.setPod(o.(*v1.Pod))
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if pod, ok := o.(*v1.Pod); ok {
				k.deletePod(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	k.mu.Lock()
	k.podIndex = pods.GetIndexer()
	k.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, informer := range []cache.SharedIndexInformer{nodes, pods} {
		go func() {
			informer.RunWithContext(ctx)
			done <- struct{}{}
		}()
	}
	if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		k.mu.Lock()
		k.listed = true
		k.mu.Unlock()
		k.sweep(ctx)
	}
	<-done
	<-done
	return nil
}

// setPod takes a pod, new or changed. One that is new here, and of which nothing runs, must be admitted.
func (k *Kubelet) setPod(pod *v1.Pod) {
	if pod.Spec.NodeName != k.config.NodeName {
		return
	}
	fresh := !k.workers.Known(pod.UID) && len(k.cache.Get(pod.UID).Sandboxes) == 0 && pod.DeletionTimestamp == nil &&
		pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded
	if fresh {
		if refusal := admit.Pod(pod, k.node.Current(), k.workers.Admitted()); refusal != nil {
			k.workers.Reject(pod, refusal.Reason, refusal.Message)
			return
		}
	}
	k.workers.Update(pod)
}

func (k *Kubelet) deletePod(pod *v1.Pod) {
	if pod.Spec.NodeName == k.config.NodeName {
		k.workers.Remove(pod.UID)
	}
}

func (k *Kubelet) observeNode(o any) {
	if n, ok := o.(*v1.Node); ok && n.Name == k.config.NodeName {
		k.node.Observe(n)
	}
}

// runtimeChanged wakes the pod whose sandbox or containers have changed; one that the API does not know is removed.
func (k *Kubelet) runtimeChanged(uid types.UID) {
	k.mu.Lock()
	workers, listed, index := k.workers, k.listed, k.podIndex
	k.mu.Unlock()
	switch {
	case workers == nil:
	case workers.Known(uid):
		workers.Wake(uid)
	case listed:
		runtime := k.cache.Get(uid)
		known, err := index.ByIndex(byUID, string(uid))
		if err == nil && len(known) == 0 && len(runtime.Sandboxes)+len(runtime.Containers) > 0 {
			workers.Remove(uid)
		}
	}
}

// sweep removes what pods have left that were deleted while nobody was looking.
func (k *Kubelet) sweep(ctx context.Context) {
	left := k.cache.UIDs()
	directories, err := k.config.Volumes.List()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Pod directories cannot be listed")
	}
	left = append(left, directories...)
	slices.Sort(left)
	for _, uid := range slices.Compact(left) {
		if known, err := k.podIndex.ByIndex(byUID, string(uid)); err == nil && len(known) == 0 && !k.workers.Known(uid) {
			k.workers.Remove(uid)
		}
	}
}

// GetPods returns the pods of this node.
func (k *Kubelet) GetPods() []*v1.Pod {
	k.mu.Lock()
	index := k.podIndex
	k.mu.Unlock()
	if index == nil {
		return nil
	}
	var pods []*v1.Pod
	for _, o := range index.List() {
		if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName == k.config.NodeName {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *v1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return pods
}

// HasPod says whether a pod is on this node, or may be: until the API server's list has been read, every pod may.
func (k *Kubelet) HasPod(uid types.UID) bool {
	k.mu.Lock()
	listed, index, workers := k.listed, k.podIndex, k.workers
	k.mu.Unlock()
	if !listed || workers.Known(uid) {
		return true
	}
	known, err := index.ByIndex(byUID, string(uid))
	return err != nil || len(known) > 0
}

// GetPodByName returns a pod of this node.
func (k *Kubelet) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	k.mu.Lock()
	index := k.podIndex
	k.mu.Unlock()
	if index == nil {
		return nil, false
	}
	o, ok, err := index.GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	pod, ok := o.(*v1.Pod)
	return pod, ok && pod.Spec.NodeName == k.config.NodeName
}

// ContainerID returns the newest container of that name, running or not.
func (k *Kubelet) ContainerID(pod types.UID, container string) (string, bool) {
	c, ok := k.cache.Get(pod).Latest(container)
	return c.ID, ok
}

// SandboxID returns the newest sandbox of a pod.
func (k *Kubelet) SandboxID(pod types.UID) (string, bool) {
	if boxes := k.cache.Get(pod).Sandboxes; len(boxes) > 0 {
		return boxes[0].ID, true
	}
	return "", false
}

// Node returns the Node object as last seen; nil before it is registered. It is not to be changed.
func (k *Kubelet) Node() *v1.Node {
	k.mu.Lock()
	n := k.node
	k.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.Current()
}

func uidOf(o any) ([]string, error) {
	pod, ok := o.(*v1.Pod)
	if !ok {
		return nil, nil
	}
	return []string{string(pod.UID)}, nil
}

// withoutManagedFields drops what nobody here reads, and is a good part of a pod.
func withoutManagedFields(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return o, nil
}
