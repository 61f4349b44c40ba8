// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/test/hostile/mutation"
)

// fuzzed is a server that requests go to through the whole handler chain, as an administrator's. Writes are dry runs, so that each starts
// from the same objects.
type fuzzed struct {
	transport http.RoundTripper
	objects   []fuzzedObject
	words     *mutation.Vocabulary
}

// fuzzedObject is an object that is stored, and where.
type fuzzedObject struct {
	path string
	tree map[string]any
}

// fuzzedManifests are what is stored: custom resources with all that a schema can ask for, and kinds whose lists are merged by keys.
const fuzzedManifests = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.fuzz.example.com}
spec:
  group: fuzz.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: ".spec.size"}, {name: Born, type: date, jsonPath: ".metadata.creationTimestamp"}, {name: Ports, type: string, jsonPath: ".spec.ports[*].name"}]
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-validations: [{rule: "!has(self.spec) || !has(self.spec.size) || self.spec.size <= 1000", message: too large}]
        properties:
          spec:
            type: object
            required: [size]
            x-kubernetes-validations:
            - {rule: "self.size >= oldSelf.size", message: "must not shrink"}
            - {rule: "!has(self.ports) || self.ports.all(p, p.name != 'none')", messageExpression: "'no port of ' + self.color"}
            properties:
              size: {type: integer, default: 3, minimum: 0, format: int32}
              replicas: {type: integer, default: 1}
              color: {type: string, maxLength: 10, enum: [red, blue], default: red}
              ratio: {type: number, maximum: 1}
              when: {type: string, format: date-time}
              note: {type: string, maxLength: 10, pattern: "^[a-z]*$", nullable: true}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              pod: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}, maxItems: 20}
              map: {type: object, additionalProperties: {type: object, properties: {a: {type: string, default: x}}}}
              ports:
                type: array
                maxItems: 20
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string, maxLength: 20}, number: {type: integer, default: 80}, protocol: {type: string, default: TCP}}}
          status: {type: object, properties: {replicas: {type: integer}, selector: {type: string}, phase: {type: string}}}
---
apiVersion: fuzz.example.com/v1
kind: Widget
metadata: {name: fuzz, namespace: default, labels: {app: fuzz}}
spec: {size: 5, color: blue, ratio: 0.5, note: abc, port: 80, free: {a: [1, {b: c}]}, pod: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {}}, tags: [a, b], map: {k: {a: z}}, ports: [{name: http, number: 8080}, {name: dns, protocol: UDP}]}
status: {replicas: 1, selector: "app=fuzz", phase: Ready}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fuzz, namespace: default}
spec:
  replicas: 0
  selector: {matchLabels: {app: fuzz}}
  template:
    metadata: {labels: {app: fuzz}}
    spec:
      containers: [{name: c, image: i, ports: [{containerPort: 80}], env: [{name: A, value: b}], volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: fuzz, namespace: default}
spec: {selector: {app: fuzz}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fuzz, namespace: default, labels: {a: b}, annotations: {c: d}, finalizers: [example.com/hold]}
data: {key: value}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: fuzz}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}
  variables: [{name: named, expression: "object.metadata.name"}]
  validations: [{expression: "variables.named != 'never'", message: refused}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: fuzz, namespace: default}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`

// fuzzedPaths are where objects are, by kind.
var fuzzedPaths = map[string]string{
	"CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "Widget": "/apis/fuzz.example.com/v1/namespaces/default/widgets",
	"Deployment": "/apis/apps/v1/namespaces/default/deployments", "Service": "/api/v1/namespaces/default/services", "ConfigMap": "/api/v1/namespaces/default/configmaps",
	"ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
}

func newFuzzed(f testing.TB) *fuzzed {
	c := newCluster(f)
	admin := &user.DefaultInfo{Name: "fuzz", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	s := &fuzzed{transport: c.server.loopback.Config(admin).Transport}
	var all []any
	for text := range strings.SplitSeq(fuzzedManifests, "\n---\n") {
		var tree map[string]any
		data, err := yaml.YAMLToJSON([]byte(text))
		if err == nil {
			err = json.Unmarshal(data, &tree)
		}
		if err != nil {
			f.Fatal(err)
		}
		path := fuzzedPaths[tree["kind"].(string)]
		for deadline := time.Now().Add(20 * time.Second); ; { // a custom resource is served a moment after its definition
			code, body, err := s.send(f.Context(), http.MethodPost, path, runtime.ContentTypeJSON, data)
			if err != nil {
				f.Fatal(err)
			}
			if code == http.StatusCreated {
				break
			}
			if code != http.StatusNotFound || time.Now().After(deadline) {
				f.Fatalf("make %s: %d %s", path, code, body)
			}
			time.Sleep(10 * time.Millisecond)
		}
		name := tree["metadata"].(map[string]any)["name"].(string)
		_, body, err := s.send(f.Context(), http.MethodGet, path+"/"+name, "", nil)
		if err == nil {
			err = json.Unmarshal(body, &tree)
		}
		if err != nil {
			f.Fatal(err)
		}
		// Versions differ from run to run.
		delete(tree["metadata"].(map[string]any), "resourceVersion")
		s.objects = append(s.objects, fuzzedObject{path + "/" + name, tree})
		all = append(all, tree)
	}
	all = append(all, map[string]any{"$patch": "delete", "$deleteFromPrimitiveList/finalizers": []any{"x"}, "$setElementOrder/ports": []any{map[string]any{"port": 80}}, "$retainKeys": []any{"type"}})
	s.words = mutation.Learn(all...)
	return s
}

// send returns the answer. Of a stream it reads the beginning.
func (s *fuzzed) send(ctx context.Context, method, target, contentType string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://loopback"+target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("Accept", "application/json")
	answer, err := s.transport.RoundTrip(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	if request.URL.Query().Has("watch") || strings.Contains(request.URL.Path, "/watch/") || request.URL.Query().Has("follow") {
		return answer.StatusCode, nil, nil
	}
	data, err := io.ReadAll(answer.Body)
	return answer.StatusCode, data, err
}

// check sends a request, which must be answered, and not by an error of the server's own.
func (s *fuzzed) check(t *testing.T, method, target, contentType string, body []byte) {
	code, answer, err := s.send(t.Context(), method, target, contentType, body)
	if err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	if code >= http.StatusInternalServerError && !asStock(answer) {
		t.Errorf("%s %q %s %q: %d %s", method, target, contentType, body, code, answer)
	}
}

// stockErrors are what kube-apiserver takes for errors of its own too, though clients make them.
var stockErrors = []string{
	"map: map[", "list element types are not identical: ", "expected a []interface {}, but received a ", "unable to find api field in struct ", "failed to convert new object (", "failed to create typed patch object (", "unknown patch type: ", "Timeout: Too large resource version: ",
	`resourceVersion: Invalid value: "`, "no endpoints available for service ",
	"Internal error occurred: Object 'apiVersion' is missing in ", "Internal error occurred: Object 'Kind' is missing in ",
}

