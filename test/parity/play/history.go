// SPDX-License-Identifier: Apache-2.0

package play

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// deletes tries options of DELETE as dry runs on the minimal object.
func (k *kind) deletes(ctx context.Context) error {
	if _, ok := k.stored[corpus.Minimal]; !ok || !k.Has("delete") {
		return nil
	}
	options := []struct {
		name string
		body string
	}{
		{"no options", `{}`},
		{"background", `{"propagationPolicy":"Background"}`}, {"foreground", `{"propagationPolicy":"Foreground"}`}, {"orphan", `{"propagationPolicy":"Orphan"}`},
		{"unknown policy", `{"propagationPolicy":"Upwards"}`},
		{"orphanDependents", `{"orphanDependents":true}`}, {"orphanDependents false", `{"orphanDependents":false}`},
		{"orphanDependents and policy", `{"orphanDependents":true,"propagationPolicy":"Orphan"}`},
		{"at once", `{"gracePeriodSeconds":0}`}, {"grace", `{"gracePeriodSeconds":45}`}, {"negative grace", `{"gracePeriodSeconds":-1}`},
		{"grace of the wrong type", `{"gracePeriodSeconds":"soon"}`},
		{"another uid", `{"preconditions":{"uid":"0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10"}}`}, {"empty uid", `{"preconditions":{"uid":""}}`},
		{"another version", `{"preconditions":{"resourceVersion":"1"}}`}, {"bad version", `{"preconditions":{"resourceVersion":"abc"}}`},
		{"another kind", `{"kind":"Parity","apiVersion":"parity.example.com/v1"}`},
		{"unknown field", `{"noSuchField":1}`}, {"no JSON", `{`},
		{"reads past errors", `{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`},
		{"reads past errors at once", `{"ignoreStoreReadErrorWithClusterBreakingPotential":true,"gracePeriodSeconds":0}`},
		{"bad dry run", `{"dryRun":["Some"]}`},
	}
	for _, o := range options {
		r := k.request(http.MethodDelete, k.name(corpus.Minimal), "application/json", nil)
		r.Body = []byte(o.body)
		if o.name != "bad dry run" {
			r.Body = withDryRun(o.body)
		}
		if _, err := k.record(ctx, "delete", "minimal: delete, "+o.name, r, r); err != nil {
			return err
		}
	}
	for _, q := range []url.Values{
		{}, {"propagationPolicy": {"Foreground"}}, {"propagationPolicy": {"Upwards"}}, {"gracePeriodSeconds": {"0"}}, {"gracePeriodSeconds": {"soon"}}, {"orphanDependents": {"true"}},
	} {
		r := k.request(http.MethodDelete, k.name(corpus.Minimal), "", nil)
		r.Query = maps.Clone(q)
		r.Query.Set("dryRun", "All")
		if _, err := k.record(ctx, "delete", "minimal: delete with ?"+q.Encode(), r, r); err != nil {
			return err
		}
	}
	return nil
}

func withDryRun(body string) []byte {
	var tree map[string]any
	if json.Unmarshal([]byte(body), &tree) != nil {
		return []byte(body)
	}
	tree["dryRun"] = []string{"All"}
	return encode(tree)
}

// step is one of a history. Where edit is set the body is what the server has stored, changed; else body is sent as it is.
type step struct {
	op, id      string
	method      string
	name        string // after the path of the kind: the object's name, perhaps with a subresource
	contentType string
	query       url.Values
	accept      string
	body        string
	edit        func(map[string]any)
}

