// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for the volumes of a pod and for how its containers mount them.

package core

import (
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// validateVolumes returns the valid volumes by name, for mounts to be checked against. meta is nil in a template.
func validateVolumes(p *field.Path, volumes []corev1.Volume, meta *metav1.ObjectMeta, inPod bool) (map[string]corev1.VolumeSource, field.ErrorList) {
	var l check.List
	created := sets.New[string]()
	if meta != nil && meta.Name != "" {
		for _, v := range volumes {
			if v.Ephemeral != nil {
				created.Insert(meta.Name + "-" + v.Name)
			}
		}
	}
	valid := map[string]corev1.VolumeSource{}
	for i, v := range volumes {
		p := p.Index(i)
		var one check.List
		one.Add(validateVolumeSource(p, &v, meta, inPod))
		if v.Name == "" {
			one.Required(p.Child("name"), "")
		} else {
			one.Add(check.DNSLabel(p.Child("name"), v.Name))
		}
		if _, ok := valid[v.Name]; ok {
			one.Duplicate(p.Child("name"), v.Name)
		}
		if errs := one.Errors(); len(errs) > 0 {
			l.Add(errs)
		} else {
			valid[v.Name] = v.VolumeSource
		}
		if claim := v.PersistentVolumeClaim; claim != nil && created.Has(claim.ClaimName) {
			l.Invalid(p.Child("persistentVolumeClaim", "claimName"), claim.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume")
		}
	}
	return valid, l.Errors()
}

func validateVolumeSource(p *field.Path, v *corev1.Volume, meta *metav1.ObjectMeta, inPod bool) field.ErrorList {
	one := oneSource{path: p}
	if v.EmptyDir != nil {
		one.count++
		if limit := v.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			one.Forbidden(p.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	}
	if p, ok := one.first("hostPath", v.HostPath != nil); ok {
		one.Add(validateHostPath(p, v.HostPath))
	}
	if p, ok := one.first("gitRepo", v.GitRepo != nil); ok {
		one.need(p, "repository", v.GitRepo.Repository)
		one.Add(validateRelativePath(p.Child("directory"), v.GitRepo.Directory))
	}
	if p, ok := one.first("secret", v.Secret != nil); ok {
		one.need(p, "secretName", v.Secret.SecretName)
		one.Add(validateMode(p.Child("defaultMode"), v.Secret.DefaultMode))
		one.Add(validateKeyPaths(p.Child("items"), v.Secret.Items))
	}
	validateSharedSources(&one, v)
	if p, ok := one.first("persistentVolumeClaim", v.PersistentVolumeClaim != nil); ok {
		one.need(p, "claimName", v.PersistentVolumeClaim.ClaimName)
	}
	if p, ok := one.first("downwardAPI", v.DownwardAPI != nil); ok {
		one.Add(validateMode(p.Child("defaultMode"), v.DownwardAPI.DefaultMode))
		for i := range v.DownwardAPI.Items {
			one.Add(validateDownwardFile(p, &v.DownwardAPI.Items[i]))
		}
	}
	if p, ok := one.first("configMap", v.ConfigMap != nil); ok {
		one.need(p, "name", v.ConfigMap.Name)
		one.Add(validateMode(p.Child("defaultMode"), v.ConfigMap.DefaultMode))
		one.Add(validateKeyPaths(p.Child("items"), v.ConfigMap.Items))
	}
	if p, ok := one.first("projected", v.Projected != nil); ok {
		one.Add(validateMode(p.Child("defaultMode"), v.Projected.DefaultMode))
		one.Add(validateProjectedSources(p, v.Projected.Sources))
	}
	if p, ok := one.first("csi", v.CSI != nil); ok {
		one.Add(ValidateCSIDriverName(p.Child("driver"), v.CSI.Driver))
		if ref := v.CSI.NodePublishSecretRef; ref != nil {
			if ref.Name == "" {
				one.Required(p.Child("nodePublishSecretRef", "name"), "")
			} else {
				one.Each(p.Child("name"), ref.Name, apivalidation.NameIsDNSSubdomain(ref.Name, false))
			}
		}
	}
	if at, ok := one.first("ephemeral", v.Ephemeral != nil); ok {
		one.Add(validateEphemeralVolume(at, v.Ephemeral))
		if meta != nil && meta.Name != "" && v.Name != "" {
			claim := meta.Name + "-" + v.Name
			for _, message := range apivalidation.NameIsDNSSubdomain(claim, false) {
				one.Invalid(p.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, message))
			}
		}
	}
	if p, ok := one.first("image", v.Image != nil); ok {
		if inPod {
			one.need(p, "reference", v.Image.Reference)
		}
		one.Add(validatePullPolicy(p.Child("pullPolicy"), v.Image.PullPolicy))
	}
	return one.done()
}

// oneSource collects errors of a volume that must have exactly one source.
type oneSource struct {
	check.List
	path  *field.Path
	count int
}

// first returns the path of a source and whether it is set and the only one so far.
func (o *oneSource) first(name string, set bool) (*field.Path, bool) {
	if !set {
		return nil, false
	}
	if o.count++; o.count > 1 {
		o.Forbidden(o.path.Child(name), "may not specify more than 1 volume type")
		return nil, false
	}
	return o.path.Child(name), true
}

// need reports an empty field of the source at p.
func (o *oneSource) need(p *field.Path, name, value string) {
	if value == "" {
		o.Required(p.Child(name), "")
	}
}

func (o *oneSource) done() field.ErrorList {
	if o.count == 0 {
		o.Required(o.path, "must specify a volume type")
	}
	return o.Errors()
}

func validateEphemeralVolume(p *field.Path, ephemeral *corev1.EphemeralVolumeSource) field.ErrorList {
	var l check.List
	p = p.Child("volumeClaimTemplate")
	template := ephemeral.VolumeClaimTemplate
	if template == nil {
		l.Required(p, "")
		return l.Errors()
	}
	l.Add(ValidateTemplateMetadata(p.Child("metadata"), &template.ObjectMeta))
	l.Add(ValidatePersistentVolumeClaimSpec(p.Child("spec"), &template.Spec))
	return l.Errors()
}

// ValidateTemplateMetadata checks the metadata of a template of objects that a controller makes: it has labels and
// annotations, and nothing else.
func ValidateTemplateMetadata(p *field.Path, meta *metav1.ObjectMeta) field.ErrorList {
	var l check.List
	l.Add(check.Annotations(p.Child("annotations"), meta.Annotations))
	l.Add(check.Labels(p.Child("labels"), meta.Labels))
	rest := *meta
	rest.Annotations, rest.Labels = nil, nil
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name := v.Type().Field(i).Name
			l.Forbidden(p.Child(strings.ToLower(name[:1])+name[1:]), "cannot be set")
		}
	}
	return l.Errors()
}

