// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// rules makes custom resources with sixty rules each and has all of them asked again and again, in turn, so that those that are kept compiled are
// never those that come next. Then come objects and definitions that cost too much.
func rules(t *testing.T, s *suite) {
	n, fields := 12, 30
	if *full {
		n = 40
	}
	client, objects := apiextensions.NewForConfigOrDie(s.admin), dynamic.NewForConfigOrDie(s.admin)
	each(t, n, 8, func(ctx context.Context, i int) error { return define(ctx, client, objects, ruled(i, fields)) })
	each(t, 2*n, 8, func(ctx context.Context, i int) error {
		d := ruled(i%n, fields)
		forbidden := custom(d, map[string]any{"field3": map[string]any{"name": "forbidden"}})
		_, err := objects.Resource(resourceOf(d)).Namespace("default").Create(ctx, forbidden, metav1.CreateOptions{})
		return says(err, fmt.Sprintf(`%s.%s "one" is invalid: spec.field3: Invalid value: not forbidden`, d.Spec.Names.Kind, d.Spec.Group))
	})
	memory, err := ReadMemory(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with %d definitions: %.0f MiB", n, memory.Now)
	costs(t, client, objects)
	s.endless(t, client, objects)
	each(t, n, 8, func(ctx context.Context, i int) error {
		return client.ApiextensionsV1().CustomResourceDefinitions().Delete(ctx, ruled(i, 0).Name, metav1.DeleteOptions{})
	})
}

// endless makes and deletes a definition that is nearly all rules, none of which is like another.
func (s *suite) endless(t *testing.T, client apiextensions.Interface, objects dynamic.Interface) {
	const fields = 10
	n := 1000
	if *full {
		n = 5_000
	}
	d := definition(1001, 0)
	d.Spec.Versions = d.Spec.Versions[:1]
	spec := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	for f := range fields {
		text := apiextensionsv1.JSONSchemaProps{Type: "string", MaxLength: ptr.To[int64](10)}
		for i := range n / fields {
			text.XValidations = append(text.XValidations, apiextensionsv1.ValidationRule{Rule: fmt.Sprintf("self != 'v%d'", f*n/fields+i)})
		}
		spec.Properties[fmt.Sprintf("text%d", f)] = text
	}
	if err := define(t.Context(), client, objects, d); err != nil {
		t.Fatal(err)
	}
	one := custom(d, map[string]any{"text1": fmt.Sprintf("v%d", n/fields+1)})
	one.SetName("two")
	_, err := objects.Resource(resourceOf(d)).Namespace("default").Create(t.Context(), one, metav1.CreateOptions{})
	want := fmt.Sprintf(`%[1]s.%[2]s "two" is invalid: spec.text1: Invalid value: "v%[3]d": failed rule: self != 'v%[3]d'`, d.Spec.Names.Kind, d.Spec.Group, n/fields+1)
	if err := says(err, want); err != nil {
		t.Error(err)
	}
	if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the definition has gone", func(ctx context.Context) (bool, error) {
		_, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, d.Name, metav1.GetOptions{})
		return err != nil, ignoreNotFound(err)
	})
	memory, err := ReadMemory(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after one of %d rules: %.0f MiB, and %.0f at most", n, memory.Now, memory.Peak)
}

// costs makes objects whose rules cost more than a rule, or all of an object's, may.
func costs(t *testing.T, client apiextensions.Interface, objects dynamic.Interface) {
	const rule = "self.all(a, self.all(b, a + b >= 0))"
	d := definition(1000, 1)
	for i := range d.Spec.Versions {
		list := func(rules int) apiextensionsv1.JSONSchemaProps {
			p := apiextensionsv1.JSONSchemaProps{Type: "array", MaxItems: ptr.To[int64](700), Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "integer"}}}
			for i := range rules {
				p.XValidations = append(p.XValidations, apiextensionsv1.ValidationRule{Rule: rule, Message: fmt.Sprintf("rule %d", i)})
			}
			return p
		}
		d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"].Properties["one"] = list(1)
		d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"].Properties["many"] = list(15)
	}
	if err := define(t.Context(), client, objects, d); err != nil {
		t.Fatal(err)
	}
	numbers := func(n int) []any {
		list := make([]any, n)
		for i := range list {
			list[i] = int64(i)
		}
		return list
	}
	for _, tt := range []struct {
		name string
		spec map[string]any
		want string
	}{
		{"a costly rule", map[string]any{"one": numbers(700)}, `spec.one: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: rule 0`},
		{"many rules", map[string]any{"many": numbers(350)}, `spec.many: Invalid value: "array": validation failed due to running out of cost budget, no further validation rules will be run`},
	} {
		_, err := objects.Resource(resourceOf(d)).Namespace("default").Create(t.Context(), custom(d, tt.spec), metav1.CreateOptions{})
		if err := says(err, fmt.Sprintf(`%s.%s "one" is invalid: %s`, d.Spec.Names.Kind, d.Spec.Group, tt.want)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// says is nil where err says what is wanted.
func says(err error, want string) error {
	if err == nil || strings.TrimSpace(err.Error()) != want {
		return fmt.Errorf("got  %s\nwant %s", abridged(fmt.Sprint(err)), want)
	}
	return nil
}

func resourceOf(d *apiextensionsv1.CustomResourceDefinition) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: d.Spec.Group, Version: d.Spec.Versions[0].Name, Resource: d.Spec.Names.Plural}
}

func custom(d *apiextensionsv1.CustomResourceDefinition, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": resourceOf(d).GroupVersion().String(), "kind": d.Spec.Names.Kind, "metadata": map[string]any{"name": "one"}, "spec": spec,
	}}
}

// ruled is a definition whose objects have two rules for each field, one of which makes its message.
func ruled(i, fields int) *apiextensionsv1.CustomResourceDefinition {
	d := definition(i, fields)
	spec := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] // of both versions
	for name, f := range spec.Properties {
		text := f.Properties["name"]
		text.MaxLength = ptr.To[int64](64)
		f.Properties["name"] = text
		f.XValidations = apiextensionsv1.ValidationRules{
			{Rule: "!has(self.name) || self.name != 'forbidden'", MessageExpression: "'not ' + self.name"},
			{Rule: "!has(self.count) || self.count < 100", Message: "too many"},
		}
		spec.Properties[name] = f
	}
	return d
}