// asStock tells answers that kube-apiserver gives too.
func asStock(answer []byte) bool {
	var status metav1.Status
	return json.Unmarshal(answer, &status) == nil && slices.ContainsFunc(stockErrors, func(begin string) bool { return strings.HasPrefix(status.Message, begin) })
}

// FuzzReads asks for anything anywhere: paths, selectors, continue tokens, parameters of lists and watches.
func FuzzReads(f *testing.F) {
	s := newFuzzed(f)
	for _, o := range s.objects {
		f.Add(o.path, "")
		f.Add(o.path[:strings.LastIndexByte(o.path, '/')], "limit=1&labelSelector=a%20in%20(b,c),!d&fieldSelector=metadata.name!%3Dx")
	}
	for _, path := range []string{"/", "/api", "/apis/", "/openapi/v2", "/openapi/v3/apis/fuzz.example.com/v1", "/version", "/readyz/ping", "/metrics", "/logs", "/.well-known/openid-configuration",
		"/api/v1/watch/namespaces/default/pods", "/api/v1/namespaces/default/pods/x/log", "/api/v1/nodes/x/proxy/..", "/api/v1/namespaces/default/services/https:fuzz:http/proxy/a"} {
		f.Add(path, "")
	}
	for _, query := range []string{"watch=1&timeoutSeconds=1&allowWatchBookmarks=true", "limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
		"resourceVersion=1&resourceVersionMatch=Exact", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "pretty=1", "timeout=1s&limit=-5", "includeObject=None", "a=%00&b=%zz"} {
		f.Add("/api/v1/namespaces/default/configmaps", query)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		target := &url.URL{Path: path, RawQuery: query}
		if _, err := http.NewRequest(http.MethodGet, "http://loopback"+target.RequestURI(), nil); err != nil {
			return // no client can send it
		}
		version, err := strconv.ParseUint(target.Query().Get("resourceVersion"), 10, 64)
		if !strings.HasPrefix(path, "/") || err == nil && version > 1 {
			return // no path, or a version that is to come, which is waited for
		}
		s.check(t, http.MethodGet, target.RequestURI(), "", nil)
	})
}

