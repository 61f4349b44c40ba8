// SPDX-License-Identifier: Apache-2.0

package bylabel

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func TestPods(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, index: values})
	for name, set := range map[string]map[string]string{
		"a": {"app": "web", "tier": "front", "pod-template-hash": "1"}, "b": {"app": "web", "pod-template-hash": "2"}, "c": {"app": "db"}, "d": nil,
	} {
		for _, namespace := range []string{"one", "two"} {
			if err := indexer.Add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: set}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		selector map[string]string
		want     []string
	}{
		{map[string]string{"app": "web"}, []string{"a", "b"}},
		{map[string]string{"app": "web", "tier": "front"}, []string{"a"}},
		{map[string]string{"app": "web", "tier": "back"}, nil},
		{map[string]string{"app": "w"}, nil},
		{map[string]string{"app": "web", "pod-template-hash": "2"}, []string{"b"}},
		{map[string]string{"pod-template-hash": "1"}, []string{"a"}},
		{nil, []string{"a", "b", "c", "d"}},
	} {
		pods, err := Pods(indexer, "one", tt.selector)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, pod := range pods {
			if pod.Namespace != "one" {
				t.Errorf("%v found %s/%s", tt.selector, pod.Namespace, pod.Name)
			}
			got = append(got, pod.Name)
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("%v found %v, want %v", tt.selector, got, tt.want)
		}
	}
}
