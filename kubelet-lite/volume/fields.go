// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// FieldValue is the pod's own field as the downward API tells it: metadata, whole or by key. The fields that an environment
// can have beyond these (spec.nodeName, status.podIP and so on) are not for volumes.
func FieldValue(pod *v1.Pod, path string) (string, error) {
	if rest, ok := strings.CutSuffix(path, "']"); ok {
		if base, key, ok := strings.Cut(rest, "['"); ok && base != "" {
			switch base {
			case "metadata.annotations":
				if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) != 0 {
					return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
				}
				return pod.Annotations[key], nil
			case "metadata.labels":
				if errs := validation.IsQualifiedName(key); len(errs) != 0 {
					return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
				}
				return pod.Labels[key], nil
			}
			return "", fmt.Errorf("fieldPath %q does not support subscript", path)
		}
	}
	switch path {
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// lines writes a map as key="value", one a line, sorted.
func lines(m map[string]string) string {
	out := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(out, "\n")
}

// ResourceValue is a container's request or limit as the downward API tells it, in multiples of the divisor, rounded up. A
// limit that is not set is the node's allocatable.
func ResourceValue(pod *v1.Pod, ref *v1.ResourceFieldSelector, container string, allocatable v1.ResourceList) (string, error) {
	c := findContainer(pod, container)
	if c == nil {
		return "", fmt.Errorf("container %s not found", container)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Requests
	if kind == "limits" {
		list = c.Resources.Limits
	} else if kind != "requests" {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	q := list[v1.ResourceName(name)]
	switch v1.ResourceName(name) {
	case v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage:
		if kind == "limits" && q.IsZero() {
			q = allocatable[v1.ResourceName(name)]
		}
	default:
		if !strings.HasPrefix(name, v1.ResourceHugePagesPrefix) {
			return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
		}
	}
	n, d := q.Value(), divisor.Value()
	if v1.ResourceName(name) == v1.ResourceCPU {
		n, d = q.MilliValue(), divisor.MilliValue()
	}
	return strconv.FormatInt(int64(math.Ceil(float64(n)/float64(d))), 10), nil
}

func findContainer(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
