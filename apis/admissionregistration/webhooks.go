// SPDX-License-Identifier: Apache-2.0

// This file holds the validation of webhook configurations.

package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/manifest"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
)

// ValidateValidatingWebhookConfiguration checks a new ValidatingWebhookConfiguration.
func ValidateValidatingWebhookConfiguration(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	var l check.List
	l.Add(metadata(&c.ObjectMeta))
	names := sets.New[string]()
	for i := range c.Webhooks {
		l.Add(validateWebhook(field.NewPath("webhooks").Index(i), &c.Webhooks[i], nil, names))
	}
	return l.Errors()
}

// ValidateValidatingWebhookConfigurationUpdate checks an update of a ValidatingWebhookConfiguration.
func ValidateValidatingWebhookConfigurationUpdate(now, before *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateValidatingWebhookConfiguration(now)...)
}

// ValidateMutatingWebhookConfiguration checks a new MutatingWebhookConfiguration.
func ValidateMutatingWebhookConfiguration(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	var l check.List
	l.Add(metadata(&c.ObjectMeta))
	names := sets.New[string]()
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		l.Add(validateWebhook(field.NewPath("webhooks").Index(i), withoutReinvocation(w), w.ReinvocationPolicy, names))
	}
	return l.Errors()
}

// ValidateMutatingWebhookConfigurationUpdate checks an update of a MutatingWebhookConfiguration.
func ValidateMutatingWebhookConfigurationUpdate(now, before *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return append(metadataUpdate(&now.ObjectMeta, &before.ObjectMeta), ValidateMutatingWebhookConfiguration(now)...)
}

// withoutReinvocation returns what a mutating webhook shares with a validating one: all but its reinvocation policy.
func withoutReinvocation(w *admissionv1.MutatingWebhook) *admissionv1.ValidatingWebhook {
	return &admissionv1.ValidatingWebhook{
		Name:                    w.Name,
		ClientConfig:            w.ClientConfig,
		Rules:                   w.Rules,
		FailurePolicy:           w.FailurePolicy,
		MatchPolicy:             w.MatchPolicy,
		NamespaceSelector:       w.NamespaceSelector,
		ObjectSelector:          w.ObjectSelector,
		SideEffects:             w.SideEffects,
		TimeoutSeconds:          w.TimeoutSeconds,
		AdmissionReviewVersions: w.AdmissionReviewVersions,
		MatchConditions:         w.MatchConditions,
	}
}

// validateWebhook checks one webhook; names holds the names of those before it.
func validateWebhook(p *field.Path, w *admissionv1.ValidatingWebhook, reinvocation *admissionv1.ReinvocationPolicyType, names sets.Set[string]) field.ErrorList {
	var l check.List
	l.Add(utilvalidation.IsFullyQualifiedName(p.Child("name"), w.Name))
	for i := range w.Rules {
		l.Add(validateRule(p.Child("rules").Index(i), &w.Rules[i]))
	}
	if w.FailurePolicy != nil {
		l.Add(failurePolicy(p.Child("failurePolicy"), *w.FailurePolicy))
	}
	if w.MatchPolicy != nil {
		l.Add(matchPolicy(p.Child("matchPolicy"), *w.MatchPolicy))
	}
	if w.SideEffects == nil {
		l.Required(p.Child("sideEffects"), "must specify one of None, NoneOnDryRun")
	} else {
		l.Add(check.OneOf(p.Child("sideEffects"), *w.SideEffects, admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun))
	}
	if timeout := ptr.Deref(w.TimeoutSeconds, 1); timeout > 30 || timeout < 1 {
		l.Invalid(p.Child("timeoutSeconds"), timeout, "the timeout value must be between 1 and 30 seconds")
	}
	l.Add(check.LabelSelector(p.Child("namespaceSelector"), w.NamespaceSelector))
	l.Add(check.LabelSelector(p.Child("objectSelector"), w.ObjectSelector))
	if reinvocation != nil {
		l.Add(reinvocationPolicy(p.Child("reinvocationPolicy"), *reinvocation))
	}
	l.Add(validateClientConfig(p.Child("clientConfig"), &w.ClientConfig))
	l.Add(validateMatchConditions(p.Child("matchConditions"), w.MatchConditions, false))
	l.Add(validateReviewVersions(p.Child("admissionReviewVersions"), w.AdmissionReviewVersions))
	if names.Has(w.Name) && w.Name != "" {
		l.Duplicate(p.Child("name"), w.Name)
	}
	names.Insert(w.Name)
	return l.Errors()
}

func validateClientConfig(p *field.Path, c *admissionv1.WebhookClientConfig) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(p, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhook.ValidateWebhookURL(p.Child("url"), *c.URL, true)
	}
	s := c.Service
	return webhook.ValidateWebhookService(p.Child("service"), s.Name, s.Namespace, s.Path, ptr.Deref(s.Port, 443))
}

// reviewVersions are the versions of AdmissionReview that Hivemind can send.
var reviewVersions = []string{"v1", "v1beta1"}

func validateReviewVersions(p *field.Path, versions []string) field.ErrorList {
	var l check.List
	if len(versions) == 0 {
		l.Required(p, "must specify one of "+strings.Join(reviewVersions, ", "))
		return l.Errors()
	}
	seen := sets.New[string]()
	for i, version := range versions {
		if seen.Has(version) {
			l.Invalid(p.Index(i), version, "duplicate version")
			continue
		}
		seen.Insert(version)
		l.Each(p.Index(i), version, utilvalidation.IsDNS1035Label(version))
	}
	if !seen.HasAny(reviewVersions...) {
		l.Invalid(p, versions, "must include at least one of "+strings.Join(reviewVersions, ", "))
	}
	return l.Errors()
}

// metadata and metadataUpdate differ from those of package check: finalizers need not be known ones, and names with a certain end
// are for configurations that are files of the server.
func metadata(meta *metav1.ObjectMeta) field.ErrorList {
	var l check.List
	p := field.NewPath("metadata")
	l.Add(validation.ValidateObjectMeta(meta, false, validation.NameIsDNSSubdomain, p))
	if strings.HasSuffix(meta.Name, manifest.StaticConfigSuffix) {
		l.Invalid(p.Child("name"), meta.Name, fmt.Sprintf("names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", manifest.StaticConfigSuffix))
	}
	return l.Errors()
}

func metadataUpdate(now, before *metav1.ObjectMeta) field.ErrorList {
	return validation.ValidateObjectMetaUpdate(now, before, field.NewPath("metadata"))
}
