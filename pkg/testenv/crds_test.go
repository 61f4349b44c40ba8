// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

var widgetsResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

func widgets() *apiextensionsv1.CustomResourceDefinition {
	integer := map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer"}}
	return &apiextensionsv1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Properties: integer}}}}}},
		},
	}
}

func widget(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "spec": map[string]any{"size": int64(1)}}}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.test/app:1"}}}}},
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func text(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCRDsAreServedFromTheStart(t *testing.T) {
	dir := t.TempDir()
	gadgets := widgets()
	gadgets.Name, gadgets.Spec.Names = "gadgets.example.com", apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: "Gadget", ListKind: "GadgetList"}
	write(t, dir, "one.yaml", "# beside something else\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n---\n"+text(t, widgets()))
	write(t, dir, "README.md", "not a manifest")
	env := Start(t, Options{Nodes: NoNodes, CRDs: CRDs{Paths: []string{dir}, Objects: []*apiextensionsv1.CustomResourceDefinition{gadgets}}})
	client, err := dynamic.NewForConfig(env.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(widgetsResource).Namespace("default").Create(t.Context(), widget("a"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	bad := widget("b")
	bad.Object["spec"] = map[string]any{"size": "large"}
	_, err = client.Resource(widgetsResource).Namespace("default").Create(t.Context(), bad, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("an object that breaks its schema: %v", err)
	}
	list, err := client.Resource(widgetsResource.GroupVersion().WithResource("gadgets")).List(t.Context(), metav1.ListOptions{})
	if err != nil || list.GetKind() != "GadgetList" {
		t.Errorf("list gadgets: %v, %v", list, err)
	}
}

func TestInstallCRDsAgainAndUninstall(t *testing.T) {
	env := start(t)
	first, err := env.InstallCRDs(t.Context(), CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{widgets()}})
	if err != nil {
		t.Fatal(err)
	}
	changed := widgets()
	second := *changed.Spec.Versions[0].DeepCopy()
	second.Name, second.Storage = "v2", false
	changed.Spec.Versions = append(changed.Spec.Versions, second)
	again, err := env.InstallCRDs(t.Context(), CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{changed}})
	if err != nil {
		t.Fatal(err)
	}
	if again[0].UID != first[0].UID {
		t.Error("the definition has been made anew instead of updated")
	}
	client, err := dynamic.NewForConfig(env.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "widgets"}).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the version that was added: %v", err)
	}
	if err := env.UninstallCRDs(t.Context(), "widgets.example.com"); err != nil {
		t.Fatal(err)
	}
	definitions, err := apiextensions.NewForConfig(env.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := definitions.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), "widgets.example.com", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the definition is still there: %v", err)
	}
}

func TestCRDsThatCannotBeInstalled(t *testing.T) {
	env := start(t)
	dir := t.TempDir()
	old := strings.Replace(text(t, widgets()), "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1", 1)
	taken := widgets()
	taken.Name, taken.Spec.Names.Plural = "others.example.com", "others" // but its singular and kind are those of widgets
	for _, tt := range []struct {
		name string
		crds CRDs
		want string
	}{
		{"none there", CRDs{Paths: []string{write(t, dir, "none.yaml", "kind: Namespace\napiVersion: v1\n")}},
			"read CustomResourceDefinitions: " + dir + "/none.yaml: there is no CustomResourceDefinition in it"},
		{"an old version", CRDs{Paths: []string{write(t, dir, "old.yaml", old)}},
			"read CustomResourceDefinitions: " + dir + `/old.yaml: a CustomResourceDefinition of apiVersion "apiextensions.k8s.io/v1beta1": make it apiextensions.k8s.io/v1`},
		{"a field that is none", CRDs{Paths: []string{write(t, dir, "typo.yaml", text(t, widgets())+"sepc: {}\n")}},
			"read CustomResourceDefinitions: " + dir + `/typo.yaml: read CustomResourceDefinition: error unmarshaling JSON: while decoding JSON: json: unknown field "sepc"`},
		{"not YAML", CRDs{Paths: []string{write(t, dir, "broken.yaml", "kind: [")}}, "read CustomResourceDefinitions: " + dir + "/broken.yaml: "},
		{"names taken", CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{widgets(), taken}},
			`wait for others.example.com to be served: its names are taken: "`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := env.InstallCRDs(t.Context(), tt.crds)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
