// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// removed tells since when a kind of volume does nothing.
const (
	removedIn116 = "deprecated in v1.11, non-functional in v1.16+"
	removedIn122 = "deprecated in v1.16, non-functional in v1.22+"
	removedIn125 = "deprecated in v1.22, non-functional in v1.25+"
	removedIn126 = "deprecated in v1.25, non-functional in v1.26+"
	removedIn131 = "deprecated in v1.28, non-functional in v1.31+"
)

func warnVolumes(w *check.Warnings, p *field.Path, volumes []corev1.Volume) {
	for i := range volumes {
		v, at := &volumes[i], p.Index(i)
		removed := func(set bool, name, since string) {
			if set {
				w.At(at.Child(name), "%s", since)
			}
		}
		removed(v.PhotonPersistentDisk != nil, "photonPersistentDisk", removedIn116)
		removed(v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+")
		removed(v.ScaleIO != nil, "scaleIO", removedIn122)
		removed(v.Flocker != nil, "flocker", removedIn125)
		removed(v.StorageOS != nil, "storageOS", removedIn125)
		removed(v.Quobyte != nil, "quobyte", removedIn125)
		removed(v.Glusterfs != nil, "glusterfs", removedIn126)
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			w.Add(WarningsPersistentVolumeClaimSpec(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &v.Ephemeral.VolumeClaimTemplate.Spec)...)
		}
		removed(v.CephFS != nil, "cephfs", removedIn131)
		removed(v.RBD != nil, "rbd", removedIn131)
	}
	for i := range volumes {
		warnOverlaps(w, &volumes[i])
	}
}

// file is a path in a volume, and where it is from if the volume has files of several.
type file struct{ path, from string }

func (f file) String() string {
	if f.from == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.from)
}

// overlaps tells whether one of the two paths is the other, or leads through it.
func (f file) overlaps(other file) bool {
	if f.path == "" || other.path == "" {
		return false
	}
	return strings.HasPrefix(other.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", other.path+"/")
}

// warnOverlaps tells of files of a volume that hide each other.
func warnOverlaps(w *check.Warnings, v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		warnFiles(w, v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
	case v.Secret != nil:
		warnFiles(w, v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
	case v.DownwardAPI != nil:
		warnFiles(w, v.Name, "DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var files []file
		for i := range v.Projected.Sources {
			source := &v.Projected.Sources[i]
			if *source == (corev1.VolumeProjection{}) {
				w.Add(fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				continue
			}
			files = append(files, projectedFiles(source)...)
		}
		warnFiles(w, v.Name, "Projected", files)
	}
}

func projectedFiles(source *corev1.VolumeProjection) []file {
	switch {
	case source.ConfigMap != nil && source.ConfigMap.Items != nil:
		return keyFiles(source.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", source.ConfigMap.Name))
	case source.Secret != nil && source.Secret.Items != nil:
		return keyFiles(source.Secret.Items, fmt.Sprintf("Secret %q", source.Secret.Name))
	case source.DownwardAPI != nil && source.DownwardAPI.Items != nil:
		return downwardFiles(source.DownwardAPI.Items, "DownwardAPI")
	case source.ServiceAccountToken != nil:
		return []file{{source.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case source.ClusterTrustBundle != nil:
		bundle := source.ClusterTrustBundle
		name := bundle.Name
		if name == nil {
			name = bundle.SignerName
		}
		if name != nil {
			return []file{{bundle.Path, fmt.Sprintf("ClusterTrustBundle %q", *name)}}
		}
	case source.PodCertificate != nil:
		c := source.PodCertificate
		return []file{{c.CertificateChainPath, "PodCertificate chain"}, {c.KeyPath, "PodCertificate key"}, {c.CredentialBundlePath, "PodCertificate credential bundle"}}
	}
	return nil
}

func keyFiles(items []corev1.KeyToPath, from string) []file {
	files := make([]file, len(items))
	for i := range items {
		files[i] = file{items[i].Path, from}
	}
	return files
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, from string) []file {
	files := make([]file, len(items))
	for i := range items {
		files[i] = file{items[i].Path, from}
	}
	return files
}

func warnFiles(w *check.Warnings, volume, kind string, files []file) {
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, other := range files[:i] {
			if files[i].overlaps(other) {
				w.Add(fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, kind, files[i], other))
			}
		}
	}
}
