// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for ObjectMeta that kube-apiserver adds to those of apimachinery: finalizers without a
// domain must be known ones.

package check

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NameFunc says what is wrong with a name; prefix marks a generateName, which may end in a dash.
type NameFunc = validation.ValidateNameFunc

// PathSegmentName accepts any name that can stand in a URL path: the rule of RBAC objects.
func PathSegmentName(name string, _ bool) []string { return content.IsPathSegmentName(name) }

// Metadata validates the metadata of a namespaced object on create.
func Metadata(meta *metav1.ObjectMeta, name NameFunc) field.ErrorList {
	return metadata(meta, true, name)
}

// ClusterMetadata validates the metadata of a cluster-scoped object on create.
func ClusterMetadata(meta *metav1.ObjectMeta, name NameFunc) field.ErrorList {
	return metadata(meta, false, name)
}

// ClusterMetadataLongName is ClusterMetadata for kinds whose name is an RFC 1123 subdomain by the newer rule, which looks at
// the name that an object gets in the end and not at its generateName.
func ClusterMetadataLongName(meta *metav1.ObjectMeta) field.ErrorList {
	return metadataLongName(meta, false)
}

// MetadataLongName is the same for kinds that are in namespaces.
func MetadataLongName(meta *metav1.ObjectMeta) field.ErrorList { return metadataLongName(meta, true) }

func metadataLongName(meta *metav1.ObjectMeta, namespaced bool) field.ErrorList {
	p := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaWithOpts(meta, namespaced, func(p *field.Path, name string) field.ErrorList {
		return each(p, name, content.IsDNS1123Subdomain(name))
	}, p)
	return append(errs, finalizers(meta, p)...)
}

func metadata(meta *metav1.ObjectMeta, namespaced bool, name NameFunc) field.ErrorList {
	p := field.NewPath("metadata")
	errs := validation.ValidateObjectMeta(meta, namespaced, name, p)
	return append(errs, finalizers(meta, p)...)
}

// MetadataUpdate validates the change of metadata from before to after.
func MetadataUpdate(after, before *metav1.ObjectMeta) field.ErrorList {
	p := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaUpdate(after, before, p)
	return append(errs, finalizers(after, p)...)
}

func finalizers(meta *metav1.ObjectMeta, p *field.Path) field.ErrorList {
	var l List
	for i, name := range meta.Finalizers {
		l.Add(StandardFinalizer(p.Child("finalizers").Index(i), name))
	}
	return l.Errors()
}

// StandardFinalizer reports a finalizer that has no domain and is none of Kubernetes' own.
func StandardFinalizer(p *field.Path, name string) field.ErrorList {
	switch name {
	case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
		return nil
	}
	if strings.Contains(name, "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(p, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// Annotations validates keys and total size.
func Annotations(p *field.Path, annotations map[string]string) field.ErrorList {
	return validation.ValidateAnnotations(annotations, p)
}

// Labels validates keys and values.
func Labels(p *field.Path, labels map[string]string) field.ErrorList {
	return metavalidation.ValidateLabels(labels, p)
}

// LabelName validates the key of a label.
func LabelName(p *field.Path, name string) field.ErrorList {
	return metavalidation.ValidateLabelName(name, p)
}

// LabelSelector validates a selector; nil is valid.
func LabelSelector(p *field.Path, selector *metav1.LabelSelector) field.ErrorList {
	return metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, p)
}

// DNSLabel validates an RFC 1123 label.
func DNSLabel(p *field.Path, value string) field.ErrorList {
	return each(p, value, utilvalidation.IsDNS1123Label(value))
}

// DNSSubdomain validates an RFC 1123 subdomain.
func DNSSubdomain(p *field.Path, value string) field.ErrorList {
	return each(p, value, utilvalidation.IsDNS1123Subdomain(value))
}

// QualifiedName validates a name with an optional domain prefix, as label keys have.
func QualifiedName(p *field.Path, value string) field.ErrorList {
	return each(p, value, content.IsLabelKey(value))
}

func each(p *field.Path, value any, messages []string) field.ErrorList {
	var l List
	l.Each(p, value, messages)
	return l.Errors()
}
