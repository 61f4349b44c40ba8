// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for the sources of volumes that pods and persistent volumes have in common, and for the
// older networked ones, which remain in the API although their drivers are gone.

package core

import (
	"net"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateHostPath(p *field.Path, source *corev1.HostPathVolumeSource) field.ErrorList {
	var l check.List
	if source.Path == "" {
		l.Required(p.Child("path"), "")
		return l.Errors()
	}
	l.Add(validateNoBacksteps(p.Child("path"), source.Path))
	if source.Type != nil {
		l.Add(check.OneOf(p.Child("type"), *source.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev,
			corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket))
	}
	return l.Errors()
}

func validateNFS(p *field.Path, source *corev1.NFSVolumeSource) field.ErrorList {
	var l check.List
	if source.Server == "" {
		l.Required(p.Child("server"), "")
	}
	if source.Path == "" {
		l.Required(p.Child("path"), "")
	}
	if !path.IsAbs(source.Path) {
		l.Invalid(p.Child("path"), source.Path, "must be an absolute path")
	}
	return l.Errors()
}

// ValidateCSIDriverName checks the name of a CSI driver: at most 63 characters of a domain name in any case.
func ValidateCSIDriverName(p *field.Path, name string) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(p, "")
		return l.Errors()
	}
	if len(name) > 63 {
		l.TooLong(p, 63)
	}
	l.Each(p, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
	return l.Errors()
}

// validateSharedSources checks the sources of a pod's volume that persistent volumes have too.
func validateSharedSources(one *oneSource, v *corev1.Volume) {
	validateDiskSources(one, v.GCEPersistentDisk, v.AWSElasticBlockStore, v.AzureDisk, v.VsphereVolume, v.PhotonPersistentDisk, v.PortworxVolume)
	validateNetworkSources(one, v.NFS, v.Quobyte, v.Flocker, v.FC)
	if p, ok := one.first("iscsi", v.ISCSI != nil); ok {
		s := v.ISCSI
		one.Add(validateISCSI(p, iscsi{s.TargetPortal, s.IQN, s.Lun, s.DiscoveryCHAPAuth || s.SessionCHAPAuth, s.SecretRef != nil, s.InitiatorName},
			"must be valid format starting with iqn, eui, or naa"))
		if s.InitiatorName != nil && len(v.Name+":"+s.TargetPortal) > 64 {
			one.Invalid(one.path.Child("name"), v.Name, iscsiTooLong)
		}
	}
	if p, ok := one.first("glusterfs", v.Glusterfs != nil); ok {
		one.need(p, "endpoints", v.Glusterfs.EndpointsName)
		one.need(p, "path", v.Glusterfs.Path)
	}
	if p, ok := one.first("rbd", v.RBD != nil); ok {
		one.needMonitors(p, v.RBD.CephMonitors)
		one.need(p, "image", v.RBD.RBDImage)
	}
	if p, ok := one.first("cinder", v.Cinder != nil); ok {
		one.need(p, "volumeID", v.Cinder.VolumeID)
		one.needSecretName(p, v.Cinder.SecretRef)
	}
	if _, ok := one.first("cephFS", v.CephFS != nil); ok {
		one.needMonitors(one.path.Child("cephfs"), v.CephFS.Monitors)
	}
	if p, ok := one.first("flexVolume", v.FlexVolume != nil); ok {
		one.Add(validateFlex(p, v.FlexVolume.Driver, v.FlexVolume.Options))
	}
	if p, ok := one.first("azureFile", v.AzureFile != nil); ok {
		one.need(p, "secretName", v.AzureFile.SecretName)
		one.need(p, "shareName", v.AzureFile.ShareName)
	}
	if p, ok := one.first("storageos", v.StorageOS != nil); ok {
		one.Add(validateStorageOS(p, v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace))
		one.needSecretName(p, v.StorageOS.SecretRef)
	}
	if p, ok := one.first("scaleIO", v.ScaleIO != nil); ok {
		one.need(p, "gateway", v.ScaleIO.Gateway)
		one.need(p, "system", v.ScaleIO.System)
		one.need(p, "volumeName", v.ScaleIO.VolumeName)
	}
}

