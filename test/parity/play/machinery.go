// SPDX-License-Identifier: Apache-2.0

package play

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// odd is a request that no client library makes, or none on purpose. It changes nothing: it is a read, a dry run, or refused.
type odd struct {
	id, method  string
	name        string // after the path of the kind
	query       url.Values
	contentType string
	accept      string
	body        string
}

// machinery tries what is the same for all kinds, and belongs to the library that both servers are built on or to how it is put together: selectors and versions
// of lists and watches, content types, patches that are none, names in paths, methods.
func (k *kind) machinery(ctx context.Context) error {
	if _, ok := k.stored[corpus.Minimal]; !ok || !k.Has("update") || !k.Has("list") {
		return nil
	}
	waiting, waits := errgroup.WithContext(ctx) // watches, which do nothing for most of their second
	for _, o := range k.watches() {
		waiting.Go(func() error { return k.odd(waits, o) })
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(k.Workers)
	for _, o := range slices.Concat(k.oddReads(), k.oddWrites(), k.oddPaths()) {
		group.Go(func() error { return k.odd(ctx, o) })
	}
	return firstError(group.Wait(), waiting.Wait())
}

// odd sends one.
func (k *kind) odd(ctx context.Context, o odd) error {
	r := k.request(o.method, strings.TrimPrefix(o.name, "/"), o.contentType, nil)
	if o.name == "/" {
		r.Path += "/"
	}
	maps.Copy(r.Query, o.query)
	if o.method != http.MethodGet {
		r.Query["dryRun"] = []string{"All"}
	}
	r.Accept, r.Body = o.accept, []byte(o.body)
	_, err := k.record(ctx, "machinery", o.id, r, r)
	return err
}

// oddReads are lists, watches and reads with what they cannot have, and in each form that an answer has.
func (k *kind) oddReads() []odd {
	name := k.name(corpus.Minimal)
	var all []odd
	for _, query := range []string{
		"resourceVersion=abc", "resourceVersion=-1", "resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan", "resourceVersion=0&resourceVersionMatch=Exact",
		"resourceVersion=1&resourceVersionMatch=Newest", "resourceVersion=1&continue=abc", "limit=-1", "limit=1&continue=abc", "limit=1&continue=eyJ2IjoiIiwicnYiOjEsInN0YXJ0IjoiYSJ9",
		"limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9hIn0", "timeoutSeconds=soon", "sendInitialEvents=true", "sendInitialEvents=perhaps",
		"labelSelector=a+in+b", "labelSelector=a>b", "labelSelector=-a", "labelSelector=a=-b", "labelSelector=a+in+()", "labelSelector=,", "labelSelector=(", "labelSelector=a/b/c",
		"labelSelector=" + strings.Repeat("a", 64), "fieldSelector=metadata.name>1", "fieldSelector=metadata.labels=a", "fieldSelector=metadata.name=a\\",
		"watch=1&resourceVersion=abc", "watch=1&resourceVersion=-1", "watch=1&continue=abc", "watch=1&resourceVersionMatch=Exact", "watch=1&resourceVersionMatch=NotOlderThan",
		"watch=1&sendInitialEvents=true", "watch=1&fieldSelector=no.such=field",
		"watch=1&labelSelector==", "watch=1&timeoutSeconds=soon", "pretty=1&resourceVersion=abc", "timeout=soon", "timeout=-1s",
	} {
		o := odd{id: "list with " + query, method: http.MethodGet, query: queryOf(query)}
		if !o.query.Has("fieldSelector") { // what else there is, is not the same
			o.query.Set("fieldSelector", "metadata.name="+name)
		}
		all = append(all, o)
	}
	for _, accept := range []string{
		table, "application/json;as=Table;v=v1beta1;g=meta.k8s.io", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Parity;v=v1;g=meta.k8s.io",
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io",
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/json;stream=watch", "application/cbor", "application/xml, application/json;q=0.5", "application/xml", "text/html", "*/*", "none",
	} {
		byName := url.Values{"fieldSelector": {"metadata.name=" + name}}
		all = append(all, odd{id: "read as " + accept, method: http.MethodGet, name: name, accept: accept},
			odd{id: "list as " + accept, method: http.MethodGet, query: byName, accept: accept},
			odd{id: "read what is not there as " + accept, method: http.MethodGet, name: "parity-nobody", accept: accept})
	}
	if k.Namespaced { // where nobody else has put anything
		all = append(all, odd{id: "list the first", method: http.MethodGet, query: url.Values{"limit": {"1"}}}, odd{id: "list the first two as a table", method: http.MethodGet, accept: table, query: url.Values{"limit": {"2"}}})
	}
	for _, include := range []string{"None", "Metadata", "Object", "Parity"} {
		all = append(all, odd{id: "table that includes " + include, method: http.MethodGet, name: name, accept: table, query: url.Values{"includeObject": {include}}})
	}
	return all
}

// watches see one object and end: its first event, the bookmark behind what there was at the beginning, and each form of both.
func (k *kind) watches() []odd {
	if !k.Has("watch") || slices.Contains(reconciled, k.Resource.Kind) { // which change while they are watched
		return nil
	}
	const initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	partial := "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	var all []odd
	for _, w := range []struct{ query, accept string }{
		{"&resourceVersion=0", ""}, {"&resourceVersion=0", table}, {"&resourceVersion=0&includeObject=Object", table}, {"&resourceVersion=0", partial}, {initial, ""}, {initial, table}, {initial, partial},
	} {
		o := odd{id: "watch with " + w.query + " as " + w.accept, method: http.MethodGet, query: queryOf("watch=1&timeoutSeconds=1" + w.query), accept: w.accept}
		o.query.Set("fieldSelector", "metadata.name="+k.name(corpus.Minimal))
		all = append(all, o)
	}
	return all
}

// oddWrites are patches in no format, and deletions and updates of what cannot be.
func (k *kind) oddWrites() []odd {
	name := k.name(corpus.Minimal)
	var all []odd
	send := func(id, method, name, contentType, body, query string) {
		all = append(all, odd{id: id, method: method, name: name, contentType: contentType, body: body, query: queryOf(query)})
	}
	for _, contentType := range []string{"application/json", "text/plain", "application/yaml", "application/merge-patch+yaml", "application/apply-patch+cbor", "application/vnd.kubernetes.protobuf", "application/merge-patch+json;charset=utf-8", ";"} {
		send("patch as "+contentType, http.MethodPatch, name, contentType, `{}`, "")
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json, text/plain", "application/cbor", "application/vnd.kubernetes.protobuf"} {
		send("create as "+contentType, http.MethodPost, "", contentType, `{}`, "")
		send("delete as "+contentType, http.MethodDelete, name, contentType, `{"dryRun":["All"]}`, "")
	}
	for _, strict := range []string{"", "fieldValidation=Strict"} {
		for id, body := range map[string]string{
			"the object": k.asYAML(nil), "an unknown field": k.asYAML(map[string]any{"noSuchField": 1}), "a key twice": k.asYAML(nil) + "kind: Twice\n", "a document more": k.asYAML(nil) + "---\na: b\n", "a tab": "a:\t- b\n\tc",
			"nothing": "",
		} {
			send("create as YAML "+id+" "+strict, http.MethodPost, "", "application/yaml", body, strict)
		}
	}
	send("update as YAML", http.MethodPut, name, "application/yaml", k.asYAML(nil), "")
	for _, body := range []string{
		`[{"op":"replace","path":"/noSuchField","value":1}]`, `[{"op":"add","path":"/no/such/path","value":1}]`, `[{"op":"add","path":"noSlash","value":1}]`, `[{"op":"move","from":"/noSuchField","path":"/kind"}]`,
		`[{"op":"copy","from":"/noSuchField","path":"/kind"}]`, `{"op":"remove"}`, `[1]`, `null`, `[]`, `[{"op":"remove","path":"/apiVersion"}]`, `[{"op":"replace","path":"/metadata/name","value":"other"}]`,
	} {
		send("json patch "+body, http.MethodPatch, name, string(types.JSONPatchType), body, "")
	}
	for _, contentType := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		for _, body := range []string{
			`null`, `1`, `{"apiVersion":null}`, `{"kind":null}`, `{"metadata":null}`, `{"metadata":{"namespace":"other"}}`, `{"metadata":{"labels":{"a":1}}}`, `{"metadata":{"$patch":"delete"}}`,
			`{"metadata":{"$retainKeys":"name"}}`, `{"metadata":{"$setElementOrder/finalizers":"a"}}`, `{"metadata":{"managedFields":[]}}`, `{"metadata":{"managedFields":[{}]}}`,
			`{"metadata":{"managedFields":[{"manager":"a","operation":"Wish"}]}}`, `{"$patch":"replace"}`,
		} {
			send(fmt.Sprintf("%s %s", contentType, body), http.MethodPatch, name, string(contentType), body, "")
		}
	}
	for _, query := range []string{"force=perhaps", "force=true&force=false", "fieldManager=" + strings.Repeat("m", 129), "fieldManager=", "fieldValidation=strict"} {
		send("apply with "+query, http.MethodPatch, name, string(types.ApplyPatchType), `{}`, query)
	}
	for _, body := range []string{ // beside which the query is not read
		`{"dryRun":["All"],"kind":"DeleteOptions","apiVersion":"v2"}`, `{"dryRun":["All"],"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1"}`, `{"dryRun":["All"],"gracePeriodSeconds":-5}`,
		`{"dryRun":["All"],"preconditions":{"uid":"x","resourceVersion":"1"}}`, `{"dryRun":["All","All"]}`, `[]`,
	} {
		send("delete with "+body, http.MethodDelete, name, "application/json", body, "")
		send("delete all of none with "+body, http.MethodDelete, "", "application/json", body, "labelSelector=no=such")
	}
	for _, query := range []string{"propagationPolicy=Foreground&orphanDependents=true", "gracePeriodSeconds=-1", "orphanDependents=perhaps", "labelSelector==", "fieldSelector=no.such=field"} {
		send("delete all of none with "+query, http.MethodDelete, "", "", "", "labelSelector=no=such&"+query)
	}
	return all
}

// oddPaths are names that none can have, methods that a path has not, and the watches of long ago.
func (k *kind) oddPaths() []odd {
	name := k.name(corpus.Minimal)
	all := []odd{
		{id: "post to an object", method: http.MethodPost, name: name, body: `{}`, contentType: "application/json"},
		{id: "put to the collection", method: http.MethodPut, body: `{}`, contentType: "application/json"},
		{id: "patch of the collection", method: http.MethodPatch, body: `{}`, contentType: string(types.MergePatchType)},
		{id: "a method of no kind", method: "WISH"},
		{id: "head", method: http.MethodHead, name: name},
		{id: "head of the collection", method: http.MethodHead, query: url.Values{"fieldSelector": {"metadata.name=" + name}}},
		{id: "options of the collection", method: http.MethodOptions},
		{id: "options", method: http.MethodOptions, name: name},
		{id: "a slash at the end", method: http.MethodGet, name: "/", query: url.Values{"fieldSelector": {"metadata.name=" + name}}},
	}
	for _, path := range []string{name + "/", "/" + name + "//status", "A_B", "a%20b", "a%2Fb", "%25", strings.Repeat("a", 300), name + "/parity", name + "/status/parity", "parity-nobody/status", "parity-nobody/scale"} {
		all = append(all, odd{id: "read " + path, method: http.MethodGet, name: path})
	}
	return all
}

// asYAML is the minimal object, with more beside what it has.
func (k *kind) asYAML(more map[string]any) string {
	object := maps.Clone(k.Object(corpus.Minimal))
	maps.Copy(object, more)
	data, err := yaml.Marshal(object)
	if err != nil {
		panic(err) // what was decoded from JSON can be encoded
	}
	return string(data)
}

// queryOf parses a query; a part that has no = is a key.
func queryOf(text string) url.Values {
	query := url.Values{}
	for _, part := range strings.Split(text, "&") {
		if key, value, _ := strings.Cut(part, "="); key != "" {
			query.Add(key, strings.ReplaceAll(value, "+", " "))
		}
	}
	return query
}
