// SPDX-License-Identifier: Apache-2.0

package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// refersToSecret tells whether the pod names that Secret of its namespace.
func refersToSecret(pod *corev1.Pod, name string) bool {
	return AnySecret(pod, func(is string) bool { return is == name })
}

// AnySecret asks about every Secret of its namespace that the pod names, until one answers yes.
func AnySecret(pod *corev1.Pod, ask func(name string) bool) bool {
	for i := range pod.Spec.ImagePullSecrets {
		if ask(pod.Spec.ImagePullSecrets[i].Name) {
			return true
		}
	}
	for i := range pod.Spec.Volumes {
		if anyVolumeSecret(&pod.Spec.Volumes[i].VolumeSource, ask) {
			return true
		}
	}
	return anyContainer(&pod.Spec, func(envFrom []corev1.EnvFromSource, env []corev1.EnvVar) bool {
		for i := range envFrom {
			if ref := envFrom[i].SecretRef; ref != nil && ask(ref.Name) {
				return true
			}
		}
		for i := range env {
			if from := env[i].ValueFrom; from != nil && from.SecretKeyRef != nil && ask(from.SecretKeyRef.Name) {
				return true
			}
		}
		return false
	})
}

func anyVolumeSecret(v *corev1.VolumeSource, ask func(name string) bool) bool {
	var ref *corev1.LocalObjectReference
	switch {
	case v.Secret != nil:
		return ask(v.Secret.SecretName)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil && ask(s.Name) {
				return true
			}
		}
	case v.AzureFile != nil:
		return ask(v.AzureFile.SecretName)
	case v.CSI != nil:
		ref = v.CSI.NodePublishSecretRef
	case v.ISCSI != nil:
		ref = v.ISCSI.SecretRef
	case v.CephFS != nil:
		ref = v.CephFS.SecretRef
	case v.Cinder != nil:
		ref = v.Cinder.SecretRef
	case v.FlexVolume != nil:
		ref = v.FlexVolume.SecretRef
	case v.RBD != nil:
		ref = v.RBD.SecretRef
	case v.ScaleIO != nil:
		ref = v.ScaleIO.SecretRef
	case v.StorageOS != nil:
		ref = v.StorageOS.SecretRef
	}
	return ref != nil && ask(ref.Name)
}

// refersToConfigMap tells whether the pod names that ConfigMap of its namespace.
func refersToConfigMap(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if c := v.Projected.Sources[j].ConfigMap; c != nil && c.Name == name {
				return true
			}
		}
	}
	return anyContainer(&pod.Spec, func(envFrom []corev1.EnvFromSource, env []corev1.EnvVar) bool {
		for i := range envFrom {
			if ref := envFrom[i].ConfigMapRef; ref != nil && ref.Name == name {
				return true
			}
		}
		for i := range env {
			if from := env[i].ValueFrom; from != nil && from.ConfigMapKeyRef != nil && from.ConfigMapKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

// refersToClaim tells whether the pod mounts that PersistentVolumeClaim of its namespace.
func refersToClaim(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name {
			return true
		}
		if v.Ephemeral != nil && ephemeral.VolumeClaimName(pod, v) == name {
			return true
		}
	}
	return false
}

// anyContainer asks about the environment of every container of all sorts until one answers yes.
func anyContainer(spec *corev1.PodSpec, ask func([]corev1.EnvFromSource, []corev1.EnvVar) bool) bool {
	for i := range spec.InitContainers {
		if ask(spec.InitContainers[i].EnvFrom, spec.InitContainers[i].Env) {
			return true
		}
	}
	for i := range spec.Containers {
		if ask(spec.Containers[i].EnvFrom, spec.Containers[i].Env) {
			return true
		}
	}
	for i := range spec.EphemeralContainers {
		if ask(spec.EphemeralContainers[i].EnvFrom, spec.EphemeralContainers[i].Env) {
			return true
		}
	}
	return false
}

// persistentVolumeRefersToSecret tells whether the agent reads that Secret to mount the volume.
func persistentVolumeRefersToSecret(pv *corev1.PersistentVolume, namespace, name string) bool {
	csi := pv.Spec.CSI
	if csi == nil {
		return false
	}
	for _, ref := range []*corev1.SecretReference{csi.NodePublishSecretRef, csi.NodeStageSecretRef, csi.NodeExpandSecretRef} {
		if ref != nil && ref.Name == name && ref.Namespace == namespace {
			return true
		}
	}
	return false
}

// apiReference names the first sort of API object that the pod refers to, empty where there is none. A mirror pod may
// refer to none, as that would open the object to whoever can write a file on the node.
func apiReference(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "serviceaccounts"
	}
	usesSecret, usesConfigMap := len(pod.Spec.ImagePullSecrets) > 0, false
	anyContainer(&pod.Spec, func(envFrom []corev1.EnvFromSource, env []corev1.EnvVar) bool {
		for i := range envFrom {
			usesSecret = usesSecret || envFrom[i].SecretRef != nil
			usesConfigMap = usesConfigMap || envFrom[i].ConfigMapRef != nil
		}
		for i := range env {
			if from := env[i].ValueFrom; from != nil {
				usesSecret = usesSecret || from.SecretKeyRef != nil
				usesConfigMap = usesConfigMap || from.ConfigMapKeyRef != nil
			}
		}
		return false
	})
	switch {
	case usesSecret:
		return "secrets"
	case usesConfigMap:
		return "configmaps"
	case len(pod.Spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	for i := range pod.Spec.Volumes {
		if reference := volumeAPIReference(&pod.Spec.Volumes[i].VolumeSource); reference != "" {
			return reference
		}
	}
	return ""
}

func volumeAPIReference(v *corev1.VolumeSource) string {
	switch {
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)"
	case v.Secret != nil:
		return "secrets (via secret volumes)"
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)"
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			switch s := &v.Projected.Sources[i]; {
			case s.ConfigMap != nil:
				return "configmaps (via projected volumes)"
			case s.Secret != nil:
				return "secrets (via projected volumes)"
			case s.ServiceAccountToken != nil:
				return "serviceaccounts (via projected volumes)"
			case s.ClusterTrustBundle != nil:
				return "clustertrustbundles"
			case s.PodCertificate != nil:
				return "podcertificates"
			}
		}
	}
	return ""
}
