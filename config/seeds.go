// SPDX-License-Identifier: Apache-2.0

// Package seeds is what a new cluster is seeded with, in the YAML files beside this one: namespaces, roles and bindings,
// priority classes and a storage class. Ensure puts it into a cluster and, at every later start, puts back what is missing.
//
// Reading the files takes about 10 ms and nothing of them is kept. A first start creates some 160 objects, 16 at a time;
// a later start lists seven kinds and, as a rule, writes nothing.
package seeds

import (
	_ "embed"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

//go:embed cluster.yaml
var clusterYAML []byte

//go:embed rbac.yaml
var rbacYAML []byte

//go:embed rbac-controllers.yaml
var controllersYAML []byte

// Objects returns the seeds in the order of the files, namespaces first.
func Objects() ([]runtime.Object, error) {
	decoder := scheme.Codecs.UniversalDeserializer()
	var objects []runtime.Object
	for _, data := range [][]byte{clusterYAML, rbacYAML, controllersYAML} {
		var list metav1.List
		if err := yaml.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("read seeds: %w", err)
		}
		for _, item := range list.Items {
			obj, _, err := decoder.Decode(item.Raw, nil, nil)
			if err != nil {
				return nil, fmt.Errorf("read seed %s: %w", item.Raw, err)
			}
			if err := mark(obj); err != nil {
				return nil, fmt.Errorf("read seed %s: %w", item.Raw, err)
			}
			objects = append(objects, obj)
		}
	}
	return objects, nil
}

// mark gives roles and bindings what says that they are kept up to date, as `kubectl auth reconcile` and people know it.
func mark(obj runtime.Object) error {
	if obj.GetObjectKind().GroupVersionKind().Group != rbacv1.GroupName {
		return nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	labels := m.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels["kubernetes.io/bootstrapping"] = "rbac-defaults"
	m.SetLabels(labels)
	m.SetAnnotations(map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"})
	return nil
}

// of returns the objects of one type.
func of[T runtime.Object](objects []runtime.Object) []T {
	var list []T
	for _, obj := range objects {
		if t, ok := obj.(T); ok {
			list = append(list, t)
		}
	}
	return list
}
