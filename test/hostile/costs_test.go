// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// Of an object with many keys the first costs more than an expression may, and the others a part of that, more of which than all of them may cost together.
const (
	tooCostly = "object.data.all(a, object.data.all(b, object.data.all(c, a != '' || b != '' || c != '')))"
	costly    = "object.data.all(a, object.data.all(b, a != '' || b != ''))"
)

// policies are expressions that cost far more than they may, and many that cost all they may, in each place where admission has expressions. Writes are refused for
// them, and those of others go on beside it.
func policies(t *testing.T, s *suite) {
	n, clients := 1, 1
	if *full {
		n, clients = 4, 16
	}
	client := kubernetes.NewForConfigOrDie(s.admin)
	const place = "costly"
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: place}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), place, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	object := func(name string) *corev1.ConfigMap {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: place}, Data: map[string]string{}}
		for i := range 240 {
			m.Data[fmt.Sprintf("key%d", i)] = strings.Repeat("x", 100)
		}
		return m
	}
	create := func(ctx context.Context, name string) error {
		_, err := client.CoreV1().ConfigMaps(place).Create(ctx, object(name), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for i := range 2 {
		params := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("params-%d", i), Labels: map[string]string{"params": "yes"}}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), params, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	hook := newHook(t, nil)
	for _, tt := range []struct {
		name string
		make func(ctx context.Context) (remove func(context.Context) error, err error)
		want string
	}{
		{"an expression of a policy", func(ctx context.Context) (func(context.Context) error, error) {
			return validating(ctx, client, place, 1, false, tooCostly)
		}, `422 Invalid configmaps "x" is forbidden: ValidatingAdmissionPolicy 'costly-0' with binding 'costly-0' denied request: expression '` + tooCostly + `' resulted in error: operation cancelled: actual cost limit exceeded`},
		{"many policies, each with bindings and parameters", func(ctx context.Context) (func(context.Context) error, error) {
			return validating(ctx, client, place, n, true, many(60, costly+" && %d >= 0"))
		}, `422 Invalid configmaps "x" is forbidden: ValidatingAdmissionPolicy 'costly-0' with binding 'costly-0' denied request: validation failed due to running out of cost budget, no further validation rules will be run`},
		{"an expression of a policy that changes objects", func(ctx context.Context) (func(context.Context) error, error) {
			return mutating(ctx, client, place, tooCostly)
		}, `403 Invalid policy 'costly' with binding 'costly' denied request: expression '[JSONPatch{op: "add", path: "/metadata/labels", value: {"costly": ` + tooCostly + ` ? "yes" : "no"}}]' resulted in error: operation cancelled: actual cost limit exceeded`},
		{"a condition of a webhook", func(ctx context.Context) (func(context.Context) error, error) {
			return conditioned(ctx, client, place, hook.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}), tooCostly)
		}, `403 Forbidden configmaps "x" is forbidden: expression '` + tooCostly + `' resulted in error: operation cancelled: actual cost limit exceeded`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			remove, err := tt.make(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := remove(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
				soon(t, "the expressions are not asked any more", func(ctx context.Context) (bool, error) { return create(ctx, "x") == nil, nil })
			}()
			soon(t, "the expressions are asked", func(ctx context.Context) (bool, error) { return create(ctx, "x") != nil, nil })
			expect(t, create(t.Context(), "x"), tt.want)
			each(t, clients, clients, func(ctx context.Context, i int) error {
				if create(ctx, "x") == nil {
					return errors.New("created, in spite of what it costs")
				}
				return nil
			})
		})
	}
}

// here selects what is created of ConfigMaps.
func here() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func in(namespace string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
}

// validating makes n policies with those expressions, and a binding of each, to all the parameters or to none.
func validating(ctx context.Context, client kubernetes.Interface, namespace string, n int, parameters bool, expressions string) (func(context.Context) error, error) {
	policies, bindings := client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	var validations []admissionregistrationv1.Validation
	for expression := range strings.SplitSeq(expressions, ",object") {
		if validations != nil {
			expression = "object" + expression
		}
		validations = append(validations, admissionregistrationv1.Validation{Expression: expression})
	}
	for i := range n {
		name := fmt.Sprintf("costly-%d", i)
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: named(here()), NamespaceSelector: in(namespace)}, Validations: validations,
		}}
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		}}
		if parameters {
			policy.Spec.ParamKind = &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
			binding.Spec.ParamRef = &admissionregistrationv1.ParamRef{
				Namespace: "default", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"params": "yes"}}, ParameterNotFoundAction: ptr.To(admissionregistrationv1.DenyAction),
			}
		}
		if _, err := policies.Create(ctx, policy, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		if _, err := bindings.Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		var errs []error
		for i := range n {
			name := fmt.Sprintf("costly-%d", i)
			errs = append(errs, bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{}))
		}
		return errors.Join(errs...)
	}, nil
}

func named(rules []admissionregistrationv1.RuleWithOperations) (all []admissionregistrationv1.NamedRuleWithOperations) {
	for _, r := range rules {
		all = append(all, admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	return all
}

// mutating makes a policy that sets a label to what the expression says.
func mutating(ctx context.Context, client kubernetes.Interface, namespace, expression string) (func(context.Context) error, error) {
	policies, bindings := client.AdmissionregistrationV1().MutatingAdmissionPolicies(), client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	const name = "costly"
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: named(here()), NamespaceSelector: in(namespace)}, ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		FailurePolicy: ptr.To(admissionregistrationv1.Fail),
		Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{
			Expression: `[JSONPatch{op: "add", path: "/metadata/labels", value: {"costly": ` + expression + ` ? "yes" : "no"}}]`,
		}}},
	}}
	if _, err := policies.Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	_, err := bindings.Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}}, metav1.CreateOptions{})
	return func(ctx context.Context) error {
		return errors.Join(bindings.Delete(ctx, name, metav1.DeleteOptions{}), policies.Delete(ctx, name, metav1.DeleteOptions{}))
	}, err
}

// conditioned makes a webhook that is to be asked only where the expression says so.
func conditioned(ctx context.Context, client kubernetes.Interface, namespace, url string, authority []byte, expression string) (func(context.Context) error, error) {
	configurations := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	const name = "costly"
	_, err := configurations.Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
		Name: "costly.hostile.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), FailurePolicy: ptr.To(admissionregistrationv1.Fail),
		ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: authority}, Rules: here(), NamespaceSelector: in(namespace), TimeoutSeconds: ptr.To[int32](1),
		MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "costly", Expression: expression}},
	}}}, metav1.CreateOptions{})
	return func(ctx context.Context) error { return configurations.Delete(ctx, name, metav1.DeleteOptions{}) }, err
}
