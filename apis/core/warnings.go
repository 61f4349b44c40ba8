// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about objects of the core group that are valid but not what their authors will want; pods have files
// of their own.

package core

import (
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// WarningsService returns what is to be said about a service.
func WarningsService(s, _ *corev1.Service) []string {
	var w check.Warnings
	p := field.NewPath("spec")
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		w.Add(fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range s.Spec.ClusterIPs {
			w.IP(p.Child("clusterIPs").Index(i), ip)
		}
	}
	external := s.Spec.Type == corev1.ServiceTypeExternalName
	headless := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		if s.Spec.LoadBalancerIP != "" {
			w.Add("spec.loadBalancerIP is ignored for headless services")
		}
		if len(s.Spec.ExternalIPs) > 0 {
			w.Add("spec.externalIPs is ignored for headless services")
		}
		if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			w.Add("spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, ip := range s.Spec.ExternalIPs {
		w.IP(p.Child("externalIPs").Index(i), ip)
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && !external {
		w.Add("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if s.Spec.LoadBalancerIP != "" {
		w.IP(p.Child("loadBalancerIP"), s.Spec.LoadBalancerIP)
	}
	for i, cidr := range s.Spec.LoadBalancerSourceRanges {
		w.CIDR(p.Child("loadBalancerSourceRanges").Index(i), cidr)
	}
	if external && len(s.Spec.ExternalIPs) > 0 {
		w.Add(fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName))
	}
	if !external && s.Spec.ExternalName != "" {
		w.Add(fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName))
	}
	if d := s.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		w.At(p.Child("trafficDistribution"), "%q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	}
	return w.Texts()
}

// WarningsServiceStatus returns what is to be said about a service's status.
func WarningsServiceStatus(s, _ *corev1.Service) []string {
	var w check.Warnings
	for i, ingress := range s.Status.LoadBalancer.Ingress {
		w.IP(field.NewPath("status", "loadBalancer", "ingress").Index(i), ingress.IP)
	}
	return w.Texts()
}

// endpointsController marks Endpoints of the cluster's own, in which addresses are as they should be.
const endpointsController = "endpoint-controller"

// WarningsEndpoints returns what is to be said about Endpoints.
func WarningsEndpoints(e, _ *corev1.Endpoints) []string {
	var w check.Warnings
	if e.Labels["endpoints.kubernetes.io/managed-by"] == endpointsController {
		return nil
	}
	for i := range e.Subsets {
		p := field.NewPath("subsets").Index(i)
		for j := range e.Subsets[i].Addresses {
			w.IP(p.Child("addresses").Index(j).Child("ip"), e.Subsets[i].Addresses[j].IP)
		}
		for j := range e.Subsets[i].NotReadyAddresses {
			w.IP(p.Child("notReadyAddresses").Index(j).Child("ip"), e.Subsets[i].NotReadyAddresses[j].IP)
		}
	}
	return w.Texts()
}

// WarningsNode returns what is to be said about a node.
func WarningsNode(n, _ *corev1.Node) []string {
	var w check.Warnings
	if n.Spec.ConfigSource != nil {
		w.Add("spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		w.Add("spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		w.CIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)
	}
	return w.Texts()
}

// WarningsSecret returns what is to be said about a secret: a certificate and a key that do not belong together.
func WarningsSecret(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// WarningsServiceAccount returns what is to be said about a service account, the first time.
func WarningsServiceAccount(a, before *corev1.ServiceAccount) []string {
	const key = "kubernetes.io/enforce-mountable-secrets"
	if before != nil {
		if _, ok := before.Annotations[key]; ok {
			return nil
		}
	}
	if _, ok := a.Annotations[key]; !ok {
		return nil
	}
	return []string{"metadata.annotations[" + key + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
}

// WarningsResourceQuota returns what is to be said about a new quota: requests that may be more than the limits.
func WarningsResourceQuota(q, before *corev1.ResourceQuota) []string {
	if before != nil {
		return nil
	}
	var w check.Warnings
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requests, limits := "requests."+name, "limits."+name
		request, ok := q.Spec.Hard[requests]
		if !ok && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			requests = name
			request, ok = q.Spec.Hard[requests]
		}
		if limit, limited := q.Spec.Hard[limits]; ok && limited && request.Cmp(limit) > 0 {
			w.Add(fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requests, request.String(), limits, limit.String()))
		}
	}
	return w.Texts()
}

// WarningsPersistentVolume returns what is to be said about a volume.
func WarningsPersistentVolume(v, _ *corev1.PersistentVolume) []string {
	var w check.Warnings
	p, annotations := field.NewPath("spec"), field.NewPath("metadata", "annotations")
	if _, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		w.At(annotations.Key(corev1.BetaStorageClassAnnotation), `deprecated since v1.8; use "storageClassName" attribute instead`)
	}
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; ok {
		w.At(annotations.Key(corev1.MountOptionAnnotation), `deprecated since v1.31; use "mountOptions" attribute instead`)
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		w.At(p.Child("persistentVolumeReclaimPolicy"), "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if v.Spec.NodeAffinity != nil && v.Spec.NodeAffinity.Required != nil {
		for i := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
			warnNodeSelectorTerm(&w, p.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i), &v.Spec.NodeAffinity.Required.NodeSelectorTerms[i], false)
		}
	}
	for _, old := range []struct {
		set         bool
		name, since string
	}{
		{v.Spec.CephFS != nil, "cephfs", removedIn131}, {v.Spec.PhotonPersistentDisk != nil, "photonPersistentDisk", removedIn116},
		{v.Spec.ScaleIO != nil, "scaleIO", removedIn122}, {v.Spec.StorageOS != nil, "storageOS", removedIn125},
		{v.Spec.Glusterfs != nil, "glusterfs", removedIn126}, {v.Spec.RBD != nil, "rbd", removedIn131},
	} {
		if old.set {
			w.At(p.Child(old.name), "%s", old.since)
		}
	}
	return w.Texts()
}

