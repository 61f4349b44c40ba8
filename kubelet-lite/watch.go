// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// watches is the Source of a node with a machine of its own: one watch of the pods that are bound to it, and one of the Node.
type watches struct {
	node        string
	nodes, pods cache.SharedIndexInformer
}

func newWatches(client kubernetes.Interface, node string) (*watches, error) {
	w := &watches{node: node,
		nodes: coreinformers.NewFilteredNodeInformer(client, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", node).String()
		}),
		pods: coreinformers.NewFilteredPodInformer(client, metav1.NamespaceAll, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
		}),
	}
	for _, informer := range []cache.SharedIndexInformer{w.nodes, w.pods} {
		if err := informer.SetTransform(withoutManagedFields); err != nil {
			return nil, fmt.Errorf("kubelet: %w", err)
		}
	}
	return w, nil
}

// Run implements Source.
func (w *watches) Run(ctx context.Context, to Observer) error {
	setNode := func(o any) {
		if node, ok := o.(*v1.Node); ok {
			to.SetNode(node)
		}
	}
	if _, err := w.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: setNode, UpdateFunc: func(_, o any) { setNode(o) }}); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	registration, err := w.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { to.SetPod(o.(*v1.Pod)) },
		UpdateFunc: func(old, o any) {
			if before, after := old.(*v1.Pod), o.(*v1.Pod); before.UID != after.UID {
				to.DeletePod(before)
			}
			to.SetPod(o.(*v1.Pod))
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if pod, ok := o.(*v1.Pod); ok {
				to.DeletePod(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	done := make(chan struct{}, 2)
	for _, informer := range []cache.SharedIndexInformer{w.nodes, w.pods} {
		go func() {
			informer.RunWithContext(ctx)
			done <- struct{}{}
		}()
	}
	if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		to.Listed()
	}
	<-done
	<-done
	return nil
}

// Pods implements Source. What is not this node's, as a server that does not select would show it, is left out.
func (w *watches) Pods() []*v1.Pod {
	var pods []*v1.Pod
	for _, o := range w.pods.GetStore().List() {
		if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName == w.node {
			pods = append(pods, pod)
		}
	}
	return pods
}

// Pod implements Source.
func (w *watches) Pod(namespace, name string) (*v1.Pod, bool) {
	o, ok, err := w.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	pod, ok := o.(*v1.Pod)
	return pod, ok && pod.Spec.NodeName == w.node
}

// withoutManagedFields drops what nobody here reads, and is a good part of a pod.
func withoutManagedFields(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return o, nil
}

var _ Source = (*watches)(nil)
