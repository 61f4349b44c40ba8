// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// ruledLamps is a custom resource with rules of each kind.
func ruledLamps() *apiextensionsv1.CustomResourceDefinition {
	length := int64(16)
	number := func(most int) apiextensionsv1.JSONSchemaProps {
		m := float64(most)
		return apiextensionsv1.JSONSchemaProps{Type: "integer", Maximum: &m}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "lamps.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "lamps", Kind: "Lamp"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec": {
							Type:       "object",
							Properties: map[string]apiextensionsv1.JSONSchemaProps{"watts": number(1000), "most": number(1000), "socket": {Type: "string", MaxLength: &length}},
							Required:   []string{"watts", "most"},
							XValidations: apiextensionsv1.ValidationRules{
								{Rule: "self.watts <= self.most", MessageExpression: "has(self.socket) ? 'too much for ' + self.socket : 'too much'", FieldPath: ".watts"},
								{Rule: "!has(oldSelf.socket) || self.socket == oldSelf.socket", Message: "the socket stays"},
							},
						},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
							"lit": {Type: "boolean", XValidations: apiextensionsv1.ValidationRules{{Rule: "self", Message: "it is dark"}}},
						}},
					},
				}},
			}},
		},
	}
}

// Rules of custom resources are asked by every request that writes, as kube-apiserver does, and by those of the definition as it is now.
func TestRulesOfCustomResources(t *testing.T) {
	c := newCluster(t)
	definitions := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions()
	d, err := definitions.Create(t.Context(), ruledLamps(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lamps := dynamic.NewForConfigOrDie(c.config).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "lamps"}).Namespace("default")
	lamp := func(spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": map[string]any{"name": "desk"}, "spec": spec}}
	}
	create := func(spec map[string]any) error {
		_, err := lamps.Create(t.Context(), lamp(spec), metav1.CreateOptions{})
		return err
	}
	patch := func(text string, subresources ...string) error {
		_, err := lamps.Patch(t.Context(), "desk", types.MergePatchType, []byte(text), metav1.PatchOptions{}, subresources...)
		return err
	}
	eventually := func(f func() error) (err error) { // until it is served
		_ = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
			err = f()
			return !apierrors.IsNotFound(err), nil
		})
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"a rule", func() error {
			return eventually(func() error { return create(map[string]any{"watts": int64(60), "most": int64(40), "socket": "E27"}) })
		}, `422 Invalid Lamp.example.com "desk" is invalid: spec.watts: Invalid value: too much for E27`},
		{"a rule, and more", func() error { return create(map[string]any{"watts": int64(2000), "most": int64(40)}) },
			`422 Invalid Lamp.example.com "desk" is invalid: [spec.watts: Invalid value: 2000: spec.watts in body should be less than or equal to 1000, spec.watts: Invalid value: too much]`},
		{"what keeps rules from being asked", func() error { return create(map[string]any{"watts": "x", "most": int64(40)}) },
			`422 Invalid Lamp.example.com "desk" is invalid: [spec.watts: Invalid value: "string": spec.watts in body must be of type integer: "string", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]`},
		{"an object", func() error {
			return create(map[string]any{"watts": int64(30), "most": int64(40), "socket": "E27"})
		}, "ok"},
		{"a transition", func() error { return patch(`{"spec":{"socket":"E14"}}`) }, `422 Invalid Lamp.example.com "desk" is invalid: spec: Invalid value: the socket stays`},
		{"the status", func() error { return patch(`{"status":{"lit":false}}`, "status") }, `422 Invalid Lamp.example.com "desk" is invalid: status.lit: Invalid value: false: it is dark`},
		{"what the rules allow", func() error { return patch(`{"spec":{"watts":40}}`) }, "ok"},
		{"another definition", func() error {
			schema := d.Spec.Versions[0].Schema.OpenAPIV3Schema
			spec := schema.Properties["spec"]
			spec.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.watts < 20", Message: "less is more"}}
			schema.Properties["spec"] = spec
			latest, err := definitions.Get(t.Context(), d.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			latest.Spec = d.Spec
			if _, err = definitions.Update(t.Context(), latest, metav1.UpdateOptions{}); err != nil {
				return err
			}
			return wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
				err := patch(`{"spec":{"watts":35}}`)
				return err != nil, nil
			})
		}, "ok"},
		{"its rule", func() error { return patch(`{"spec":{"watts":34}}`) }, `422 Invalid Lamp.example.com "desk" is invalid: spec: Invalid value: less is more`},
		{"what has not changed", func() error { return patch(`{"metadata":{"labels":{"a":"b"}}}`) }, "ok"},
		{"the definition goes", func() error { return definitions.Delete(t.Context(), d.Name, metav1.DeleteOptions{}) }, "ok"},
		{"and its objects", func() error {
			err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
				_, err := definitions.Get(ctx, d.Name, metav1.GetOptions{})
				return apierrors.IsNotFound(err), nil
			})
			if err != nil {
				return err
			}
			return patch(`{"spec":{"watts":10}}`)
		}, "404 NotFound the server could not find the requested resource"},
	} {
		if got := status(step.do()); got != step.want {
			t.Errorf("%s:\ngot  %s\nwant %s", step.name, got, step.want)
		}
	}
}
