// SPDX-License-Identifier: Apache-2.0

package play

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/exchange"
)

// What is compared besides kinds, as tables call it.
const (
	Discovery = "discovery"
	OpenAPI   = "OpenAPI v3"
	Bootstrap = "bootstrap objects"
)

// Documents compares what describes the API: discovery and OpenAPI v3 of the groups that both serve.
func (p *Player) Documents(ctx context.Context, versions []schema.GroupVersion) error {
	if err := p.groups(ctx, versions); err != nil {
		return err
	}
	if err := p.aggregated(ctx); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, gv := range versions {
		if err := p.discovery(ctx, gv); err != nil {
			return err
		}
		if err := p.openAPI(ctx, gv, seen); err != nil {
			return err
		}
	}
	return nil
}

// both reads the same path of both servers.
func (p *Player) both(ctx context.Context, path string) (exchange.Request, exchange.Answers, error) {
	r := exchange.Request{Method: http.MethodGet, Path: path}
	answers, err := p.Pair.Same(ctx, r)
	if err != nil {
		return r, answers, err
	}
	for i, a := range []exchange.Answer{answers.Stock, answers.Hivemind} {
		if !a.OK() || a.Body == nil {
			return r, answers, fmt.Errorf("%s: GET %s: %d %v", []string{p.Pair.Stock.Name, p.Pair.Hivemind.Name}[i], path, a.Code, a.Body["message"])
		}
	}
	return r, answers, nil
}

// groups compares the list of groups.
func (p *Player) groups(ctx context.Context, versions []schema.GroupVersion) error {
	r, answers, err := p.both(ctx, "/apis")
	if err != nil {
		return err
	}
	stock, hivemind := byName(answers.Stock.Body["groups"]), byName(answers.Hivemind.Body["groups"])
	for _, gv := range versions {
		if gv.Group != "" && stock[gv.Group] != nil {
			p.Recorder.Record(Result{Discovery, "group", gv.String(), r, exchange.Answers{}, compare.Trees(compare.Document, "groups["+gv.Group+"]", stock[gv.Group], hivemind[gv.Group])})
		}
	}
	return nil
}

// discovery compares a group and version, resource by resource. A kind that Hivemind lacks altogether is told elsewhere; a subresource of one
// that it has is a difference.
func (p *Player) discovery(ctx context.Context, gv schema.GroupVersion) error {
	r, answers, err := p.both(ctx, exchange.GroupPath(gv))
	if err != nil {
		return err
	}
	stock, hivemind := byName(answers.Stock.Body["resources"]), byName(answers.Hivemind.Body["resources"])
	for _, name := range slices.Sorted(maps.Keys(stock)) {
		parent, _, _ := strings.Cut(name, "/")
		if _, ok := hivemind[parent]; !ok {
			continue
		}
		var differences []compare.Difference
		if h, ok := hivemind[name]; ok {
			differences = compare.Trees(compare.Document, "resource", stock[name], h)
		} else {
			differences = []compare.Difference{{Aspect: compare.Document, Path: name, Stock: "has the subresource"}}
		}
		p.Recorder.Record(Result{Discovery, "resource", gv.String() + " " + name, r, exchange.Answers{}, differences})
	}
	return nil
}

// aggregated compares discovery as newer clients read it: a group with all that is in it at once (KEP 3352), as far as both have it.
func (p *Player) aggregated(ctx context.Context) error {
	for _, path := range []string{"/api", "/apis"} {
		r := exchange.Request{Method: http.MethodGet, Path: path, Accept: "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"}
		answers, err := p.Pair.Same(ctx, r)
		if err != nil {
			return err
		}
		stock, hivemind := discovered(answers.Stock.Body), discovered(answers.Hivemind.Body)
		for _, name := range slices.Sorted(maps.Keys(stock)) {
			if hivemind[name] != nil {
				p.Recorder.Record(Result{Discovery, "aggregated", name, r, exchange.Answers{}, compare.Trees(compare.Document, "aggregated", stock[name], hivemind[name])})
			}
		}
	}
	return nil
}

// discovered are the resources of an aggregated document by group, version and name.
func discovered(document map[string]any) map[string]any {
	out := map[string]any{}
	items, _ := document["items"].([]any)
	for _, item := range items {
		group, _ := item.(map[string]any)
		meta, _ := group["metadata"].(map[string]any)
		versions, _ := group["versions"].([]any)
		for _, v := range versions {
			version, _ := v.(map[string]any)
			resources, _ := version["resources"].([]any)
			for _, one := range resources {
				resource, _ := one.(map[string]any)
				out[fmt.Sprintf("%v/%v %v", or(meta["name"]), version["version"], resource["resource"])] = one
			}
		}
	}
	return out
}

func or(v any) any {
	if v == nil {
		return ""
	}
	return v
}

func byName(list any) map[string]any {
	out := map[string]any{}
	items, _ := list.([]any)
	for _, one := range items {
		tree, _ := one.(map[string]any)
		name, _ := tree["name"].(string)
		out[name] = one
	}
	return out
}

