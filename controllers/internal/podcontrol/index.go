// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// ControllerIndex finds pods by the UID of the object that controls them, and those that nothing controls by their
// namespace. The keys are strings that the pods hold already, so the index adds little memory.
const ControllerIndex = "controllerUID"

// AddControllerIndex adds the index to the pod informer unless another controller has done so.
func AddControllerIndex(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[ControllerIndex]; ok {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{ControllerIndex: func(obj any) ([]string, error) {
		o, ok := obj.(metav1.Object)
		if !ok {
			return nil, nil
		}
		if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
			return []string{string(ref.UID)}, nil
		}
		return []string{o.GetNamespace()}, nil
	}})
	if err != nil {
		return fmt.Errorf("index pods by controller: %w", err)
	}
	return nil
}

// Owned returns the pods that the owner controls. They belong to the cache: copy before changing.
func Owned(indexer cache.Indexer, owner metav1.Object) ([]*corev1.Pod, error) {
	return byKey(indexer, string(owner.GetUID()), nil)
}

// OwnedOrFree returns the pods that the owner controls and those in its namespace that nothing controls.
func OwnedOrFree(indexer cache.Indexer, owner metav1.Object) ([]*corev1.Pod, error) {
	pods, err := Owned(indexer, owner)
	if err != nil {
		return nil, err
	}
	return byKey(indexer, owner.GetNamespace(), pods)
}

func byKey(indexer cache.Indexer, key string, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	objs, err := indexer.ByIndex(ControllerIndex, key)
	if err != nil {
		return nil, fmt.Errorf("find pods controlled by %s: %w", key, err)
	}
	for _, obj := range objs {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}
