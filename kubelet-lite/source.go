// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/admit"
)

// Source shows a kubelet its Node and the pods that are bound to it. Nodes of one process may share what they watch.
type Source interface {
	// Run tells to of everything there is, then calls Listed, then tells of every change until ctx ends. Calls do not overlap.
	Run(ctx context.Context, to Observer) error
	// Pods returns the pods as last seen, and Pod one of them. They are not to be changed.
	Pods() []*v1.Pod
	Pod(namespace, name string) (*v1.Pod, bool)
}

// Observer is a kubelet, to its Source. Pods and Nodes that it is told of are not to be changed.
type Observer interface {
	SetNode(node *v1.Node)
	SetPod(pod *v1.Pod)
	DeletePod(pod *v1.Pod)
	// Listed says that all pods there were have been told of.
	Listed()
}

// observer keeps what only a Source is to call out of the kubelet's methods.
type observer struct {
	k   *Kubelet
	ctx context.Context
}

func (o observer) SetNode(node *v1.Node) {
	if node.Name == o.k.config.NodeName {
		o.k.node.Observe(node)
	}
}

func (o observer) SetPod(pod *v1.Pod) { o.k.setPod(pod) }

func (o observer) DeletePod(pod *v1.Pod) {
	if pod.Spec.NodeName == o.k.config.NodeName {
		o.k.workers.Remove(pod.UID)
	}
}

func (o observer) Listed() {
	o.k.mu.Lock()
	o.k.listed = true
	o.k.mu.Unlock()
	o.k.sweep(o.ctx)
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

// refuses says why a pod would not be admitted beside others; "" where it would.
func (k *Kubelet) refuses(pod *v1.Pod, others []*v1.Pod) string {
	if refusal := admit.Pod(pod, k.node.Current(), others); refusal != nil {
		return refusal.Message
	}
	return ""
}

// runtimeChanged wakes the pod whose sandbox or containers have changed; one that the API does not know is removed.
func (k *Kubelet) runtimeChanged(uid types.UID) {
	k.mu.Lock()
	workers, listed := k.workers, k.listed
	k.mu.Unlock()
	switch {
	case workers == nil:
	case workers.Known(uid):
		workers.Wake(uid)
	case listed:
		runtime := k.cache.Get(uid)
		if len(runtime.Sandboxes)+len(runtime.Containers) > 0 && !k.bound(uid) {
			workers.Remove(uid)
		}
	}
}

// bound says whether the API shows a pod as this node's.
func (k *Kubelet) bound(uid types.UID) bool {
	return slices.ContainsFunc(k.source.Pods(), func(p *v1.Pod) bool { return p.UID == uid })
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
		if !k.workers.Known(uid) && !k.bound(uid) {
			k.workers.Remove(uid)
		}
	}
}

// GetPods returns the pods of this node.
func (k *Kubelet) GetPods() []*v1.Pod {
	pods := slices.Clone(k.source.Pods())
	slices.SortFunc(pods, func(a, b *v1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return pods
}

// HasPod says whether a pod is on this node, or may be: until the API server's list has been read, every pod may.
func (k *Kubelet) HasPod(uid types.UID) bool {
	k.mu.Lock()
	listed, workers := k.listed, k.workers
	k.mu.Unlock()
	return !listed || workers.Known(uid) || k.bound(uid)
}

// GetPodByName returns a pod of this node.
func (k *Kubelet) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	return k.source.Pod(namespace, name)
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