// fuzzedWrites are the ways to change an object.
var fuzzedWrites = []struct{ method, contentType, query string }{
	{http.MethodPost, runtime.ContentTypeJSON, ""}, {http.MethodPut, runtime.ContentTypeJSON, ""}, {http.MethodPost, runtime.ContentTypeYAML, "fieldValidation=Strict"},
	{http.MethodPatch, string(types.MergePatchType), ""}, {http.MethodPatch, string(types.StrategicMergePatchType), ""},
	{http.MethodPatch, string(types.ApplyYAMLPatchType), "fieldManager=fuzz&force=true"}, {http.MethodPatch, string(types.JSONPatchType), ""},
}

// FuzzWrites changes stored objects, in every way there is, to almost what they were.
func FuzzWrites(f *testing.F) {
	s := newFuzzed(f)
	for i := range s.objects {
		for j := range fuzzedWrites {
			f.Add(uint8(i), uint8(j), false, []byte{})
			f.Add(uint8(i), uint8(j), true, []byte{byte(i), 0x35, byte(j), 0x81, 7, 3, 5, 1, 0x11, 0x77, 2})
		}
	}
	f.Fuzz(func(t *testing.T, object, way uint8, status bool, steps []byte) {
		method, target, contentType, body := s.write(t, object, way, status, steps)
		s.check(t, method, target, contentType, body)
	})
}

// write is a request that changes a stored object to almost what it was.
func (s *fuzzed) write(t testing.TB, object, way uint8, status bool, steps []byte) (method, target, contentType string, body []byte) {
	o, w := s.objects[int(object)%len(s.objects)], fuzzedWrites[int(way)%len(fuzzedWrites)]
	tree := any(runtime.DeepCopyJSON(plainNumbers(o.tree).(map[string]any)))
	if w.contentType == string(types.ApplyYAMLPatchType) {
		delete(tree.(map[string]any)["metadata"].(map[string]any), "managedFields")
	}
	path := o.path
	switch {
	case w.method == http.MethodPost:
		path = path[:strings.LastIndexByte(path, '/')]
		tree.(map[string]any)["metadata"].(map[string]any)["name"] = "new"
	case status:
		path += "/status"
	}
	if w.contentType == string(types.JSONPatchType) {
		tree = []any{
			map[string]any{"op": "test", "path": "/metadata/name", "value": "fuzz"}, map[string]any{"op": "add", "path": "/metadata/labels", "value": map[string]any{"a": "b"}},
			map[string]any{"op": "copy", "from": "/metadata/labels", "path": "/metadata/annotations"}, map[string]any{"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/c"},
			map[string]any{"op": "replace", "path": "/spec", "value": tree.(map[string]any)["spec"]}, map[string]any{"op": "remove", "path": "/spec"},
		}
	}
	body, err := json.Marshal(s.words.Mutate(tree, steps))
	if err != nil {
		t.Fatal(err)
	}
	return w.method, path + "?dryRun=All&" + w.query, w.contentType, body
}

// FuzzBodies sends any bytes as any media type.
func FuzzBodies(f *testing.F) {
	s := newFuzzed(f)
	for i, o := range s.objects {
		for j, w := range fuzzedWrites {
			body, err := json.Marshal(o.tree)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), uint8(j), w.contentType, body)
		}
	}
	f.Add(uint8(4), uint8(0), runtime.ContentTypeProtobuf, []byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x02\x0a\x00"))
	f.Add(uint8(4), uint8(2), runtime.ContentTypeYAML, []byte("a: &a [x, x]\nb: [*a, *a]\nkind: ConfigMap\napiVersion: v1"))
	f.Add(uint8(4), uint8(6), string(types.JSONPatchType), []byte(`[{"op":"add","path":"/data/x","value":"y"}]`))
	f.Fuzz(func(t *testing.T, object, way uint8, contentType string, body []byte) {
		o, w := s.objects[int(object)%len(s.objects)], fuzzedWrites[int(way)%len(fuzzedWrites)]
		path := o.path
		if w.method == http.MethodPost {
			path = path[:strings.LastIndexByte(path, '/')]
		}
		s.check(t, w.method, path+"?dryRun=All&"+w.query, contentType, body)
	})
}

// plainNumbers has whole numbers as whole, as DeepCopyJSON wants them.
func plainNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name := range value {
			value[name] = plainNumbers(value[name])
		}
	case []any:
		for i := range value {
			value[i] = plainNumbers(value[i])
		}
	case float64:
		if value == float64(int64(value)) {
			return int64(value)
		}
	}
	return value
}