// history tells a story with the minimal object: others' objects, conflicts, several managers, the end by each policy.
func (k *kind) history(ctx context.Context) error {
	if _, ok := k.stored[corpus.Minimal]; !ok || !k.Has("update") || !k.Has("delete") {
		return nil
	}
	for _, s := range k.steps() {
		if err := k.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind) step(ctx context.Context, s step) error {
	r := k.request(s.method, s.name, s.contentType, nil)
	maps.Copy(r.Query, s.query)
	r.Body, r.Accept = []byte(s.body), s.accept
	stock, hivemind := r, r
	if s.edit != nil {
		if err := k.refresh(ctx, corpus.Minimal); err != nil {
			return err
		}
		live, ok := k.stored[corpus.Minimal]
		if !ok {
			k.Recorder.Blocked(KindName(k.Resource), corpus.Minimal, "is not stored on both servers", 1)
			return nil
		}
		s.edit(live.stock)
		s.edit(live.hivemind)
		stock.Body, hivemind.Body = encode(live.stock), encode(live.hivemind)
	}
	if _, err := k.record(ctx, s.op, "history: "+s.id, stock, hivemind); err != nil || s.method == http.MethodGet {
		return err
	}
	return k.settle(ctx, corpus.Minimal, steady)
}

func (k *kind) steps() []step {
	name := k.name(corpus.Minimal)
	jsonType, merge, apply := "application/json", string(types.MergePatchType), string(types.ApplyPatchType)
	whole := string(encode(k.Object(corpus.Minimal)))
	apiVersion, kindName := k.Resource.GroupVersionKind.ToAPIVersionAndKind()
	applied := func(value string) string {
		return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"labels":{"shared":%q}}}`, apiVersion, kindName, name, value)
	}
	by := func(manager string, more ...string) url.Values {
		q := url.Values{"fieldManager": {manager}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return q
	}
	meta := func(tree map[string]any) map[string]any { return tree["metadata"].(map[string]any) }
	post := func(id string) step {
		return step{op: "create", id: id, method: http.MethodPost, contentType: jsonType, body: whole}
	}
	get := func(id string) step { return step{op: "read", id: id, method: http.MethodGet, name: name} }
	patch := func(id, body string) step {
		return step{op: "merge patch", id: id, method: http.MethodPatch, name: name, contentType: merge, body: body}
	}
	end := func(id, body string) step {
		return step{op: "delete", id: id, method: http.MethodDelete, name: name, contentType: jsonType, body: body}
	}
	release := func(id string) step { return patch(id, `{"metadata":{"finalizers":null}}`) }
	steps := []step{
		get("read"),
		{op: "read", id: "read what is not there", method: http.MethodGet, name: "parity-nobody"},
		{op: "read", id: "read at a version that is none", method: http.MethodGet, name: name, query: url.Values{"resourceVersion": {"abc"}}},
		post("create what is there"),
		{op: "create", id: "create from nothing", method: http.MethodPost, contentType: jsonType, body: ""},
		{op: "create", id: "create from half an object", method: http.MethodPost, contentType: jsonType, body: whole[:len(whole)/2]},
		{op: "create", id: "create from YAML", method: http.MethodPost, contentType: "application/yaml", body: whole, query: url.Values{"dryRun": {"All"}}},
		{op: "create", id: "create from what is no format", method: http.MethodPost, contentType: "application/parity", body: whole},
		{op: "create", id: "create with a bad fieldValidation", method: http.MethodPost, contentType: jsonType, body: whole, query: url.Values{"fieldValidation": {"Lax"}}},
		{op: "create", id: "create with a bad dryRun", method: http.MethodPost, contentType: jsonType, body: whole, query: url.Values{"dryRun": {"Some"}}},
		{op: "create", id: "create with a bad fieldManager", method: http.MethodPost, contentType: jsonType, body: whole, query: url.Values{"fieldManager": {"a\u0001b"}}},
		{op: "update", id: "update an old version", method: http.MethodPut, name: name, contentType: jsonType, edit: func(o map[string]any) { meta(o)["resourceVersion"] = "1" }},
		{op: "update", id: "update without a version", method: http.MethodPut, name: name, contentType: jsonType, query: url.Values{"dryRun": {"All"}}, edit: func(o map[string]any) { delete(meta(o), "resourceVersion") }},
		{op: "update", id: "update another's uid", method: http.MethodPut, name: name, contentType: jsonType, edit: func(o map[string]any) { meta(o)["uid"] = "0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10" }},
		{op: "update", id: "update what is not there", method: http.MethodPut, name: "parity-nobody", contentType: jsonType, query: url.Values{"dryRun": {"All"}}, edit: func(o map[string]any) {
			for _, key := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
				delete(meta(o), key)
			}
			meta(o)["name"] = "parity-nobody"
		}},
		{op: "merge patch", id: "patch what is not there", method: http.MethodPatch, name: "parity-nobody", contentType: merge, body: `{}`},
		{op: "merge patch", id: "patch with no JSON", method: http.MethodPatch, name: name, contentType: merge, body: `{`},
		{op: "merge patch", id: "patch with a list", method: http.MethodPatch, name: name, contentType: merge, body: `[]`},
		{op: "merge patch", id: "patch in no format", method: http.MethodPatch, name: name, contentType: "application/parity", body: `{}`},
		{op: "merge patch", id: "patch an old version", method: http.MethodPatch, name: name, contentType: merge, body: `{"metadata":{"resourceVersion":"1"}}`},
		{op: "merge patch", id: "patch with force", method: http.MethodPatch, name: name, contentType: merge, body: `{}`, query: url.Values{"force": {"true"}}},
		{op: "json patch", id: "a test that fails", method: http.MethodPatch, name: name, contentType: string(types.JSONPatchType), body: `[{"op":"test","path":"/kind","value":"Parity"}]`},
		{op: "json patch", id: "no such operation", method: http.MethodPatch, name: name, contentType: string(types.JSONPatchType), body: `[{"op":"wish","path":"/kind"}]`},
		{op: "json patch", id: "no such path", method: http.MethodPatch, name: name, contentType: string(types.JSONPatchType), body: `[{"op":"remove","path":"/no/such/path"}]`},
		{op: "strategic patch", id: "an unknown directive", method: http.MethodPatch, name: name, contentType: string(types.StrategicMergePatchType), body: `{"metadata":{"$patch":"wish"}}`},
		{op: "strategic patch", id: "labels replaced", method: http.MethodPatch, name: name, contentType: string(types.StrategicMergePatchType), body: `{"metadata":{"labels":{"$patch":"replace","a":"b"}}}`, query: url.Values{"dryRun": {"All"}}},
		{op: "apply", id: "apply without a manager", method: http.MethodPatch, name: name, contentType: apply, body: applied("a"), query: url.Values{"fieldManager": {""}}},
		{op: "apply", id: "apply what is not there", method: http.MethodPatch, name: "parity-nobody", contentType: apply, body: fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"parity-nobody"}}`, apiVersion, kindName), query: by("first", "dryRun", "All")},
		{op: "apply", id: "apply with managed fields", method: http.MethodPatch, name: name, contentType: apply, body: fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"managedFields":[{"manager":"m"}]}}`, apiVersion, kindName, name), query: by("first")},
		{op: "apply", id: "apply another kind", method: http.MethodPatch, name: name, contentType: apply, body: fmt.Sprintf(`{"apiVersion":%q,"kind":"Parity","metadata":{"name":%q}}`, apiVersion, name), query: by("first")},
		{op: "merge patch", id: "label by one manager", method: http.MethodPatch, name: name, contentType: merge, body: `{"metadata":{"labels":{"shared":"one"}}}`, query: by("one")},
		{op: "apply", id: "label by another, in conflict", method: http.MethodPatch, name: name, contentType: apply, body: applied("two"), query: by("two")},
		{op: "apply forced", id: "label by another, by force", method: http.MethodPatch, name: name, contentType: apply, body: applied("two"), query: by("two", "force", "true")},
		{op: "apply", id: "label shared", method: http.MethodPatch, name: name, contentType: apply, body: applied("two"), query: by("three")},
		{op: "apply", id: "label given up", method: http.MethodPatch, name: name, contentType: apply, body: fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q}}`, apiVersion, kindName, name), query: by("three")},
		get("read what several manage"),
	}
	if k.HasStatus() {
		steps = append(steps,
			step{op: "status patch", id: "label by the status", method: http.MethodPatch, name: name + "/status", contentType: merge, body: `{"metadata":{"labels":{"status":"yes"}}}`, query: by("controller")},
			step{op: "read", id: "read the status", method: http.MethodGet, name: name + "/status"},
			step{op: "status update", id: "status of what is not there", method: http.MethodPut, name: "parity-nobody/status", contentType: jsonType, edit: func(o map[string]any) { meta(o)["name"] = "parity-nobody" }},
		)
	}
	steps = append(steps, k.lists()...)
	steps = append(steps,
		patch("hold by a finalizer", `{"metadata":{"finalizers":["example.com/hold"]}}`),
		end("delete what is held", `{}`), get("read what is being deleted"), post("create what is being deleted"),
		patch("change what is being deleted", `{"metadata":{"labels":{"late":"yes"}}}`),
		patch("hold what is being deleted once more", `{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}`),
		end("delete once more", `{"gracePeriodSeconds":0}`),
		release("let go"), get("read what is gone"), end("delete what is gone", `{}`),
	)
	for _, policy := range []string{"Foreground", "Orphan", "Background"} {
		steps = append(steps, post("create for "+policy), end("delete by "+policy, fmt.Sprintf(`{"propagationPolicy":%q}`, policy)),
			get("read after "+policy), release("let go after "+policy), get("read at the end of "+policy), end("clear after "+policy, `{"gracePeriodSeconds":0}`))
	}
	return append(steps, post("create for the collection"),
		step{op: "delete", id: "delete a collection of nothing", method: http.MethodDelete, contentType: jsonType, body: `{}`, query: url.Values{"labelSelector": {"no=such"}}},
		step{op: "delete", id: "delete a collection, dry", method: http.MethodDelete, contentType: jsonType, body: `{}`, query: url.Values{"fieldSelector": {"metadata.name=" + name}, "dryRun": {"All"}}},
		step{op: "delete", id: "delete a collection", method: http.MethodDelete, contentType: jsonType, body: `{"gracePeriodSeconds":0}`, query: url.Values{"fieldSelector": {"metadata.name=" + name}}},
		get("read after the collection"))
}

