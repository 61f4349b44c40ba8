// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// store creates the objects of a manifest with a client for c.
func (c *cluster) store(t *testing.T, manifest string) {
	t.Helper()
	if err := c.tryStore(t, c.config, manifest); err != nil {
		t.Fatal(err)
	}
}

// plurals are the resources of kinds that tests store.
var plurals = map[string]string{
	"ConfigMap": "configmaps", "Limit": "limits", "CustomResourceDefinition": "customresourcedefinitions",
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
	"ValidatingAdmissionPolicy": "validatingadmissionpolicies", "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
	"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}

func (c *cluster) tryStore(t *testing.T, config *rest.Config, manifest string) error {
	t.Helper()
	for _, document := range strings.Split(manifest, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			t.Fatalf("%s: %v", document, err)
		}
		gvk := object.GroupVersionKind()
		var client dynamic.ResourceInterface = dynamic.NewForConfigOrDie(config).Resource(gvk.GroupVersion().WithResource(plurals[gvk.Kind]))
		if namespace := object.GetNamespace(); namespace != "" {
			client = client.(dynamic.NamespaceableResourceInterface).Namespace(namespace)
		}
		if _, err := client.Create(t.Context(), object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
			return err
		}
	}
	return nil
}

// try creates a ConfigMap in a dry run and returns what comes of it.
func try(t *testing.T, client kubernetes.Interface, name string, data map[string]string) string {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: data}
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return status(err)
}

// becomes waits until what try returns is want.
func becomes(t *testing.T, client kubernetes.Interface, name string, data map[string]string, want string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("last answer: %s\nwant: %s", got, want)
		}
	}()
	eventually(t, "the policy to be in force", func() (bool, error) {
		got = try(t, client, name, data)
		return got == want, nil
	})
}

