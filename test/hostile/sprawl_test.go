// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// sprawl sends objects that are made of as many things as there may be, nearly all of them wrong, then of more, and some that are nested deep. What stock does with
// one of them takes gigabytes and minutes, or ends it: so each is on its own here.
func sprawl(t *testing.T, s *suite) {
	client, objects := apiextensions.NewForConfigOrDie(s.admin), dynamic.NewForConfigOrDie(s.admin)
	strict := strictDefinition()
	if err := define(t.Context(), client, objects, strict); err != nil {
		t.Fatal(err)
	}
	maps := kubernetes.NewForConfigOrDie(s.admin).CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "sprawled"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	web := s.client(t)
	for _, a := range sprawling(strict) {
		t.Run(a.name, func(t *testing.T) {
			if err := Forget(s.pid); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			got, err := a.send(t, web, s.admin.Host)
			if err != nil {
				t.Fatal(err)
			}
			if begin, ok := strings.CutSuffix(a.want, "…"); got != a.want && !(ok && strings.HasPrefix(got, begin)) {
				t.Errorf("got  %s\nwant %s", abridged(got), a.want)
			}
			memory, err := ReadMemory(s.pid)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes: peak %.0f MiB, %.1f s", len(a.body), memory.Peak, time.Since(begin).Seconds())
			if memory.Peak > most && !*asStock {
				t.Errorf("the server's resident memory reached %.0f MiB, which must stay below %d", memory.Peak, most)
			}
		})
	}
	if !*asStock { // where one of them takes gigabytes
		t.Run("all at once", func(t *testing.T) { atOnce(t, s, sprawling(strict)) })
	}
	if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), strict.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if err := maps.Delete(t.Context(), "sprawled", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// atOnce sends all of them at the same time, in rounds.
func atOnce(t *testing.T, s *suite, all []attempt) {
	clients := make([]*http.Client, len(all))
	for i := range clients {
		clients[i] = s.client(t)
	}
	rounds := 1
	if *full {
		rounds = 8
	}
	each(t, rounds*len(clients), 4*len(clients), func(_ context.Context, i int) error {
		i %= len(clients)
		return all[i].insist(t, clients[i], s.admin.Host)
	})
}

// insist sends an attempt again while the server says that it has too much to do.
func (a attempt) insist(t *testing.T, client *http.Client, host string) error {
	for {
		got, err := a.send(t, client, host)
		if err != nil {
			return err
		}
		if begin, ok := strings.CutSuffix(a.want, "…"); got == a.want || ok && strings.HasPrefix(got, begin) {
			return nil
		}
		if !strings.HasPrefix(got, "429 ") {
			return fmt.Errorf("%s: got %s, want %s", a.name, abridged(got), a.want)
		}
		select {
		case <-t.Context().Done():
			return t.Context().Err()
		case <-time.After(time.Second):
		}
	}
}

// strictDefinition is of a custom resource with lists of strings and of objects.
func strictDefinition() *apiextensionsv1.CustomResourceDefinition {
	d := definition(3000, 0)
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	list := func(of apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &of}}
	}
	set := list(text)
	set.XListType = ptr.To("set")
	for i := range d.Spec.Versions {
		d.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"texts": list(text), "set": set,
			"pairs": list(apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"a", "b"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": text, "b": text}}),
		}}
	}
	return d
}

