// SPDX-License-Identifier: Apache-2.0

// This file lists the fields of pods that the API has but that no part of a cluster acts on, because Kubernetes has them
// behind feature gates that are off. As there, they are taken out of what is written.

package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// dropUnservedPodFields takes the fields out, unless nothing of the specification changes; before is nil on create.
func dropUnservedPodFields(spec, before *corev1.PodSpec) {
	if before != nil && equality.Semantic.DeepEqual(spec, before) {
		return
	}
	spec.SchedulingGroup = nil
	spec.EvictionResponders = nil
	for i := range spec.Volumes {
		dropUnservedVolumeFields(&spec.Volumes[i])
	}
	visitContainers(nil, spec, func(_ *field.Path, c *corev1.Container) {
		for i := range c.VolumeMounts {
			c.VolumeMounts[i].BindMountOptions = nil
		}
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if probe == nil {
				continue
			}
			if probe.HTTPGet != nil {
				probe.HTTPGet.Protocol = nil
			}
			if probe.GRPC != nil {
				probe.GRPC.Mode = nil
			}
		}
		if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
			return
		}
		c.Lifecycle.StopSignal = nil
		if c.Lifecycle.PreStop == nil && c.Lifecycle.PostStart == nil {
			c.Lifecycle = nil
		}
	})
}

func dropUnservedVolumeFields(v *corev1.Volume) {
	dropKeys := func(items []corev1.KeyToPath) {
		for i := range items {
			items[i].User = nil
		}
	}
	dropFiles := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			items[i].User = nil
		}
	}
	if v.EmptyDir != nil {
		v.EmptyDir.Mode = nil
	}
	if s := v.Secret; s != nil {
		s.DefaultUser = nil
		dropKeys(s.Items)
	}
	if s := v.ConfigMap; s != nil {
		s.DefaultUser = nil
		dropKeys(s.Items)
	}
	if s := v.DownwardAPI; s != nil {
		s.DefaultUser = nil
		dropFiles(s.Items)
	}
	if v.Projected == nil {
		return
	}
	v.Projected.DefaultUser = nil
	for i := range v.Projected.Sources {
		source := &v.Projected.Sources[i]
		source.ClusterTrustBundle, source.PodCertificate = nil, nil
		if source.Secret != nil {
			dropKeys(source.Secret.Items)
		}
		if source.ConfigMap != nil {
			dropKeys(source.ConfigMap.Items)
		}
		if source.DownwardAPI != nil {
			dropFiles(source.DownwardAPI.Items)
		}
		if source.ServiceAccountToken != nil {
			source.ServiceAccountToken.User = nil
		}
	}
}