func (o *oneSource) needMonitors(p *field.Path, monitors []string) {
	if len(monitors) == 0 {
		o.Required(p.Child("monitors"), "")
	}
}

func (o *oneSource) needSecretName(p *field.Path, ref *corev1.LocalObjectReference) {
	if ref != nil {
		o.need(p.Child("secretRef"), "name", ref.Name)
	}
}

// needSecret is needSecretName for persistent volumes, whose secrets may lie in any namespace.
func (o *oneSource) needSecret(p *field.Path, name, namespace string) {
	o.need(p, "name", name)
	o.need(p, "namespace", namespace)
}

func validateDiskSources(one *oneSource, gce *corev1.GCEPersistentDiskVolumeSource, aws *corev1.AWSElasticBlockStoreVolumeSource,
	azure *corev1.AzureDiskVolumeSource, vsphere *corev1.VsphereVirtualDiskVolumeSource, photon *corev1.PhotonPersistentDiskVolumeSource,
	portworx *corev1.PortworxVolumeSource) {
	partition := func(p *field.Path, n int32) {
		if n < 0 || n > 255 {
			one.Invalid(p.Child("partition"), n, validation.InclusiveRangeError(1, 255))
		}
	}
	if _, ok := one.first("gcePersistentDisk", gce != nil); ok {
		p := one.path.Child("persistentDisk")
		one.need(p, "pdName", gce.PDName)
		partition(p, gce.Partition)
	}
	if p, ok := one.first("awsElasticBlockStore", aws != nil); ok {
		one.need(p, "volumeID", aws.VolumeID)
		partition(p, aws.Partition)
	}
	if p, ok := one.first("azureDisk", azure != nil); ok {
		one.Add(validateAzureDisk(p, azure))
	}
	if p, ok := one.first("vsphereVolume", vsphere != nil); ok {
		one.need(p, "volumePath", vsphere.VolumePath)
	}
	if p, ok := one.first("photonPersistentDisk", photon != nil); ok {
		one.need(p, "pdID", photon.PdID)
	}
	if p, ok := one.first("portworxVolume", portworx != nil); ok {
		one.need(p, "volumeID", portworx.VolumeID)
	}
}