// table asks for what kubectl get prints.
const table = "application/json;as=Table;v=v1;g=meta.k8s.io"

// lists reads several objects, as they are and as tables.
func (k *kind) lists() []step {
	list := func(id string, query url.Values) step {
		return step{op: "read", id: id, method: http.MethodGet, query: query}
	}
	named := func(object string) string { return "metadata.name=" + k.name(object) }
	steps := []step{
		list("list by name", url.Values{"fieldSelector": {named(corpus.Minimal)}}),
		list("list by label", url.Values{"labelSelector": {"shared=two"}, "fieldSelector": {named(corpus.Minimal)}}),
		list("list by a label that is none", url.Values{"labelSelector": {"a b"}}),
		list("list by a field that is none", url.Values{"fieldSelector": {"no.such=field"}}),
		list("list by a selector that is none", url.Values{"fieldSelector": {"no selector"}}),
		list("list with a limit that is none", url.Values{"limit": {"many"}}),
		list("list on from nowhere", url.Values{"continue": {"abc"}, "limit": {"1"}}),
	}
	for _, o := range k.Objects {
		if _, ok := k.stored[o.Name]; ok {
			steps = append(steps, step{op: "table", id: "table of " + o.Name, method: http.MethodGet, query: url.Values{"fieldSelector": {named(o.Name)}}, accept: table})
		}
	}
	for _, of := range []string{"status.phase=Running", "spec.nodeName=parity", "type=Opaque", "involvedObject.kind=Pod", "status.replicas=0", "spec.unschedulable=false", "metadata.namespace=" + k.namespace} {
		steps = append(steps, list("list by "+of, url.Values{"fieldSelector": {of + "," + named(corpus.Minimal)}}))
	}
	return steps
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what was decoded from JSON can be encoded
	}
	return data
}
