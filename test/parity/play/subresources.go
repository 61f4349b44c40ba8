// SPDX-License-Identifier: Apache-2.0

package play

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// subresources tries those besides the status: each has a form of its own.
func (k *kind) subresources(ctx context.Context) error {
	if _, ok := k.stored[corpus.Minimal]; !ok {
		return nil
	}
	for _, s := range k.subresourceSteps() {
		if err := k.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind) subresourceSteps() []step {
	name, dry := k.name(corpus.Minimal), url.Values{"dryRun": {"All"}}
	send := func(op, id, method, sub, contentType, body string) step {
		return step{op: op, id: sub + ": " + id, method: method, name: name + "/" + sub, contentType: contentType, body: body, query: dry}
	}
	post := func(sub, id, body string) step {
		return send("subresource", id, http.MethodPost, sub, "application/json", body)
	}
	merge := func(sub, id, body string) step {
		return send("subresource", id, http.MethodPatch, sub, string(types.MergePatchType), body)
	}
	var steps []step
	for _, sub := range k.Subresources {
		switch sub {
		case "scale":
			steps = append(steps, k.scaleSteps()...)
		case "binding":
			binding := func(target string) string {
				return fmt.Sprintf(`{"apiVersion":"v1","kind":"Binding","metadata":{"name":%q},"target":%s}`, name, target)
			}
			steps = append(steps, post(sub, "to a node", binding(`{"kind":"Node","name":"node-a"}`)), post(sub, "to nothing", binding(`{}`)),
				post(sub, "to a pod", binding(`{"kind":"Pod","name":"node-a"}`)), post(sub, "empty", `{}`))
		case "eviction":
			steps = append(steps, post(sub, "plain", fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, name)),
				post(sub, "of another", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"other"}}`),
				post(sub, "with grace", fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q},"deleteOptions":{"gracePeriodSeconds":5,"preconditions":{"uid":"x"}}}`, name)))
		case "token":
			steps = append(steps, post(sub, "too short", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["a"],"expirationSeconds":10}}`),
				post(sub, "too long", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["a"],"expirationSeconds":4294967297}}`),
				post(sub, "bound to nothing", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["a"],"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"none"}}}`),
				post(sub, "bound to a kind that is none", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"boundObjectRef":{"apiVersion":"v1","kind":"ConfigMap","name":"none"}}}`))
		case "ephemeralcontainers":
			for _, c := range []struct{ id, body string }{
				{"added", `[{"name":"debug","image":"busybox"}]`}, {"without an image", `[{"name":"debug"}]`}, {"with the name of a container", `[{"name":"main","image":"busybox"}]`},
				{"with ports", `[{"name":"debug","image":"busybox","ports":[{"containerPort":80}]}]`}, {"with a probe", `[{"name":"debug","image":"busybox","livenessProbe":{"exec":{"command":["a"]}}}]`},
				{"with resources", `[{"name":"debug","image":"busybox","resources":{"limits":{"cpu":"1"}}}]`}, {"with a target", `[{"name":"debug","image":"busybox","targetContainerName":"main"}]`},
				{"with no such target", `[{"name":"debug","image":"busybox","targetContainerName":"none"}]`},
			} {
				steps = append(steps, merge(sub, c.id, `{"spec":{"ephemeralContainers":`+c.body+`}}`))
			}
		case "resize":
			steps = append(steps, merge(sub, "more", `{"spec":{"containers":[{"name":"main","image":"registry.k8s.io/pause:3.10.2","resources":{"requests":{"cpu":"100m"}}}]}}`),
				merge(sub, "another image", `{"spec":{"containers":[{"name":"main","image":"other"}]}}`), merge(sub, "nothing", `{}`))
		case "finalize":
			steps = append(steps, step{op: "subresource", id: "finalize: emptied", method: http.MethodPut, name: name + "/finalize", contentType: "application/json", query: dry,
				edit: func(o map[string]any) { o["spec"] = map[string]any{"finalizers": []any{}} }})
		case "approval":
			for _, c := range []struct{ id, body string }{
				{"approved", `[{"type":"Approved","status":"True","reason":"Parity"}]`}, {"denied", `[{"type":"Denied","status":"True"}]`},
				{"both", `[{"type":"Approved","status":"True"},{"type":"Denied","status":"True"}]`}, {"not approved", `[{"type":"Approved","status":"False"}]`}, {"of another type", `[{"type":"Other","status":"True"}]`},
			} {
				steps = append(steps, merge(sub, c.id, `{"status":{"conditions":`+c.body+`}}`))
			}
		}
	}
	return slices.Clip(steps)
}

// scaleSteps tries the scale subresource of the minimal object.
func (k *kind) scaleSteps() []step {
	name, dry := k.name(corpus.Minimal)+"/scale", url.Values{"dryRun": {"All"}}
	scale := func(spec, more string) string {
		return fmt.Sprintf(`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":%q,"namespace":%q%s},"spec":%s}`, k.name(corpus.Minimal), k.namespace, more, spec)
	}
	put := func(id, body string) step {
		return step{op: "subresource", id: "scale: " + id, method: http.MethodPut, name: name, contentType: "application/json", body: body, query: dry}
	}
	patch := func(id string, kind types.PatchType, body string) step {
		return step{op: "subresource", id: "scale: " + id, method: http.MethodPatch, name: name, contentType: string(kind), body: body, query: dry}
	}
	return []step{
		{op: "subresource", id: "scale: read", method: http.MethodGet, name: name},
		put("three", scale(`{"replicas":3}`, "")), put("none", scale(`{}`, "")), put("negative", scale(`{"replicas":-1}`, "")), put("text", scale(`{"replicas":"x"}`, "")),
		put("an old version", scale(`{"replicas":3}`, `,"resourceVersion":"1"`)), put("another uid", scale(`{"replicas":3}`, `,"uid":"x"`)),
		patch("merge", types.MergePatchType, `{"spec":{"replicas":4}}`), patch("strategic", types.StrategicMergePatchType, `{"spec":{"replicas":4}}`),
		patch("json", types.JSONPatchType, `[{"op":"replace","path":"/spec/replicas","value":5}]`), patch("negative", types.MergePatchType, `{"spec":{"replicas":-4}}`),
		patch("an unknown field", types.MergePatchType, `{"spec":{"noSuchField":4}}`),
		patch("apply", types.ApplyPatchType, `{"apiVersion":"autoscaling/v1","kind":"Scale","spec":{"replicas":4}}`),
	}
}
