// SPDX-License-Identifier: Apache-2.0

// Package node says what a RuntimeClass is: a way of running containers, with what it costs and where it exists.
package node

import (
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// ValidateRuntimeClass checks a new RuntimeClass. Finalizers need no domain, as those of most other kinds do.
func ValidateRuntimeClass(class *nodev1.RuntimeClass) field.ErrorList {
	var l check.List
	l.Add(apivalidation.ValidateObjectMeta(&class.ObjectMeta, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata")))
	if class.Handler == "" {
		l.Required(field.NewPath("handler"), "")
	} else {
		l.Each(field.NewPath("handler"), class.Handler, apivalidation.NameIsDNSLabel(class.Handler, false))
	}
	if class.Overhead != nil {
		l.Add(core.ValidateOverhead(field.NewPath("overhead"), class.Overhead.PodFixed))
	}
	if class.Scheduling == nil {
		return l.Errors()
	}
	p := field.NewPath("scheduling")
	l.Add(check.Labels(p.Child("nodeSelector"), class.Scheduling.NodeSelector))
	l.Add(core.ValidateTolerations(p.Child("tolerations"), class.Scheduling.Tolerations))
	seen := sets.New[corev1.Toleration]()
	for i, t := range class.Scheduling.Tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen.Has(key) {
			l.Duplicate(p.Child("tolerations").Index(i), t)
		}
		seen.Insert(key)
	}
	return l.Errors()
}

// ValidateRuntimeClassUpdate checks an update of a RuntimeClass: running pods rely on its handler.
func ValidateRuntimeClassUpdate(class, before *nodev1.RuntimeClass) field.ErrorList {
	errs := append(ValidateRuntimeClass(class), apivalidation.ValidateObjectMetaUpdate(&class.ObjectMeta, &before.ObjectMeta, field.NewPath("metadata"))...)
	return append(errs, check.Immutable(field.NewPath("handler"), class.Handler, before.Handler)...)
}
