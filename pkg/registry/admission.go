// SPDX-License-Identifier: Apache-2.0

package registry

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/apis/admissionregistration"
)

// admissionRows are the kinds by which users put checks of their own into admission; pkg/apiserver/admission acts by them.
func admissionRows() []*Resource {
	v1 := admissionv1.SchemeGroupVersion
	category := []string{"api-extensions"}
	return []*Resource{
		Kind[admissionv1.MutatingWebhookConfiguration]{
			Resource: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration", Categories: category,
			List:    func() runtime.Object { return &admissionv1.MutatingWebhookConfigurationList{} },
			Cluster: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsMutatingWebhookConfiguration,
			Validate:       admissionregistration.ValidateMutatingWebhookConfiguration,
			ValidateUpdate: admissionregistration.ValidateMutatingWebhookConfigurationUpdate,
		}.in(v1, "MutatingWebhookConfiguration"),
		Kind[admissionv1.ValidatingWebhookConfiguration]{
			Resource: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration", Categories: category,
			List:    func() runtime.Object { return &admissionv1.ValidatingWebhookConfigurationList{} },
			Cluster: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsValidatingWebhookConfiguration,
			Validate:       admissionregistration.ValidateValidatingWebhookConfiguration,
			ValidateUpdate: admissionregistration.ValidateValidatingWebhookConfigurationUpdate,
		}.in(v1, "ValidatingWebhookConfiguration"),
		Kind[admissionv1.MutatingAdmissionPolicy]{
			Resource: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy", Categories: category,
			List:    func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyList{} },
			Cluster: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsMutatingAdmissionPolicy,
			Validate:       admissionregistration.ValidateMutatingAdmissionPolicy,
			ValidateUpdate: admissionregistration.ValidateMutatingAdmissionPolicyUpdate,
		}.in(v1, "MutatingAdmissionPolicy"),
		Kind[admissionv1.MutatingAdmissionPolicyBinding]{
			Resource: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding", Categories: category,
			List:    func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBindingList{} },
			Cluster: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsMutatingAdmissionPolicyBinding,
			Validate:       admissionregistration.ValidateMutatingAdmissionPolicyBinding,
			ValidateUpdate: admissionregistration.ValidateMutatingAdmissionPolicyBindingUpdate,
		}.in(v1, "MutatingAdmissionPolicyBinding"),
		Kind[admissionv1.ValidatingAdmissionPolicy]{
			StatusResets: []string{"metadata"},
			Resource:     "validatingadmissionpolicies", Singular: "validatingadmissionpolicy", Categories: category,
			List:    func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyList{} },
			Cluster: true, Status: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsValidatingAdmissionPolicy,
			Validate:             admissionregistration.ValidateValidatingAdmissionPolicy,
			ValidateUpdate:       admissionregistration.ValidateValidatingAdmissionPolicyUpdate,
			ValidateStatusUpdate: admissionregistration.ValidateValidatingAdmissionPolicyStatusUpdate,
		}.in(v1, "ValidatingAdmissionPolicy"),
		Kind[admissionv1.ValidatingAdmissionPolicyBinding]{
			Resource: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding", Categories: category,
			List:    func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBindingList{} },
			Cluster: true, Generation: true, NeedsResourceVersion: true, SetDefaults: admissionregistration.SetDefaultsValidatingAdmissionPolicyBinding,
			Validate:       admissionregistration.ValidateValidatingAdmissionPolicyBinding,
			ValidateUpdate: admissionregistration.ValidateValidatingAdmissionPolicyBindingUpdate,
		}.in(v1, "ValidatingAdmissionPolicyBinding"),
	}
}