func validateMode(p *field.Path, mode *int32) field.ErrorList {
	if mode == nil || *mode >= 0 && *mode <= 0o777 {
		return nil
	}
	return field.ErrorList{field.Invalid(p, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
}

func validateKeyPaths(p *field.Path, items []corev1.KeyToPath) field.ErrorList {
	var l check.List
	for i, item := range items {
		p := p.Index(i)
		if item.Key == "" {
			l.Required(p.Child("key"), "")
		}
		if item.Path == "" {
			l.Required(p.Child("path"), "")
		}
		l.Add(validateFilePath(p.Child("path"), item.Path))
		l.Add(validateMode(p.Child("mode"), item.Mode))
	}
	return l.Errors()
}

func validateDownwardFile(p *field.Path, file *corev1.DownwardAPIVolumeFile) field.ErrorList {
	var l check.List
	if file.Path == "" {
		l.Required(p.Child("path"), "")
	}
	l.Add(validateFilePath(p.Child("path"), file.Path))
	switch {
	case file.FieldRef != nil:
		l.Add(validateFieldRef(p.Child("fieldRef"), file.FieldRef, volumeFields()))
		if file.ResourceFieldRef != nil {
			l.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case file.ResourceFieldRef != nil:
		l.Add(validateResourceFieldRef(p.Child("resourceFieldRef"), file.ResourceFieldRef, true))
	default:
		l.Required(p, "one of fieldRef and resourceFieldRef is required")
	}
	l.Add(validateMode(p.Child("mode"), file.Mode))
	return l.Errors()
}

func validateProjectedSources(p *field.Path, sources []corev1.VolumeProjection) field.ErrorList {
	var l check.List
	taken := sets.New[string]()
	take := func(path, shown string) {
		if path == "" {
			return
		}
		if taken.Has(path) {
			l.Invalid(p, shown, "conflicting duplicate paths")
		}
		taken.Insert(path)
	}
	keys := func(at *field.Path, name string, items []corev1.KeyToPath) {
		if name == "" {
			l.Required(at.Child("name"), "")
		}
		l.Add(validateKeyPaths(at.Child("items"), items))
		for _, item := range items {
			take(item.Path, name)
		}
	}
	for i, source := range sources {
		at := p.Child("sources").Index(i)
		count := 0
		if s := source.Secret; s != nil {
			count++
			keys(at.Child("secret"), s.Name, s.Items)
		}
		if s := source.ConfigMap; s != nil {
			count++
			keys(at.Child("configMap"), s.Name, s.Items)
		}
		if s := source.DownwardAPI; s != nil {
			count++
			for j := range s.Items {
				l.Add(validateDownwardFile(at.Child("downwardAPI"), &s.Items[j]))
				take(s.Items[j].Path, s.Items[j].Path)
			}
		}
		if s := source.ServiceAccountToken; s != nil {
			count++
			l.Add(validateTokenProjection(at.Child("serviceAccountToken"), s))
			if s.Path == "" {
				l.Required(p.Child("path"), "")
			} else {
				l.Add(validateFilePath(p.Child("path"), s.Path))
			}
		}
		if count > 1 {
			l.Forbidden(at, "may not specify more than 1 volume type per source")
		}
	}
	return l.Errors()
}

func validateTokenProjection(p *field.Path, token *corev1.ServiceAccountTokenProjection) field.ErrorList {
	var l check.List
	const shortest, longest = 10 * 60, 1 << 32
	var seconds int64
	if token.ExpirationSeconds != nil {
		seconds = *token.ExpirationSeconds
	}
	if seconds < shortest {
		l.Invalid(p.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes")
	}
	if seconds > longest {
		l.Invalid(p.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds")
	}
	return l.Errors()
}

// validateFilePath checks the path of a file in a volume that the kubelet writes: relative, and not starting with '..',
// which the kubelet keeps for itself.
func validateFilePath(p *field.Path, value string) field.ErrorList {
	var l check.List
	l.Add(validateRelativePath(p, value))
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") {
		l.Invalid(p, value, "must not start with '..'")
	}
	return l.Errors()
}

func validateRelativePath(p *field.Path, value string) field.ErrorList {
	var l check.List
	if path.IsAbs(value) {
		l.Invalid(p, value, "must be a relative path")
	}
	l.Add(validateNoBacksteps(p, value))
	return l.Errors()
}

func validateNoBacksteps(p *field.Path, value string) field.ErrorList {
	for _, part := range strings.Split(filepath.ToSlash(value), "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(p, value, "must not contain '..'")}
		}
	}
	return nil
}

func validateVolumeMounts(p *field.Path, c *corev1.Container, volumes map[string]corev1.VolumeSource) field.ErrorList {
	var l check.List
	deviceNames, devicePaths := sets.New[string](), sets.New[string]()
	for _, device := range c.VolumeDevices {
		deviceNames.Insert(device.Name)
		devicePaths.Insert(device.DevicePath)
	}
	paths := sets.New[string]()
	for i, mount := range c.VolumeMounts {
		at := p.Index(i)
		if mount.Name == "" {
			l.Required(at.Child("name"), "")
		}
		if _, ok := volumes[mount.Name]; !ok {
			l.NotFound(at.Child("name"), mount.Name)
		}
		if mount.MountPath == "" {
			l.Required(at.Child("mountPath"), "")
		}
		if paths.Has(mount.MountPath) {
			l.Invalid(at.Child("mountPath"), mount.MountPath, "must be unique")
		}
		paths.Insert(mount.MountPath)
		if deviceNames.Has(mount.Name) {
			l.Invalid(at.Child("name"), mount.Name, "must not already exist in volumeDevices")
		}
		if devicePaths.Has(mount.MountPath) {
			l.Invalid(at.Child("mountPath"), mount.MountPath, "must not already exist as a path in volumeDevices")
		}
		if mount.SubPath != "" {
			l.Add(validateRelativePath(p.Child("subPath"), mount.SubPath))
		}
		if mount.SubPathExpr != "" {
			if mount.SubPath != "" {
				l.Invalid(at.Child("subPathExpr"), mount.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
			}
			l.Add(validateRelativePath(p.Child("subPathExpr"), mount.SubPathExpr))
		}
		l.Add(validateMountPropagation(p.Child("mountPropagation"), mount.MountPropagation, c))
		l.Add(validateRecursiveReadOnly(p.Child("recursiveReadOnly"), mount))
	}
	return l.Errors()
}

func validateMountPropagation(p *field.Path, mode *corev1.MountPropagationMode, c *corev1.Container) field.ErrorList {
	if mode == nil {
		return nil
	}
	var l check.List
	l.Add(check.OneOf(p, *mode, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone))
	privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	if *mode == corev1.MountPropagationBidirectional && !privileged {
		l.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers")
	}
	return l.Errors()
}

func validateRecursiveReadOnly(p *field.Path, mount corev1.VolumeMount) field.ErrorList {
	if mount.RecursiveReadOnly == nil {
		return nil
	}
	var l check.List
	switch *mount.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !mount.ReadOnly {
			l.Forbidden(p, "may only be specified when readOnly is true")
		}
		if mount.MountPropagation != nil && *mount.MountPropagation != corev1.MountPropagationNone {
			l.Forbidden(p, "may only be specified when mountPropagation is None or not specified")
		}
	default:
		l.Add(check.OneOf(p, *mount.RecursiveReadOnly,
			corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible))
	}
	return l.Errors()
}

func validateVolumeDevices(p *field.Path, c *corev1.Container, volumes map[string]corev1.VolumeSource) field.ErrorList {
	var l check.List
	mountNames, mountPaths := sets.New[string](), sets.New[string]()
	for _, mount := range c.VolumeMounts {
		mountNames.Insert(mount.Name)
		mountPaths.Insert(mount.MountPath)
	}
	names, paths := sets.New[string](), sets.New[string]()
	for i, device := range c.VolumeDevices {
		p := p.Index(i)
		source, found := volumes[device.Name]
		if device.Name == "" {
			l.Required(p.Child("name"), "")
		}
		if names.Has(device.Name) {
			l.Invalid(p.Child("name"), device.Name, "must be unique")
		}
		if !found {
			l.NotFound(p.Child("name"), device.Name)
		} else if source.PersistentVolumeClaim == nil && source.Ephemeral == nil {
			l.Invalid(p.Child("name"), device.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		if device.DevicePath == "" {
			l.Required(p.Child("devicePath"), "")
		}
		if paths.Has(device.DevicePath) {
			l.Invalid(p.Child("devicePath"), device.DevicePath, "must be unique")
		}
		if device.DevicePath != "" && len(validateNoBacksteps(p, device.DevicePath)) > 0 {
			l.Invalid(p.Child("devicePath"), device.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths.Insert(device.DevicePath)
		}
		if mountNames.Has(device.Name) {
			l.Invalid(p.Child("name"), device.Name, "must not already exist in volumeMounts")
		}
		if mountPaths.Has(device.DevicePath) {
			l.Invalid(p.Child("devicePath"), device.DevicePath, "must not already exist as a path in volumeMounts")
		}
		if device.Name != "" {
			names.Insert(device.Name)
		}
	}
	return l.Errors()
}
