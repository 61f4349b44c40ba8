// SPDX-License-Identifier: Apache-2.0

// Package bylabel finds the pods that a selector of labels selects without looking at every pod of its namespace: by an index of pods by
// each of their labels. A pod costs an entry of some 50 bytes a label; a search costs a look at each pod that has one of the labels.
package bylabel

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
)

const index = "namespace/label"

// Add adds the index to the informer of pods, unless it has it. It is called before the informer starts.
func Add(pods cache.SharedIndexInformer) error {
	if _, exists := pods.GetIndexer().GetIndexers()[index]; exists {
		return nil
	}
	if err := pods.AddIndexers(cache.Indexers{index: values}); err != nil {
		return fmt.Errorf("index pods by label: %w", err)
	}
	return nil
}

// values are the index's of one pod.
func values(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	out := make([]string, 0, len(pod.Labels))
	for name, value := range pod.Labels {
		if !isHash(name) {
			out = append(out, key(pod.Namespace, name, value))
		}
	}
	return out, nil
}

// isHash tells labels that set pods of one controller apart from each other; who selects pods for others does not select by them.
func isHash(name string) bool {
	return name == appsv1.DefaultDeploymentUniqueLabelKey || name == appsv1.ControllerRevisionHashLabelKey || name == appsv1.StatefulSetPodNameLabel
}

func key(namespace, name, value string) string { return namespace + "\x00" + name + "=" + value }

// Pods returns the pods of a namespace that have all labels of selector; all pods for an empty one.
func Pods(indexer cache.Indexer, namespace string, selector map[string]string) ([]*corev1.Pod, error) {
	var found []any
	var err error
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(selector)), isHash)
	if len(names) > 0 {
		found, err = indexer.ByIndex(index, key(namespace, names[0], selector[names[0]]))
	} else {
		found, err = indexer.ByIndex(cache.NamespaceIndex, namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("find pods by label: %w", err)
	}
	all := labels.SelectorFromValidatedSet(selector)
	pods := make([]*corev1.Pod, 0, len(found))
	for _, obj := range found {
		if pod, ok := obj.(*corev1.Pod); ok && all.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}