// WarningsPersistentVolumeClaim returns what is to be said about a claim.
func WarningsPersistentVolumeClaim(c, _ *corev1.PersistentVolumeClaim) []string {
	var w check.Warnings
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		w.At(field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation), `deprecated since v1.8; use "storageClassName" attribute instead`)
	}
	w.Add(WarningsPersistentVolumeClaimSpec(field.NewPath("spec"), &c.Spec)...)
	return w.Texts()
}

// WarningsPersistentVolumeClaimSpec returns what is to be said about the spec of a claim, or of a template of claims, at p.
func WarningsPersistentVolumeClaimSpec(p *field.Path, spec *corev1.PersistentVolumeClaimSpec) []string {
	var w check.Warnings
	warnFraction(&w, p.Child("resources", "requests"), corev1.ResourceStorage, spec.Resources.Requests[corev1.ResourceStorage])
	warnFraction(&w, p.Child("resources", "limits"), corev1.ResourceStorage, spec.Resources.Limits[corev1.ResourceStorage])
	return w.Texts()
}

// WarningsPodTemplate returns what is to be said about a PodTemplate that is new or has changed.
func WarningsPodTemplate(t, before *corev1.PodTemplate) []string {
	if before != nil && before.Generation == t.Generation {
		return nil
	}
	return WarningsPodTemplateSpec(field.NewPath("template"), &t.Template)
}

// WarningsReplicationController returns what is to be said about a replication controller that is new or has changed.
func WarningsReplicationController(rc, before *corev1.ReplicationController) []string {
	var w check.Warnings
	switch {
	case before == nil:
		w.Add(WarningsNameOfPods(rc.Name)...)
	case before.Generation == rc.Generation:
		return nil
	}
	w.Add(WarningsPodTemplateSpec(field.NewPath("spec", "template"), rc.Spec.Template)...)
	return w.Texts()
}
