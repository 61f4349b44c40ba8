// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attempt is one request and what is answered to it: what kube-apiserver answers, but for what is nested deep.
type attempt struct {
	name, method, path string
	header             map[string]string
	body               string
	// want is code, reason and message; what stands before an ellipsis at its end begins the answer.
	want string
}

const (
	configMaps = "/api/v1/namespaces/default/configmaps"
	limit      = 3 << 20 // of a body
)

func attempts() []attempt {
	post := func(name, mediaType, body, want string) attempt {
		return attempt{name, http.MethodPost, configMaps + "?dryRun=All", map[string]string{"Content-Type": mediaType}, body, want}
	}
	patch := func(name, mediaType, body, want string) attempt {
		return attempt{name, http.MethodPatch, configMaps + "/target?dryRun=All&fieldManager=hostile", map[string]string{"Content-Type": mediaType}, body, want}
	}
	get := func(name, path, want string) attempt { return attempt{name, http.MethodGet, path, nil, "", want} }
	const jsonType, yamlType, protobuf, cborType = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"
	define := func(name, schema, want string) attempt {
		return attempt{name, http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All", map[string]string{"Content-Type": "application/json"},
			`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"costs.hostile.example.com"},"spec":{"group":"hostile.example.com","scope":"Namespaced",` +
				`"names":{"plural":"costs","kind":"Cost"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":` + schema + `}}}}]}}`, want}
	}
	object := func(member string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},` + member + `}`
	}
	named := func(member string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x",` + member + `}}`
	}
	return []attempt{
		post("a body above the limit", jsonType, object(`"data":{"a":"`+strings.Repeat("x", limit)+`"}`), "413 RequestEntityTooLarge Request entity too large: limit is 3145728"),
		post("an object above the limit of its data", jsonType, object(`"data":{"a":"`+strings.Repeat("x", 1<<20+1)+`"}`), `422 Invalid ConfigMap "x" is invalid: []: Too long: may not be more than 1048576 bytes`),
		patch("a patch above the limit", "application/merge-patch+json", `{"data":{"a":"`+strings.Repeat("x", limit)+`"}}`, "413 RequestEntityTooLarge Request entity too large: limit is 3145728"),
		post("nested JSON", jsonType, strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000), `400 BadRequest the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '{' exceeded max depth ({"a":{"a":{"a":{"a":{"a":{"a": ...)`),
		post("nested JSON lists", jsonType, object(`"data":`+strings.Repeat("[", 500_000)), `400 BadRequest the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '[' exceeded max depth ({"apiVersion":"v1","kind":"Con ...)`),
		post("nested YAML", yamlType, "apiVersion: v1\nkind: ConfigMap\ndata: "+strings.Repeat("[", 20_000), "400 BadRequest the body is nested 20000 levels deep, limit is 1000: make the object flatter"),
		post("nested YAML maps", yamlType, "apiVersion: v1\nkind: ConfigMap\ndata: "+strings.Repeat("{a: ", 20_000), "400 BadRequest the body is nested 20000 levels deep, limit is 1000: make the object flatter"),
		post("aliases of aliases", yamlType, laughs(9), "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): yaml: document contains excessive aliasing (61303a20266130205b6c6f6c2c6c6f6c2c6c6f6c2c6c6f6c2c6c6f6c2c6c ...)"),
		post("aliases of long lists", yamlType, "a: &a ["+strings.Repeat("x,", 20_000)+"]\nb: ["+strings.Repeat("*a,", 20_000)+"]\n", "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): yaml: document contains excessive aliasing (613a202661205b782c782c782c782c782c782c782c782c782c782c782c78 ...)"),
		post("many keys", jsonType, object(`"data":{`+many(80_000, `"k%d":""`)+`}`), "201"),
		post("many labels", jsonType, named(`"labels":{`+many(80_000, `"k%d":"v"`)+`}`), "201"),
		post("many annotations", jsonType, named(`"annotations":{`+many(80_000, `"k%d":"v"`)+`}`), `422 Invalid ConfigMap "x" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes`),
		post("many finalizers", jsonType, named(`"finalizers":[`+many(80_000, `"example.com/f%d"`)+`]`), "201"),
		post("many owners", jsonType, named(`"ownerReferences":[`+many(10_000, `{"apiVersion":"v1","kind":"Pod","name":"p","uid":"%d"}`)+`]`), "201"),
		post("many managed fields", jsonType, named(`"managedFields":[`+many(10_000, `{"manager":"m%d","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}`)+`]`), "201"),
		post("broken managed fields", jsonType, named(`"managedFields":[{"manager":"m","operation":"Steal","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"x":1}}]`), "201"),
		post("broken UTF-8", jsonType, object("\"data\":{\"a\":\"\xff\xfe\"}"), "201"),
		{"a field twice", http.MethodPost, configMaps + "?dryRun=All&fieldValidation=Strict", map[string]string{"Content-Type": jsonType}, object(`"data":{"a":"1","a":"2"}`), `400 BadRequest ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data.a"`},
		{"unknown fields without number", http.MethodPost, configMaps + "?dryRun=All&fieldValidation=Strict", map[string]string{"Content-Type": jsonType}, object(many(10_000, `"f%d":1`)), `400 BadRequest ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "f0", unknown fiel…`},
		post("a body in gzip", jsonType, zipped(32<<20), `400 BadRequest the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '\x1f' looking for beginning of value (1f8b08000000000000ffecc0810000000080a0fda917a900000000000000 ...)`),
		{"a body that says it is in gzip", http.MethodPost, configMaps + "?dryRun=All", map[string]string{"Content-Type": jsonType, "Content-Encoding": "gzip"}, zipped(32 << 20), `400 BadRequest the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '\x1f' looking for beginning of value (1f8b08000000000000ffecc0810000000080a0fda917a900000000000000 ...)`},
		post("protobuf of absurd length", protobuf, "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xff\xff\xff\xff\x0f", "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): unexpected EOF (6b3873000a0f0a0276311209436f6e6669674d617012ffffffff0f)"),
		post("protobuf of negative length", protobuf, "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): proto: negative length found during unmarshaling (6b3873000a0f0a0276311209436f6e6669674d617012ffffffffffffffff ...)"),
		post("nested protobuf groups", protobuf, "k8s\x00"+strings.Repeat("\x0b", 100_000), "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): proto: wrong wireType = 3 for field TypeMeta (6b3873000b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b ...)"),
		post("CBOR", cborType, "\xd9\xd9\xf7\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "415 UnsupportedMediaType the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"),
		post("nothing", jsonType, "", "400 BadRequest the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
		post("a media type that nobody knows", "text/html", "<html>", "415 UnsupportedMediaType the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"),
		patch("a JSON patch of too many operations", "application/json-patch+json", "["+many(10_001, `{"op":"add","path":"/data/k%d","value":"v"}`)+"]", "413 RequestEntityTooLarge Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"),
		patch("a JSON patch that copies itself", "application/json-patch+json", copies(40), "422 Invalid the server rejected our request due to an error in our request"),
		patch("a JSON patch far out of a list", "application/json-patch+json", `[{"op":"add","path":"/metadata/finalizers","value":[]},{"op":"add","path":"/metadata/finalizers/4000000000","value":"x"}]`, "422 Invalid the server rejected our request due to an error in our request"),
		patch("a JSON patch of nothing", "application/json-patch+json", `[{"op":"test","path":"/nothing","value":1}]`, "422 Invalid the server rejected our request due to an error in our request"),
		patch("a JSON patch that is none", "application/json-patch+json", `{}`, "400 BadRequest error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
		patch("a nested merge patch", "application/merge-patch+json", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000), "400 BadRequest invalid JSON patch"),
		patch("a nested strategic patch", "application/strategic-merge-patch+json", strings.Repeat(`{"data":`, 20_000)+"1"+strings.Repeat("}", 20_000), "400 BadRequest invalid JSON patch"),
		patch("a strategic patch with directives alone", "application/strategic-merge-patch+json", `{"$patch":"explode"}`, "500  unknown patch type: explode in map: map[$patch:explode]"),
		patch("an apply patch of aliases", "application/apply-patch+yaml", laughs(9), "400 BadRequest error encoding patch: yaml: document contains excessive aliasing"),
		patch("an apply patch that is a list", "application/apply-patch+yaml", "[1]", "400 BadRequest error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"),
		patch("a CBOR apply patch", "application/apply-patch+cbor", "\xd9\xd9\xf7\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "415 UnsupportedMediaType 415: Unsupported Media Type"),
		get("a long label selector", configMaps+"?labelSelector="+strings.Repeat("a,", 50_000)+"a", "200"),
		get("a label selector of many values", configMaps+"?labelSelector=a%20in%20("+many(50_000, "v%d")+")", "200"),
		get("a label selector that is none", configMaps+"?labelSelector="+strings.Repeat("(", 50_000), "400 BadRequest found '(', expected: !, identifier, or 'end of string'"),
		get("a long field selector", configMaps+"?fieldSelector="+strings.TrimSuffix(strings.Repeat("metadata.name=a,", 10_000), ","), "200"),
		get("a field selector of an unknown field", configMaps+"?fieldSelector=spec.x=1", `400 BadRequest "spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"`),
		get("a long URL", configMaps+"/"+strings.Repeat("a", 900_000), `404 NotFound configmaps "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…`),
		get("a long name", configMaps+"/"+strings.Repeat("a", 100_000), `404 NotFound configmaps "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…`),
		get("many parameters", configMaps+"?"+strings.Repeat("a=b&", 100_000), "200"),
		get("a continue token that is none", configMaps+"?continue=x&limit=1", "400 BadRequest invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
		get("a continue token of another place", configMaps+"?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi8uLi9zZWNyZXRzIn0", "400 BadRequest invalid continue token: continue key is not valid: ../../../secrets"),
		get("a continue token that begins nowhere", configMaps+"?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIifQ", "400 BadRequest invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"),
		get("a limit below zero", configMaps+"?limit=-1", "200"),
		get("a limit that is none", configMaps+"?limit=x", `400 BadRequest strconv.ParseInt: parsing "x": invalid syntax`),
		get("a version of the future", configMaps+"?resourceVersion=9223372036854775807&resourceVersionMatch=Exact", "504 Timeout Timeout: Too large resource version: 9223372036854775807, current: …"),
		get("a version that is none", configMaps+"?resourceVersion=-1", `400 BadRequest invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax`),
		get("a watch from a version that is none", configMaps+"?watch=1&resourceVersion=x", `500  resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax`),
		get("a watch with initial events alone", configMaps+"?watch=1&sendInitialEvents=true", `422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`),
		get("a path with nothing in it", "/api/v1/namespaces/"+strings.Repeat("/", 1000), "200"),
		get("a path that climbs", "/api/v1/namespaces/default/configmaps/..%2f..%2f..%2fsecrets", "404 NotFound the server could not find the requested resource"),
		define("a costly rule", `{"type":"array","items":{"type":"array","items":{"type":"string"}},"x-kubernetes-validations":[{"rule":"self.all(a, a.all(b, self.all(c, c.all(d, b != d))))"}]}`, `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "costs.hostile.example.com" is invalid: [spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule…`),
		define("a rule that is none", `{"type":"array","items":{"type":"string"},"x-kubernetes-validations":[{"rule":"`+strings.Repeat("(", 10_000)+`"}]}`, `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "costs.hostile.example.com" is invalid: spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule:…`),
		define("a long rule", `{"type":"integer","x-kubernetes-validations":[{"rule":"`+strings.Repeat("self > 0 && ", 100_000)+`true"}]}`, `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "costs.hostile.example.com" is invalid: spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule:…`),
		define("a pattern that is none", `{"type":"string","pattern":"("}`, `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "costs.hostile.example.com" is invalid: spec.validation.openAPIV3Schema.properties[spec].pattern: Invalid value: "(": must…`),
		define("an enormous schema", `{"type":"object","properties":{`+many(30_000, `"p%d":{"type":"string","description":"`+strings.Repeat("x", 60)+`"}`)+`}}`, "201…"),
		define("a deep schema", strings.Repeat(`{"type":"object","properties":{"p":`, 450)+`{"type":"string"}`+strings.Repeat("}}", 450), "201…"),
		define("a deeper schema", strings.Repeat(`{"type":"object","properties":{"p":`, 2000)+`{"type":"string"}`+strings.Repeat("}}", 2000), "400 BadRequest the body is nested 4008 levels deep, limit is 1000: make the object flatter"),
		define("a schema that refers to itself", `{"$ref":"#/definitions/a"}`, `422 Invalid CustomResourceDefinition.apiextensions.k8s.io "costs.hostile.example.com" is invalid: spec.validation.openAPIV3Schema.properties[spec].$ref: Forbidden: $ref is not supported`),
		{"a costly policy", http.MethodPost, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies?dryRun=All", map[string]string{"Content-Type": jsonType},
			`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"x"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["configmaps"]}]},"validations":[{"expression":"` + strings.Repeat("[", 5000) + `"}]}}`, `422 Invalid ValidatingAdmissionPolicy.admissionregistration.k8s.io "x" is invalid: spec.validations[0].expression: Invalid value: "[[[[…`},
		get("a path that is cut", "/api/v1/namespaces/default/configmaps/%00", `404 NotFound configmaps "\x00" not found`),
	}
}

// many is n of format, with their numbers, joined by commas.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// laughs is a small YAML document that says ten to the power of n things.
func laughs(n int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [" + strings.TrimSuffix(strings.Repeat("lol,", 10), ",") + "]\n")
	for i := range n {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	return b.String()
}

// copies is a JSON patch that doubles an object n times.
func copies(n int) string {
	operations := []string{`{"op":"add","path":"/data/x","value":{"y":"` + strings.Repeat("z", 1000) + `"}}`}
	for i := range n {
		operations = append(operations, fmt.Sprintf(`{"op":"copy","from":"/data/x","path":"/data/x/c%d"}`, i))
	}
	return "[" + strings.Join(operations, ",") + "]"
}

// zipped is n zeros in gzip.
func zipped(n int) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(make([]byte, n))
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return b.String()
}

// requests sends what is too large, too deep or broken, one request after the other.
func requests(t *testing.T, s *suite) {
	client := s.client(t)
	target := attempt{"", http.MethodPost, configMaps, map[string]string{"Content-Type": "application/json"},
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"target"},"data":{"a":"b"}}`, "201"}
	if got, err := target.send(t, client, s.admin.Host); err != nil || got != target.want {
		t.Fatalf("make an object to patch: %s, %v", got, err)
	}
	for _, a := range attempts() {
		t.Run(a.name, func(t *testing.T) {
			got, err := a.send(t, client, s.admin.Host)
			if err != nil {
				t.Fatal(err)
			}
			if begin, ok := strings.CutSuffix(a.want, "…"); got != a.want && !(ok && strings.HasPrefix(got, begin)) {
				t.Errorf("got  %s\nwant %s", abridged(got), a.want)
			}
		})
	}
}

// send returns the answer's code, and of a Status its reason and message.
func (a attempt) send(t *testing.T, client *http.Client, host string) (string, error) {
	request, err := http.NewRequestWithContext(t.Context(), a.method, host+a.path, strings.NewReader(a.body))
	if err != nil {
		return "", err
	}
	for name, value := range a.header {
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil {
		return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(body))), nil
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", answer.StatusCode, status.Reason, status.Message)), nil
}

// abridged keeps long answers readable.
func abridged(text string) string {
	if len(text) > 300 {
		return text[:300] + "…"
	}
	return text
}