func validateNetworkSources(one *oneSource, nfs *corev1.NFSVolumeSource, quobyte *corev1.QuobyteVolumeSource,
	flocker *corev1.FlockerVolumeSource, fc *corev1.FCVolumeSource) {
	if p, ok := one.first("nfs", nfs != nil); ok {
		one.Add(validateNFS(p, nfs))
	}
	if p, ok := one.first("quobyte", quobyte != nil); ok {
		const hostPorts = "must be a host:port pair or multiple pairs separated by commas"
		switch {
		case quobyte.Registry == "":
			one.Required(p.Child("registry"), hostPorts)
		case len(quobyte.Tenant) > 64:
			one.Required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
		default:
			for _, pair := range strings.Split(quobyte.Registry, ",") {
				if _, _, err := net.SplitHostPort(pair); err != nil {
					one.Invalid(p.Child("registry"), quobyte.Registry, hostPorts)
				}
			}
		}
		one.need(p, "volume", quobyte.Volume)
	}
	if p, ok := one.first("flocker", flocker != nil); ok {
		if flocker.DatasetName == "" && flocker.DatasetUUID == "" {
			one.Required(p, "one of datasetName and datasetUUID is required")
		}
		if flocker.DatasetName != "" && flocker.DatasetUUID != "" {
			one.Invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously")
		}
		if strings.Contains(flocker.DatasetName, "/") {
			one.Invalid(p.Child("datasetName"), flocker.DatasetName, "must not contain '/'")
		}
	}
	if p, ok := one.first("fc", fc != nil); ok {
		if len(fc.TargetWWNs) == 0 && len(fc.WWIDs) == 0 {
			one.Required(p.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")
		}
		if len(fc.TargetWWNs) > 0 && len(fc.WWIDs) > 0 {
			one.Invalid(p.Child("targetWWNs"), fc.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
		}
		if len(fc.TargetWWNs) > 0 {
			if fc.Lun == nil {
				one.Required(p.Child("lun"), "lun is required if targetWWNs is specified")
			} else if *fc.Lun < 0 || *fc.Lun > 255 {
				one.Invalid(p.Child("lun"), fc.Lun, validation.InclusiveRangeError(0, 255))
			}
		}
	}
}

func validateAzureDisk(p *field.Path, azure *corev1.AzureDiskVolumeSource) field.ErrorList {
	var l check.List
	if azure.DiskName == "" {
		l.Required(p.Child("diskName"), "")
	}
	if azure.DataDiskURI == "" {
		l.Required(p.Child("diskURI"), "")
	}
	if azure.CachingMode != nil {
		l.Add(check.OneOf(p.Child("cachingMode"), *azure.CachingMode,
			corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite))
	}
	if azure.Kind == nil {
		return l.Errors()
	}
	l.Add(check.OneOf(p.Child("kind"), *azure.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk))
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *azure.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(azure.DataDiskURI, prefix) {
		l.Add(check.OneOf(p.Child("diskURI"), azure.DataDiskURI, form))
	}
	return l.Errors()
}

// iscsi is what the two types of iSCSI volumes have in common.
type iscsi struct {
	portal    string
	iqn       string
	lun       int32
	chap      bool
	hasSecret bool
	initiator *string
}

const iscsiTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

func validateISCSI(p *field.Path, s iscsi, wrongPrefix string) field.ErrorList {
	var l check.List
	if s.portal == "" {
		l.Required(p.Child("targetPortal"), "")
	}
	if s.iqn == "" {
		l.Required(p.Child("iqn"), "")
	} else if problem := iscsiNameProblem(s.iqn, wrongPrefix); problem != "" {
		l.Invalid(p.Child("iqn"), s.iqn, problem)
	}
	if s.lun < 0 || s.lun > 255 {
		l.Invalid(p.Child("lun"), s.lun, validation.InclusiveRangeError(0, 255))
	}
	if s.chap && !s.hasSecret {
		l.Required(p.Child("secretRef"), "")
	}
	if s.initiator != nil {
		if problem := iscsiNameProblem(*s.initiator, wrongPrefix); problem != "" {
			l.Invalid(p.Child("initiatorname"), *s.initiator, problem)
		}
	}
	return l.Errors()
}

// iscsiNameProblem checks a name of RFC 3720 section 3.2.6. iSCSI is rare: its patterns are compiled when used.
func iscsiNameProblem(name, wrongPrefix string) string {
	for prefix, pattern := range map[string]string{
		"iqn": `iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`,
		"eui": `^eui.[[:alnum:]]{16}$`,
		"naa": `^naa.[[:alnum:]]{32}$`,
	} {
		if strings.HasPrefix(name, prefix) {
			if regexp.MustCompile(pattern).MatchString(name) {
				return ""
			}
			return "must be valid format"
		}
	}
	return wrongPrefix
}

func validateFlex(p *field.Path, driver string, options map[string]string) field.ErrorList {
	var l check.List
	if driver == "" {
		l.Required(p.Child("driver"), "")
	}
	for key := range options {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			l.Invalid(p.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
	return l.Errors()
}

func validateStorageOS(p *field.Path, name, namespace string) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(p.Child("volumeName"), "")
	} else {
		l.Add(check.DNSLabel(p.Child("volumeName"), name))
	}
	if namespace != "" {
		l.Add(check.DNSLabel(p.Child("volumeNamespace"), namespace))
	}
	return l.Errors()
}