func TestValidatingAdmissionPolicies(t *testing.T) {
	c := newCluster(t)
	c.store(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: maps}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions:
  - {name: mine, expression: "object.metadata.name.startsWith('p-')"}
  variables:
  - {name: size, expression: "has(object.data) ? object.data.size() : 0"}
  validations:
  - {expression: "variables.size <= 2", messageExpression: "'has ' + string(variables.size) + ' keys'", reason: RequestEntityTooLarge}
  - {expression: "!('secret' in object.data) || authorizer.group('').resource('secrets').namespace(object.metadata.namespace).check('create').allowed()", message: no secrets here, reason: Forbidden}
  - {expression: "!('env' in object.data) || object.data.env == namespaceObject.metadata.name"}
  - {expression: "!('broken' in object.data) || object.data.nothing == ''"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: maps-deny}
spec: {policyName: maps, validationActions: [Deny]}`)
	const denied = `ValidatingAdmissionPolicy 'maps' with binding 'maps-deny' denied request: `
	becomes(t, c, "p-1", map[string]string{"a": "", "b": "", "c": ""}, `413 RequestEntityTooLarge configmaps "p-1" is forbidden: `+denied+"has 3 keys")
	c.store(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: maps}
rules: [{apiGroups: [""], resources: [configmaps], verbs: ["*"]}]`)
	someone := c.as(t, "someone", "maps")
	for _, test := range []struct {
		client kubernetes.Interface
		name   string
		data   map[string]string
		want   string
	}{
		{c, "p-2", map[string]string{"a": ""}, "ok"},
		{c, "other", map[string]string{"a": "", "b": "", "c": ""}, "ok"},
		{c, "p-3", map[string]string{"secret": ""}, "ok"},
		{c, "p-4", map[string]string{"env": "default"}, "ok"},
		{c, "p-5", map[string]string{"env": "production"}, `422 Invalid configmaps "p-5" is forbidden: ` + denied + `failed expression: !('env' in object.data) || object.data.env == namespaceObject.metadata.name`},
		{c, "p-6", map[string]string{"broken": ""}, `422 Invalid configmaps "p-6" is forbidden: ` + denied + `expression '!('broken' in object.data) || object.data.nothing == ''' resulted in error: no such key: nothing`},
		{someone, "p-7", map[string]string{"secret": ""}, `403 Forbidden configmaps "p-7" is forbidden: ` + denied + "no secrets here"},
	} {
		if got := try(t, test.client, test.name, test.data); got != test.want {
			t.Errorf("%s: got %s\nwant %s", test.name, got, test.want)
		}
	}
	// The author is told of what does not fit the types, and the kinds of this group are not subject to policies.
	c.store(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: everything}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: ["apps", admissionregistration.k8s.io], apiVersions: [v1], operations: ["*"], resources: [deployments, validatingadmissionpolicies]}]
  validations: [{expression: "object.spec.replicas == 'three' && false"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: everything}
spec: {policyName: everything, validationActions: [Deny]}`)
	policies := c.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	eventually(t, "the type check", func() (bool, error) {
		policy, err := policies.Get(t.Context(), "everything", metav1.GetOptions{})
		if err != nil || policy.Status.ObservedGeneration != 1 || policy.Status.TypeChecking == nil {
			return false, err
		}
		found := policy.Status.TypeChecking.ExpressionWarnings
		if len(found) != 1 || found[0].FieldRef != "spec.validations[0].expression" || !strings.Contains(found[0].Warning, "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'") {
			t.Fatalf("warned of %+v", found)
		}
		return true, nil
	})
	eventually(t, "the policy to be in force", func() (bool, error) {
		_, err := c.AppsV1().Deployments("default").Create(t.Context(), newDeployment("d", 1), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'everything' with binding 'everything' denied request"), err
	})
	if err := policies.Delete(t.Context(), "everything", metav1.DeleteOptions{}); err != nil {
		t.Errorf("a policy keeps from deleting itself: %v", err)
	}
}

// A binding may warn instead, and parameters are what policies are reused by.
func TestPolicyParameters(t *testing.T) {
	c := newCluster(t)
	client, warned := c.warned()
	c.store(t, limitDefinition+`
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: limits}
spec:
  paramKind: {apiVersion: example.com/v1, kind: Limit}
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: mine, expression: "object.metadata.name.startsWith('p-')"}]
  validations: [{expression: "object.data.size() <= params.max", messageExpression: "'more than ' + string(params.max)"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: limits}
spec: {policyName: limits, validationActions: [Warn, Audit], paramRef: {name: few, parameterNotFoundAction: Deny}}`)
	const missing = "ValidatingAdmissionPolicy 'limits' with binding 'limits' denied request: "
	three := map[string]string{"a": "", "b": "", "c": ""}
	becomes(t, c, "p-1", three, `422 Invalid configmaps "p-1" is forbidden: `+missing+"failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
	eventually(t, "the parameters to be stored", func() (bool, error) {
		err := c.tryStore(t, c.config, "apiVersion: example.com/v1\nkind: Limit\nmetadata: {namespace: default, name: few}\nmax: 2")
		return err == nil, err
	})
	becomes(t, c, "p-1", three, "ok")
	eventually(t, "a warning", func() (bool, error) {
		warned.texts = nil
		if got := try(t, client, "p-1", three); got != "ok" {
			t.Fatal(got)
		}
		return len(warned.texts) == 1 && warned.texts[0] == "Validation failed for ValidatingAdmissionPolicy 'limits' with binding 'limits': more than 2", nil
	})

	// Built-in kinds are parameters too, of which a binding can take several, and a cluster can have a policy more than once.
	c.store(t, `
apiVersion: v1
kind: ConfigMap
metadata: {namespace: default, name: a, labels: {limits: "yes"}}
data: {max: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: default, name: b, labels: {limits: "yes"}}
data: {max: "5"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: maps}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: mine, expression: "object.metadata.name.startsWith('q-')"}]
  validations: [{expression: "object.data.size() <= int(params.data.max)", messageExpression: "params.metadata.name + ' says ' + params.data.max"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: maps}
spec: {policyName: maps, validationActions: [Deny], paramRef: {namespace: default, selector: {matchLabels: {limits: "yes"}}, parameterNotFoundAction: Allow}}`)
	becomes(t, c, "q-1", three, `422 Invalid configmaps "q-1" is forbidden: ValidatingAdmissionPolicy 'maps' with binding 'maps' denied request: a says 1`)
	if err := c.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes(t, c, "q-1", three, "ok")
}

// Whoever makes a policy's parameters of an object must be allowed to read it.
func TestPolicyParametersAreReadable(t *testing.T) {
	c := newCluster(t)
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = "author"
	c.store(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: author}
rules:
- {apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [namespaces], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: author}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: author}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: author}]`)
	author := kubernetes.NewForConfigOrDie(config)
	eventually(t, "the role to be known", func() (bool, error) {
		_, err := author.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
	const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  paramKind: {apiVersion: v1, kind: KIND}
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "true"}]`
	const binding = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: POLICY, validationActions: [Deny], paramRef: {name: x, namespace: kube-system, parameterNotFoundAction: Deny}}`
	c.store(t, strings.NewReplacer("NAME", "secret", "KIND", "Secret").Replace(policy))
	for _, test := range []struct {
		manifest string
		replace  []string
		want     string
	}{
		{policy, []string{"NAME", "spaces", "KIND", "Namespace"}, ""},
		{policy, []string{"NAME", "s", "KIND", "Secret"}, `spec.paramKind: Forbidden: user &{author  [system:authenticated] map[]} must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`},
		{policy, []string{"NAME", "u", "KIND", "Unheard"}, `spec.paramKind: Forbidden: user &{author  [system:authenticated] map[]} must have "get" permission on all objects of the referenced paramKind (kind=Unheard, apiVersion=v1)`},
		{binding, []string{"NAME", "spaces", "POLICY", "spaces"}, ""}, // whoever gets namespaces gets kube-system
		{binding, []string{"NAME", "s", "POLICY", "secret"}, `spec.paramRef: Forbidden: user &{author  [system:authenticated] map[]} does not have "get" permission on the object referenced by paramRef`},
		{binding, []string{"NAME", "u", "POLICY", "unheard"}, `spec.paramRef: Forbidden: unable to get policy unheard to determine minimum required permissions and user &{author  [system:authenticated] map[]} does not have "get" permission for all groups, versions and resources`},
	} {
		err := c.tryStore(t, config, strings.NewReplacer(test.replace...).Replace(test.manifest))
		if got := status(err); (test.want == "") != (err == nil) || !strings.HasSuffix(got, test.want) && test.want != "" || err != nil && !strings.HasPrefix(got, "422 Invalid ") {
			t.Errorf("%v: got %s\nwant %s", test.replace, got, test.want)
		}
	}
}

