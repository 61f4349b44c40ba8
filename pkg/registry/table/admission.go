// SPDX-License-Identifier: Apache-2.0

package table

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forAdmission knows the group admissionregistration.k8s.io.
func forAdmission(kind schema.GroupKind) rest.TableConvertor {
	if kind.Group != "admissionregistration.k8s.io" {
		return nil
	}
	switch kind.Kind {
	case "MutatingWebhookConfiguration":
		return webhooks(func(c *admissionv1.MutatingWebhookConfiguration) int { return len(c.Webhooks) })
	case "ValidatingWebhookConfiguration":
		return webhooks(func(c *admissionv1.ValidatingWebhookConfiguration) int { return len(c.Webhooks) })
	case "ValidatingAdmissionPolicy":
		return policies("Validations", "Validations indicates the number of validation rules defined in this configuration",
			func(p *admissionv1.ValidatingAdmissionPolicy) (int, *admissionv1.ParamKind) {
				return len(p.Spec.Validations), p.Spec.ParamKind
			})
	case "MutatingAdmissionPolicy":
		return policies("Mutations", "Mutation indicates the number of mutations rules defined in this configuration",
			func(p *admissionv1.MutatingAdmissionPolicy) (int, *admissionv1.ParamKind) {
				return len(p.Spec.Mutations), p.Spec.ParamKind
			})
	case "ValidatingAdmissionPolicyBinding":
		return policyBindings(func(b *admissionv1.ValidatingAdmissionPolicyBinding) (string, *admissionv1.ParamRef) {
			return b.Spec.PolicyName, b.Spec.ParamRef
		})
	case "MutatingAdmissionPolicyBinding":
		return policyBindings(func(b *admissionv1.MutatingAdmissionPolicyBinding) (string, *admissionv1.ParamRef) {
			return b.Spec.PolicyName, b.Spec.ParamRef
		})
	}
	return nil
}

func webhooks[T any](count func(*T) int) *table[T] {
	return of(
		name[T](),
		integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", func(c *T) any { return int64(count(c)) }),
		age[T](),
	)
}

func policies[T any](rules, description string, parts func(*T) (int, *admissionv1.ParamKind)) *table[T] {
	return of(
		name[T](),
		integer(rules, description, func(p *T) any {
			n, _ := parts(p)
			return int64(n)
		}),
		text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy", func(p *T) any {
			_, kind := parts(p)
			if kind == nil {
				return "<unset>"
			}
			return kind.APIVersion + "/" + kind.Kind
		}),
		age[T](),
	)
}

func policyBindings[T any](parts func(*T) (string, *admissionv1.ParamRef)) *table[T] {
	return of(
		name[T](),
		text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to", func(b *T) any {
			policy, _ := parts(b)
			return policy
		}),
		text("ParamRef", "ParamRef indicates the param resource which sets the configuration param", func(b *T) any {
			_, ref := parts(b)
			switch {
			case ref == nil:
				return "<unset>"
			case ref.Name != "":
				return or(ref.Namespace, "*") + "/" + ref.Name
			case ref.Selector != nil:
				return ref.Selector.String()
			}
			return "<unset>"
		}),
		age[T](),
	)
}
