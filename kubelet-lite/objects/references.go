// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// references lists the ConfigMaps and Secrets that the pod names anywhere, each once.
func references(pod *v1.Pod) []key {
	var out []key
	add := func(k kind, name string) {
		if name != "" {
			out = append(out, key{k, pod.Namespace, name})
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add(secret, s.Name)
	}
	container := func(from []v1.EnvFromSource, env []v1.EnvVar) {
		for _, f := range from {
			if f.ConfigMapRef != nil {
				add(configMap, f.ConfigMapRef.Name)
			}
			if f.SecretRef != nil {
				add(secret, f.SecretRef.Name)
			}
		}
		for _, e := range env {
			if e.ValueFrom == nil {
				continue
			}
			if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
				add(configMap, r.Name)
			}
			if r := e.ValueFrom.SecretKeyRef; r != nil {
				add(secret, r.Name)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		container(pod.Spec.InitContainers[i].EnvFrom, pod.Spec.InitContainers[i].Env)
	}
	for i := range pod.Spec.Containers {
		container(pod.Spec.Containers[i].EnvFrom, pod.Spec.Containers[i].Env)
	}
	for i := range pod.Spec.EphemeralContainers {
		container(pod.Spec.EphemeralContainers[i].EnvFrom, pod.Spec.EphemeralContainers[i].Env)
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i].VolumeSource
		if v.ConfigMap != nil {
			add(configMap, v.ConfigMap.Name)
		}
		if v.Secret != nil {
			add(secret, v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(configMap, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(secret, s.Secret.Name)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b key) int {
		if a.kind != b.kind {
			return strings.Compare(string(a.kind), string(b.kind))
		}
		return strings.Compare(a.name, b.name)
	})
	return slices.Compact(out)
}