func TestMutatingAdmissionPolicies(t *testing.T) {
	c := newCluster(t)
	c.store(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: labels}
spec:
  reinvocationPolicy: IfNeeded
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: mine, expression: "object.metadata.name.startsWith('p-')"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{metadata: Object.metadata{labels: {'made-by': request.userInfo.username}}}"
  - patchType: JSONPatch
    jsonPatch:
      expression: "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/keys'), value: string(object.data.size())}]"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: labels}
spec: {policyName: labels}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: keys}
spec:
  reinvocationPolicy: Never
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  matchConditions: [{name: mine, expression: "object.metadata.name.startsWith('p-')"}]
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{data: {'late': 'key'}}"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: keys}
spec: {policyName: keys}`)
	configMaps := c.CoreV1().ConfigMaps("default")
	want := map[string]string{"made-by": "kubernetes-admin", "example.com/keys": "2"}
	eventually(t, "both policies to be in force", func() (bool, error) {
		made, err := configMaps.Create(t.Context(), newConfigMap("p-1"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, err
		}
		// The first policy has counted again when the second had changed the data.
		return maps.Equal(made.Labels, want) && made.Data["late"] == "key" && made.Data["a"] == "b", fmt.Errorf("made %v with %v", made.Labels, made.Data)
	})
	if _, err := configMaps.Create(t.Context(), newConfigMap("p-1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stored, err := configMaps.Get(t.Context(), "p-1", metav1.GetOptions{})
	if err != nil || stored.Labels["made-by"] != "kubernetes-admin" {
		t.Errorf("stored %v, %v", stored.Labels, err)
	}
}

// Custom resources are changed by policies too: the schema of what is applied is that of their definition.
func TestMutatingPolicyForCustomResources(t *testing.T) {
	c := newCluster(t)
	c.store(t, limitDefinition+`
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: limits}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [limits]}]
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{max: has(object.max) ? object.max * 2 : 1}"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: limits}
spec: {policyName: limits}`)
	limits := dynamic.NewForConfigOrDie(c.config).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "limits"}).Namespace("default")
	limit := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Limit", "metadata": map[string]any{"name": "l"}, "max": int64(21)}}
	eventually(t, "the policy to be in force", func() (bool, error) {
		made, err := limits.Create(t.Context(), limit, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, err
		}
		return made.Object["max"] == int64(42), fmt.Errorf("made %v", made.Object)
	})
}

const limitDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: limits.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: limits, singular: limit, kind: Limit, listKind: LimitList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {max: {type: integer}}}}}`