// openAPI compares the schemas that both publish, and the operations on the paths that both have.
func (p *Player) openAPI(ctx context.Context, gv schema.GroupVersion, seen map[string]bool) error {
	r, answers, err := p.both(ctx, "/openapi/v3"+exchange.GroupPath(gv))
	if err != nil {
		return err
	}
	at := func(tree map[string]any, path ...string) map[string]any {
		for _, step := range path {
			tree, _ = tree[step].(map[string]any)
		}
		return tree
	}
	stock, hivemind := at(answers.Stock.Body, "components", "schemas"), at(answers.Hivemind.Body, "components", "schemas")
	for _, name := range slices.Sorted(maps.Keys(hivemind)) {
		if stock[name] == nil || seen[name] {
			continue
		}
		seen[name] = true
		p.Recorder.Record(Result{OpenAPI, "schema", name, r, exchange.Answers{}, compare.Trees(compare.Document, short(name), stock[name], hivemind[name])})
	}
	sp, hp := at(answers.Stock.Body, "paths"), at(answers.Hivemind.Body, "paths")
	for _, path := range slices.Sorted(maps.Keys(hp)) {
		if sp[path] == nil {
			continue
		}
		p.Recorder.Record(Result{OpenAPI, "path", path, r, exchange.Answers{}, compare.Trees(compare.Document, "path", sp[path], hp[path])})
	}
	return nil
}

// short is a schema's name without where its package is: core.v1.Pod.
func short(name string) string {
	parts := strings.Split(name, ".")
	return strings.Join(parts[max(0, len(parts)-3):], ".")
}

// bootstrapped are the objects that a new cluster has, by the path of their list.
var bootstrapped = []string{
	"/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	"/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/rolebindings",
	"/apis/scheduling.k8s.io/v1/priorityclasses",
}

// Bootstrapped compares the roles, bindings and classes that both were born with: it must run before anything is stored.
func (p *Player) Bootstrapped(ctx context.Context) error {
	for _, path := range bootstrapped {
		r, answers, err := p.both(ctx, path)
		if err != nil {
			return err
		}
		stock, hivemind := byObject(answers.Stock.Body["items"]), byObject(answers.Hivemind.Body["items"])
		plural := path[strings.LastIndexByte(path, '/')+1:]
		for _, name := range slices.Sorted(maps.Keys(stock)) {
			differences := []compare.Difference{{Aspect: compare.Document, Path: plural + " " + name, Stock: "has it"}}
			if hivemind[name] != nil {
				differences = compare.Trees(compare.Document, plural, stock[name], hivemind[name])
			}
			p.Recorder.Record(Result{Bootstrap, plural, name, r, exchange.Answers{}, differences})
		}
	}
	return nil
}

// byObject lists objects by namespace and name, without what each server makes up, and with rules spelled out one verb, group and resource
// at a time: how they are written together means nothing.
func byObject(list any) map[string]any {
	out := map[string]any{}
	items, _ := list.([]any)
	for _, one := range items {
		o, _ := one.(map[string]any)
		meta, _ := o["metadata"].(map[string]any)
		name := strings.TrimPrefix(fmt.Sprintf("%v/%v", meta["namespace"], meta["name"]), "<nil>/")
		o["metadata"] = map[string]any{"labels": meta["labels"], "annotations": meta["annotations"]}
		if rules, ok := o["rules"].([]any); ok {
			o["rules"] = spelled(rules)
		}
		delete(o, "apiVersion")
		delete(o, "kind")
		out[name] = o
	}
	return out
}

// spelled is a sorted list of texts such as "get pods.apps web".
func spelled(rules []any) []any {
	texts := map[string]bool{}
	values := func(rule map[string]any, key string) []string {
		list, _ := rule[key].([]any)
		var out []string
		for _, v := range list {
			out = append(out, fmt.Sprint(v))
		}
		return out
	}
	for _, one := range rules {
		rule, _ := one.(map[string]any)
		names := append([]string{}, values(rule, "resourceNames")...)
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range values(rule, "verbs") {
			for _, url := range values(rule, "nonResourceURLs") {
				texts[verb+" "+url] = true
			}
			for _, group := range values(rule, "apiGroups") {
				for _, resource := range values(rule, "resources") {
					for _, name := range names {
						texts[strings.TrimSpace(verb+" "+strings.TrimSuffix(resource+"."+group, ".")+" "+name)] = true
					}
				}
			}
		}
	}
	out := []any{}
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		out = append(out, text)
	}
	return out
}

// Align gives stock the storage classes that Hivemind was born with: which class is the default decides what claims are stored with.
func (p *Player) Align(ctx context.Context) error {
	const path = "/apis/storage.k8s.io/v1/storageclasses"
	_, answers, err := p.both(ctx, path)
	if err != nil {
		return err
	}
	items, _ := answers.Hivemind.Body["items"].([]any)
	for _, one := range items {
		class, _ := one.(map[string]any)
		meta, _ := class["metadata"].(map[string]any)
		class["metadata"] = map[string]any{"name": meta["name"], "annotations": meta["annotations"], "labels": meta["labels"]}
		answer, err := p.Pair.Stock.Do(ctx, exchange.Request{Method: http.MethodPost, Path: path, ContentType: "application/json", Body: encode(class)})
		if err != nil {
			return err
		}
		if !answer.OK() && answer.Code != http.StatusConflict {
			return fmt.Errorf("give stock the storage class %v: %d %v", meta["name"], answer.Code, answer.Body["message"])
		}
	}
	return nil
}