func sprawling(strict *apiextensionsv1.CustomResourceDefinition) []attempt {
	const (
		objects, texts       = 32_000, 320_000 // as many as there may be
		jsonType, protobuf   = "application/json", "application/vnd.kubernetes.protobuf"
		core, all, tooMany   = "/api/v1/namespaces/default/", "?dryRun=All", "413 RequestEntityTooLarge Request entity too large: it has …"
		definitions, mergeIt = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/strategic-merge-patch+json"
	)
	post := func(name, path, mediaType, body, want string) attempt {
		return attempt{name, http.MethodPost, path + all, map[string]string{"Content-Type": mediaType, "Accept": jsonType}, body, want}
	}
	of := func(apiVersion, kind, rest string) string {
		return fmt.Sprintf(`{"apiVersion":"%s","kind":"%s","metadata":{"name":"x"},%s}`, apiVersion, kind, rest)
	}
	list := func(n int, element string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	pod := func(spec string) string { return of("v1", "Pod", `"spec":{`+spec+`}`) }
	metadata := func(name, value string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","` + name + `":` + value + `}}`
	}
	packedPod := func(spec string) string { return packed("v1", "Pod", field(1, field(1, "x"))+field(2, spec)) }
	kind := strict.Spec.Names.Kind
	custom := "/apis/" + strict.Spec.Group + "/v1/namespaces/default/" + strict.Spec.Names.Plural
	crd := func(schema string) string {
		return of("apiextensions.k8s.io/v1", "CustomResourceDefinition", `"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"xs","kind":"X"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":`+schema+`}}]}`)
	}
	wrong := func(list string) string { return of(strict.Spec.Group+"/v1", kind, `"spec":{`+list+`}`) }
	return []attempt{
		post("empty containers", core+"pods", jsonType, pod(`"containers":`+list(objects, "{}")), `422 Invalid Pod "x" is invalid: [spec.containers[0].name: Required value, …`),
		post("containers that are null", core+"pods", jsonType, pod(`"containers":`+list(objects, "null")), `422 Invalid Pod "x" is invalid: [spec.containers[0].name: Required value, …`),
		post("empty containers in protobuf", core+"pods", protobuf, packedPod(strings.Repeat("\x12\x00", objects)), `422 Invalid Pod "x" is invalid: [spec.containers[0].name: Required value, …`),
		post("empty containers in YAML", core+"pods", "application/yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n"+strings.Repeat("  - {}\n", objects), `422 Invalid Pod "x" is invalid: [spec.containers[0].name: Required value, …`),
		post("empty variables", core+"pods", jsonType, pod(`"containers":[{"name":"c","image":"i","env":`+list(objects, "{}")+`}]`), `422 Invalid Pod "x" is invalid: [spec.containers[0].env[0].name: Required value, …`),
		post("empty ports", core+"services", jsonType, of("v1", "Service", `"spec":{"ports":`+list(objects, "{}")+`}`), `422 Invalid Service "x" is invalid: [spec.ports[0].name: Required value, …`),
		post("empty rules", "/apis/rbac.authorization.k8s.io/v1/clusterroles", jsonType, of("rbac.authorization.k8s.io/v1", "ClusterRole", `"rules":`+list(objects, "{}")), `422 Invalid ClusterRole.rbac.authorization.k8s.io "x" is invalid: [rules[0].verbs: Required value: verbs must contain at least one value, …`),
		post("empty host names", core+"pods", jsonType, pod(`"containers":[{"name":"c","image":"i"}],"hostAliases":[{"ip":"1.2.3.4","hostnames":`+list(texts, `""`)+`}]`), `422 Invalid Pod "x" is invalid: [spec.hostAliases[0].hostnames[0]: Invalid value: "": …`),
		post("empty finalizers", core+"configmaps", jsonType, metadata("finalizers", list(texts, `""`)), `422 Invalid ConfigMap "x" is invalid: [metadata.finalizers: Invalid value: "": …`),
		post("wrong labels", core+"configmaps", jsonType, metadata("labels", "{"+many(texts/3, `"%d":"/"`)+"}"), `422 Invalid ConfigMap "x" is invalid: [metadata.labels: Invalid value: "/": …`),
		post("empty finalizers of a custom resource", custom, jsonType, fmt.Sprintf(`{"apiVersion":"%s/v1","kind":"%s","metadata":{"name":"x","finalizers":%s}}`, strict.Spec.Group, kind, list(texts, `""`)), fmt.Sprintf(`422 Invalid %s.%s "x" is invalid: [metadata.finalizers: Invalid value: "": …`, kind, strict.Spec.Group)),
		post("numbers for strings in a custom resource", custom, jsonType, wrong(`"texts":`+list(texts, "1")), fmt.Sprintf(`422 Invalid %s.%s "x" is invalid: [spec.texts[0]: Invalid value: "integer": …`, kind, strict.Spec.Group)),
		post("empty objects in a custom resource", custom, jsonType, wrong(`"pairs":`+list(objects, "{}")), fmt.Sprintf(`422 Invalid %s.%s "x" is invalid: [spec.pairs[0].a: Required value, …`, kind, strict.Spec.Group)),
		post("pairs in a set of a custom resource", custom, jsonType, wrong(`"set":[`+many(texts/16, `"%[1]d","%[1]d"`)+`]`), fmt.Sprintf(`422 Invalid %s.%s "x" is invalid: [spec.set[1]: Duplicate value: "0", …`, kind, strict.Spec.Group)),
		post("many good strings in a custom resource", custom, jsonType, wrong(`"texts":`+list(texts, `"x"`)), "201"),
		post("a definition of wrong fields", definitions, jsonType, crd(`{"type":"object","properties":{`+many(objects, `"f%d":{"type":"x"}`)+`}}`), `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "x" is invalid: […`),
		{"a patch that merges many owners", http.MethodPatch, configMaps + "/sprawled" + all, map[string]string{"Content-Type": mergeIt}, `{"metadata":{"ownerReferences":[` + many(5000, `{"uid":"%d"}`) + `]}}`, `422 Invalid ConfigMap "sprawled" is invalid: [metadata.ownerReferences[0].apiVersion: Required value: must not be empty, …`},
		{"a patch that makes many owners", http.MethodPatch, configMaps + "/sprawled" + all, map[string]string{"Content-Type": "application/merge-patch+json"}, `{"metadata":{"ownerReferences":[` + many(objects, `{"uid":"%d"}`) + `]}}`, `422 Invalid ConfigMap "sprawled" is invalid: [metadata.ownerReferences[0].apiVersion: Required value: must not be empty, …`},
		{"an apply patch of empty containers", http.MethodPatch, core + "pods/x" + all + "&fieldManager=hostile", map[string]string{"Content-Type": "application/apply-patch+yaml"}, pod(`"containers":` + list(objects, "{}")), `500  failed to create typed patch object (/x; /v1, Kind=Pod): …`},

		post("more containers", core+"pods", jsonType, pod(`"containers":`+list(30*objects, "{}")), tooMany),
		post("more containers in protobuf", core+"pods", protobuf, packedPod(strings.Repeat("\x12\x00", 40*objects)), tooMany),
		post("more containers in YAML", core+"pods", "application/yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers: ["+strings.Repeat("~,", 40*objects)+"]\n", tooMany),
		post("more finalizers", core+"configmaps", jsonType, metadata("finalizers", list(3*texts, `""`)), tooMany),
		post("more objects in a custom resource", custom, jsonType, wrong(`"pairs":`+list(30*objects, "{}")), tooMany),
		{"a patch that merges more owners", http.MethodPatch, configMaps + "/sprawled" + all, map[string]string{"Content-Type": mergeIt}, `{"metadata":{"ownerReferences":[` + many(objects, `{"uid":"%d"}`) + `]}}`, tooMany},

		post("a deep definition", definitions, jsonType, crd(strings.Repeat(`{"type":"object","not":`, 900)+"{}"+strings.Repeat("}", 900)), `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "x" is invalid: […`),
		post("a deeper definition", definitions, jsonType, crd(strings.Repeat(`{"type":"array","items":`, 9000)+"{}"+strings.Repeat("}", 9000)), "400 BadRequest the body is nested 9006 levels deep, limit is 1000: make the object flatter"),
		post("a deeper definition in YAML", definitions, "application/yaml", deepYAML(1100), "400 BadRequest the body is nested 1100 levels deep, limit is 1000: make the object flatter"),
		post("a deeper definition in protobuf", definitions, protobuf, packed("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(1, field(1, "x"))+field(2, field(7, field(4, field(1, deepSchema(200_000)))))), "400 BadRequest the body is nested 1001 levels deep, limit is 1000: make the object flatter"),
	}
}

// field is a field of protobuf that has a string or a message.
func field(number protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), content))
}

// packed is an object in Kubernetes' protobuf.
func packed(apiVersion, kind, object string) string {
	return "k8s\x00" + field(1, field(1, apiVersion)+field(2, kind)) + field(2, object)
}

// deepSchema is a schema of protobuf that is not one that is not one, and so on.
func deepSchema(levels int) string {
	const not = 28
	heads, length := make([]string, levels), 0
	for i := range slices.Backward(heads) {
		heads[i] = string(protowire.AppendVarint(protowire.AppendTag(nil, not, protowire.BytesType), uint64(length)))
		length += len(heads[i])
	}
	return strings.Join(heads, "")
}

func deepYAML(levels int) string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String() + strings.Repeat(" ", levels) + "a: b\n"
}
