// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Patches that the packages which apply them panic over are the client's mistake.
func TestPatchesThatCannotBeApplied(t *testing.T) {
	c := newCluster(t)
	services := c.CoreV1().Services("default")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Finalizers: []string{"example.com/hold"}}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	if _, err := services.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		kind  types.PatchType
		patch string
		want  string
	}{
		{"a list for a key", types.StrategicMergePatchType, `{"spec":{"$setElementOrder/ports":[{"port":[]}],"ports":[{"port":[1],"name":"x"}]}}`, "400 BadRequest unable to apply the patch: runtime error: comparing uncomparable type []interface {}"},
		{"keys that are no texts", types.StrategicMergePatchType, `{"spec":{"$retainKeys":[["type"]],"type":"ClusterIP"}}`, "400 BadRequest unable to apply the patch: "},
		{"a test of what is null", types.JSONPatchType, `[{"op":"test","path":"/metadata/labels","value":null},{"op":"test","path":"/metadata/name","value":null}]`, "422 Invalid "},
		{"an honest patch", types.StrategicMergePatchType, `{"metadata":{"labels":{"a":"b"}}}`, "ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := services.Patch(t.Context(), "web", tt.kind, []byte(tt.patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			if got := status(err); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s…", got, tt.want)
			}
		})
	}
}

// So is a custom resource whose fields can be selected by, with a schema that has no structure.
func TestSelectableFieldsWithoutStructure(t *testing.T) {
	c := newCluster(t)
	client := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions()
	_, err := client.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "lamps.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "lamps", Kind: "Lamp"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.color"}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Definitions: apiextensionsv1.JSONSchemaDefinitions{"color": {Type: "string"}},
				}},
			}},
		},
	}, metav1.CreateOptions{})
	if want := "400 BadRequest unable to validate the selectable fields: runtime error: invalid memory address or nil pointer dereference"; status(err) != want {
		t.Errorf("got  %s\nwant %s", status(err), want)
	}
}
