// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for environment variables and for the references to fields and resources of the pod that
// they and downward API volumes share.

package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateEnv(p *field.Path, vars []corev1.EnvVar) field.ErrorList {
	var l check.List
	for i, v := range vars {
		p := p.Index(i)
		if v.Name == "" {
			l.Required(p.Child("name"), "")
		} else {
			l.Each(p.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			l.Add(validateEnvSource(p.Child("valueFrom"), v.ValueFrom, v.Value != ""))
		}
	}
	return l.Errors()
}

func validateEnvSource(p *field.Path, from *corev1.EnvVarSource, hasValue bool) field.ErrorList {
	var l check.List
	sources := 0
	if from.FieldRef != nil {
		sources++
		l.Add(validateFieldRef(p.Child("fieldRef"), from.FieldRef, envFields()))
	}
	if from.ResourceFieldRef != nil {
		sources++
		l.Add(validateResourceFieldRef(p.Child("resourceFieldRef"), from.ResourceFieldRef, false))
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		sources++
		l.Add(validateKeySelector(p.Child("configMapKeyRef"), ref.Name, ref.Key))
	}
	if ref := from.SecretKeyRef; ref != nil {
		sources++
		l.Add(validateKeySelector(p.Child("secretKeyRef"), ref.Name, ref.Key))
	}
	if from.FileKeyRef != nil {
		sources++
		l.Add(validateFileKeyRef(p.Child("fileKeyRef"), from.FileKeyRef))
	}
	switch {
	case sources == 0:
		l.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case hasValue:
		l.Invalid(p, "", "may not be specified when `value` is not empty")
	case sources > 1:
		l.Invalid(p, "", "may not have more than one field specified at a time")
	}
	return l.Errors()
}

func validateEnvFrom(p *field.Path, froms []corev1.EnvFromSource) field.ErrorList {
	var l check.List
	for i, from := range froms {
		at := p.Index(i)
		if from.Prefix != "" {
			l.Each(at.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))
		}
		sources := 0
		one := func(p *field.Path, name string) {
			sources++
			if name == "" {
				l.Required(p.Child("name"), "")
			} else {
				l.Each(p.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, true))
			}
		}
		if from.ConfigMapRef != nil {
			one(at.Child("configMapRef"), from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			one(at.Child("secretRef"), from.SecretRef.Name)
		}
		switch {
		case sources == 0:
			l.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`")
		case sources > 1:
			l.Invalid(p, "", "may not have more than one field specified at a time")
		}
	}
	return l.Errors()
}

func validateKeySelector(p *field.Path, name, key string) field.ErrorList {
	var l check.List
	l.Each(p.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, false))
	if key == "" {
		l.Required(p.Child("key"), "")
	} else {
		l.Each(p.Child("key"), key, validation.IsConfigMapKey(key))
	}
	return l.Errors()
}

func validateFileKeyRef(p *field.Path, ref *corev1.FileKeySelector) field.ErrorList {
	var l check.List
	if ref.Key == "" {
		l.Required(p.Child("key"), "")
	} else {
		l.Each(p.Child("key"), ref.Key, validation.IsRelaxedEnvVarName(ref.Key))
	}
	if ref.VolumeName == "" {
		l.Required(p.Child("volumeName"), "")
	} else {
		l.Add(check.DNSLabel(p.Child("volumeName"), ref.VolumeName))
	}
	if ref.Path == "" {
		l.Required(p.Child("path"), "")
	} else {
		l.Add(validateNoBacksteps(p.Child("path"), ref.Path))
	}
	return l.Errors()
}

// validateFileKeyVolumes checks that variables read from files name an emptyDir volume of the pod (KEP-3721).
func validateFileKeyVolumes(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var l check.List
	visitContainers(p, spec, func(p *field.Path, c *corev1.Container) {
		for i, v := range c.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := v.ValueFrom.FileKeyRef.VolumeName
			at := p.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			found := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
			if found < 0 {
				l.NotFound(at, name)
			} else if spec.Volumes[found].EmptyDir == nil {
				l.Invalid(at, name, "referenced volume must be of type emptyDir")
			}
		}
	})
	return l.Errors()
}

// envFields are the fields of a pod that an environment variable may take its value from.
func envFields() []string {
	return []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

// volumeFields are the fields of a pod that a file of a downward API volume may show.
func volumeFields() []string {
	return []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
}

func validateFieldRef(p *field.Path, ref *corev1.ObjectFieldSelector, supported []string) field.ErrorList {
	var l check.List
	switch {
	case ref.APIVersion == "":
		l.Required(p.Child("apiVersion"), "")
		return l.Errors()
	case ref.FieldPath == "":
		l.Required(p.Child("fieldPath"), "")
		return l.Errors()
	}
	name, subscript, subscripted := splitSubscript(ref.FieldPath)
	if problem := fieldLabelProblem(ref.APIVersion, ref.FieldPath, name, subscripted); problem != "" {
		l.Invalid(p.Child("fieldPath"), ref.FieldPath, "error converting fieldPath: "+problem)
		return l.Errors()
	}
	switch {
	case subscripted && name == "metadata.annotations":
		l.Add(check.QualifiedName(p, strings.ToLower(subscript)))
	case subscripted:
		l.Add(check.QualifiedName(p, subscript))
	case name == "spec.host":
		l.Add(check.OneOf(p.Child("fieldPath"), "spec.nodeName", supported...))
	default:
		l.Add(check.OneOf(p.Child("fieldPath"), name, supported...))
	}
	return l.Errors()
}

// fieldLabelProblem says why a field path of a pod cannot be read at all, in any place.
func fieldLabelProblem(version, label, name string, subscripted bool) string {
	if version != "v1" {
		return "unsupported pod version: " + version
	}
	if subscripted {
		if name == "metadata.annotations" || name == "metadata.labels" {
			return ""
		}
		return "field label does not support subscript: " + label
	}
	known := append(envFields(), "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host")
	if slices.Contains(known, name) {
		return ""
	}
	return "field label not supported: " + label
}

// splitSubscript splits metadata.labels['app'] into the path and what is quoted between the brackets.
func splitSubscript(fieldPath string) (name, subscript string, ok bool) {
	inner, ok := strings.CutSuffix(fieldPath, "']")
	if !ok {
		return fieldPath, "", false
	}
	name, subscript, ok = strings.Cut(inner, "['")
	if !ok || name == "" {
		return fieldPath, "", false
	}
	return name, subscript, true
}

func validateResourceFieldRef(p *field.Path, ref *corev1.ResourceFieldSelector, inVolume bool) field.ErrorList {
	var l check.List
	hugePages := strings.HasPrefix(ref.Resource, "requests.hugepages-") || strings.HasPrefix(ref.Resource, "limits.hugepages-")
	switch {
	case inVolume && ref.ContainerName == "":
		l.Required(p.Child("containerName"), "")
	case ref.Resource == "":
		l.Required(p.Child("resource"), "")
	case !hugePages:
		l.Add(check.OneOf(p.Child("resource"), ref.Resource, "limits.cpu", "limits.ephemeral-storage", "limits.memory",
			"requests.cpu", "requests.ephemeral-storage", "requests.memory"))
	}
	l.Add(validateDivisor(p.Child("divisor"), ref.Resource, ref.Divisor, hugePages))
	return l.Errors()
}

func validateDivisor(p *field.Path, name string, divisor resource.Quantity, hugePages bool) field.ErrorList {
	var l check.List
	if divisor.IsZero() {
		return nil
	}
	units := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	what := ""
	switch _, kind, _ := strings.Cut(name, "."); {
	case hugePages:
		what = "hugepages"
	case kind == "cpu":
		if s := divisor.String(); s != "1m" && s != "1" {
			l.Invalid(p, name, "only divisor's values 1m and 1 are supported with the cpu resource")
		}
	case kind == "memory":
		what = "memory"
	case kind == "ephemeral-storage":
		what = "local ephemeral storage"
	}
	if what != "" && !slices.Contains(units, divisor.String()) {
		l.Invalid(p, name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(units, ", "), what))
	}
	return l.Errors()
}
