// SPDX-License-Identifier: Apache-2.0

// Package admissionregistration holds defaults and validation of the kinds by which users put their own checks into
// admission: webhook configurations, and policies written in CEL with their bindings.
//
// CEL expressions are compiled by the compiler that runs them, so what is accepted here can be evaluated. Compiling
// costs some milliseconds an expression; nothing is kept between calls.
package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetDefaultsValidatingWebhookConfiguration fills in what a ValidatingWebhookConfiguration leaves open.
func SetDefaultsValidatingWebhookConfiguration(c *admissionv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		setWebhookDefaults(&w.FailurePolicy, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
		setMatchDefaults(&w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector)
	}
}

// SetDefaultsMutatingWebhookConfiguration fills in what a MutatingWebhookConfiguration leaves open.
func SetDefaultsMutatingWebhookConfiguration(c *admissionv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		setWebhookDefaults(&w.FailurePolicy, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
		setMatchDefaults(&w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector)
		setIfNil(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	}
}

// SetDefaultsValidatingAdmissionPolicy fills in what a ValidatingAdmissionPolicy leaves open.
func SetDefaultsValidatingAdmissionPolicy(p *admissionv1.ValidatingAdmissionPolicy) {
	setIfNil(&p.Spec.FailurePolicy, admissionv1.Fail)
	setMatchResourcesDefaults(p.Spec.MatchConstraints)
}

// SetDefaultsValidatingAdmissionPolicyBinding fills in what a ValidatingAdmissionPolicyBinding leaves open.
func SetDefaultsValidatingAdmissionPolicyBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) {
	setMatchResourcesDefaults(b.Spec.MatchResources)
}

// SetDefaultsMutatingAdmissionPolicy fills in what a MutatingAdmissionPolicy leaves open.
func SetDefaultsMutatingAdmissionPolicy(p *admissionv1.MutatingAdmissionPolicy) {
	setIfNil(&p.Spec.FailurePolicy, admissionv1.Fail)
	setMatchResourcesDefaults(p.Spec.MatchConstraints)
}

// SetDefaultsMutatingAdmissionPolicyBinding fills in what a MutatingAdmissionPolicyBinding leaves open.
func SetDefaultsMutatingAdmissionPolicyBinding(b *admissionv1.MutatingAdmissionPolicyBinding) {
	setMatchResourcesDefaults(b.Spec.MatchResources)
}

func setWebhookDefaults(failure **admissionv1.FailurePolicyType, timeout **int32, client *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations) {
	setIfNil(failure, admissionv1.Fail)
	setIfNil(timeout, 10)
	if client.Service != nil {
		setIfNil(&client.Service.Port, 443)
	}
	for i := range rules {
		setIfNil(&rules[i].Scope, admissionv1.AllScopes)
	}
}

func setMatchResourcesDefaults(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	setMatchDefaults(&m.MatchPolicy, &m.NamespaceSelector, &m.ObjectSelector)
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setIfNil(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}

func setMatchDefaults(policy **admissionv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector) {
	setIfNil(policy, admissionv1.Equivalent)
	setIfNil(namespaces, metav1.LabelSelector{})
	setIfNil(objects, metav1.LabelSelector{})
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
