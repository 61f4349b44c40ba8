// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/hivemind-project/hivemind/test/parity/exchange"
)

func answer(t *testing.T, code int, body string, warnings ...string) exchange.Answer {
	t.Helper()
	a := exchange.Answer{Code: code, Warnings: warnings}
	if err := utiljson.Unmarshal([]byte(body), &a.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

const (
	invalid  = `{"reason":"Invalid","message":"M: [a: x, b: y]","details":{"name":"n","causes":[{"reason":"FieldValueInvalid","message":"x","field":"a"},{"reason":"FieldValueRequired","message":"y","field":"b"}]}}`
	reversed = `{"reason":"Invalid","message":"M: [b: y, a: x]","details":{"name":"n","causes":[{"reason":"FieldValueRequired","message":"y","field":"b"},{"reason":"FieldValueInvalid","message":"x","field":"a"}]}}`
	fewer    = `{"reason":"Invalid","message":"M: a: z","details":{"name":"n","causes":[{"reason":"FieldValueInvalid","message":"z","field":"a"}]}}`
	pod      = `{"kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsV1":{"f:spec":{"f:x":{}}}}]},"spec":{"x":1,"list":[{"name":"a","v":1},{"name":"b"}]}}`
)

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name            string
		stock, hivemind exchange.Answer
		want            []Difference
	}{
		{"the same", answer(t, 201, pod), answer(t, 201, pod), nil},
		{"the same refusal", answer(t, 422, invalid), answer(t, 422, invalid), nil},
		{
			"another code without causes", answer(t, 404, `{"reason":"NotFound","message":"none"}`), answer(t, 409, `{"reason":"Conflict","message":"busy"}`),
			[]Difference{differs(Code, "", "404 NotFound: none", "409 Conflict: busy")},
		},
		{
			"a rule that only stock has", answer(t, 422, fewer), answer(t, 201, pod),
			[]Difference{differs(Cause, "a", "Invalid: z", "")},
		},
		{
			"another text and a missing cause", answer(t, 422, invalid), answer(t, 422, fewer),
			[]Difference{differs(Cause, "a", "Invalid: x", "Invalid: z"), differs(Cause, "b", "Required: y", "")},
		},
		{
			"causes in another order", answer(t, 422, invalid), answer(t, 422, reversed),
			[]Difference{differs(Message, "", "the same causes", "in another order")},
		},
		{
			"a cause told twice", answer(t, 422, `{"reason":"Invalid","message":"M: a: z","details":{"name":"n","causes":[{"reason":"FieldValueInvalid","message":"z","field":"a"},{"reason":"FieldValueInvalid","message":"z","field":"a"}]}}`),
			answer(t, 422, fewer), nil,
		},
		{
			"a cause told of the whole", answer(t, 422, `{"reason":"Invalid","message":"M","details":{"causes":[{"reason":"FieldValueDuplicate","message":"d","field":"a[0].type"}]}}`),
			answer(t, 422, `{"reason":"Invalid","message":"M","details":{"causes":[{"reason":"FieldValueDuplicate","message":"d","field":"a[0]"}]}}`),
			[]Difference{differs(Cause, "a[0].type", "Duplicate: d", "at a[*]: Duplicate: d")},
		},
		{
			"warnings", answer(t, 201, pod, "one", "two"), answer(t, 201, pod, "two"),
			[]Difference{differs(Warning, "", "one", "")},
		},
		{
			"values, elements by their key, and owners", answer(t, 200, pod),
			answer(t, 200, `{"kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsV1":{"f:spec":{}}}]},"spec":{"x":1,"list":[{"name":"b"},{"name":"c"}]}}`),
			[]Difference{
				differs(Object, "spec.list[0]", `{"name":"a","v":1}`, ""), differs(Object, "spec.list[0]", "", `{"name":"c"}`),
				differs(ManagedFields, "spec.x", "owned", ""),
			},
		},
		{
			"the time of a condition that the server manages",
			answer(t, 200, `{"metadata":{"managedFields":[{"manager":"<the server>","operation":"Update","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"A\"}":{"f:status":{}}}}}}]}}`),
			answer(t, 200, `{"metadata":{"managedFields":[{"manager":"<the server>","operation":"Update","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"A\"}":{"f:status":{},"f:lastTransitionTime":{}}}}}}]}}`),
			nil,
		},
		{
			"no managers at all", answer(t, 200, `{"metadata":{}}`),
			answer(t, 200, `{"metadata":{"managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1"},{"manager":"a","operation":"Apply","apiVersion":"v1"}]}}`),
			[]Difference{differs(ManagedFields, "", "none at all", "has a, Apply, v1; m, Update, v1")},
		},
		{
			"lists in another order", answer(t, 200, `{"spec":{"list":[1,2]}}`), answer(t, 200, `{"spec":{"list":[2,1]}}`),
			[]Difference{differs(Object, "spec.list", "the same elements", "in another order")},
		},
		{
			"a Status for an object", answer(t, 200, pod), answer(t, 200, `{"kind":"Status","status":"Success"}`),
			[]Difference{differs(Object, "", "answers with the object", "answers with a Status, Success")},
		},
		{
			"no answer", exchange.Answer{Text: "the handler ended without an answer"}, answer(t, 422, fewer),
			[]Difference{differs(Code, "", "the handler ended without an answer", "422 Invalid: M: a: z")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Answers(exchange.Answers{Stock: tt.stock, Hivemind: tt.hivemind})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNormalise(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := World{Began: began, ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), FirstNodePort: 30000, LastNodePort: 32767, Servers: []string{"kube-apiserver"}, Asked: "10.96.200.1 31000 0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10"}
	a := answer(t, 200, `{
		"metadata":{"uid":"11111111-2222-3333-4444-555555555555","resourceVersion":"42","creationTimestamp":"2026-03-01T12:00:01Z",
			"managedFields":[{"manager":"kube-apiserver","fieldsType":"FieldsV1","time":"2026-03-01T12:00:01Z"}],"ownerReferences":[{"uid":"0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10"}]},
		"spec":{"clusterIP":"10.96.3.4","asked":"10.96.200.1","pod":"10.244.0.1","ports":[{"nodePort":30123,"port":30123},{"nodePort":31000},{"nodePort":40000}],
			"when":"2026-03-01T12:00:05Z","then":"2024-05-06T07:08:09Z","volume":"kube-api-access-x6568"},
		"rows":[{"cells":["a",3,"2m5s","1 (12s ago)"]}],"errors":"bad: errors:\n  b\n  a","status":{"incomplete":false,"resourceRules":[{"verbs":["b"]},{"verbs":["a"]}]},
		"message":"Key: /registry/pods/a, ResourceVersion: 7, ResourceVersion in record (9), port 30777","reason":"the requested object is a list (*core.PodList)"}`, "resourceVersion\":\"12\"")
	w.Normalise(&a)
	want := answer(t, 200, `{
		"metadata":{"uid":"<uid>","resourceVersion":"<resourceVersion>","creationTimestamp":"<creationTimestamp>","managedFields":[{"manager":"<the server>","fieldsType":"FieldsV1"}],
			"ownerReferences":[{"uid":"0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10"}]},
		"spec":{"clusterIP":"<address>","asked":"10.96.200.1","pod":"10.244.0.1","ports":[{"nodePort":"<port>","port":30123},{"nodePort":31000},{"nodePort":"<port>"}],
			"when":"<now>","then":"2024-05-06T07:08:09Z","volume":"<generated>"},
		"rows":[{"cells":["a",3,"<age>","1 (<age> ago)"]}],"errors":"bad: errors:\n  a\n  b","status":{"incomplete":false,"resourceRules":[{"verbs":["a"]},{"verbs":["b"]}]},
		"message":"Key: <key>, ResourceVersion: <resourceVersion>, ResourceVersion in record (<resourceVersion>), port <port>","reason":"the requested object is a list (*<package>.PodList)"}`, "resourceVersion\":\"<resourceVersion>\"")
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSignature(t *testing.T) {
	same := [][2]Difference{
		{differs(Cause, "spec.containers[0].name", `Invalid: Invalid value: "A": bad`, ""), differs(Cause, "spec.containers[3].name", `Invalid: Invalid value: "B": bad`, "")},
		{differs(Cause, "spec.template.spec.x", "a", ""), differs(Cause, "spec.jobTemplate.spec.template.spec.x", "a", "")},
		{differs(Object, "metadata.labels.a", "", `"b"`), differs(Object, "metadata.labels[c/d]", "", `"b"`)},
		{differs(Code, "", `404 NotFound: pods "a" not found`, "200"), differs(Code, "", `404 NotFound: nodes "b" not found`, "200")},
		{differs(Message, "", `spec.a: Invalid value: 5`, "x"), differs(Message, "", `spec.b[0]: Invalid value: 7`, "x")},
	}
	for _, pair := range same {
		if a, b := pair[0].Signature(), pair[1].Signature(); a != b {
			t.Errorf("%+v\nand %+v are two", a, b)
		}
	}
	dump := differs(Cause, "spec", "Forbidden: no\n@@ -1,2 +1,3 @@\n- a", "Forbidden: no\n@@ -4,2 +4,3 @@\n- b").Signature()
	if dump.Stock == dump.Hivemind || strings.Contains(dump.Stock, "- a") {
		t.Errorf("%+v", dump)
	}
	other := [][2]Difference{
		{differs(Cause, "spec.a", "x", ""), differs(Cause, "spec.b", "x", "")},
		{differs(Cause, "spec.a", "x", ""), differs(Cause, "spec.a", "", "x")},
		{differs(Object, "spec.a", "1", ""), differs(Object, "spec.a", "2", "")},
	}
	for _, pair := range other {
		if a, b := pair[0].Signature(), pair[1].Signature(); a == b || a.ID() == b.ID() {
			t.Errorf("%+v\nand %+v are one", pair[0], pair[1])
		}
	}
	// Where the forms are the same, what differs is shown.
	s := differs(Message, "", `the "long" text that both have says one thing`, `the "long" text that both have says another thing`).Signature()
	long := differs(Message, "", `value "a" is bad`, `value "b" is bad`).Signature()
	if s.Stock == s.Hivemind || long.Stock == long.Hivemind || !strings.Contains(long.Stock, `"a"`) {
		t.Errorf("%+v, %+v", s, long)
	}
}
