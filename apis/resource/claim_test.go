// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in classes, claims and templates: the error is the one that kube-apiserver gives.

package resource

import (
	"fmt"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestDeviceClass(t *testing.T) {
	kind := apitest.Kind[resourcev1.DeviceClass]{Validate: ValidateDeviceClass, ValidateUpdate: ValidateDeviceClassUpdate}
	const base = `
metadata: {name: gpus}
spec:
  selectors: [{cel: {expression: device.driver == 'gpu.example.com'}}]
  config: [{opaque: {driver: gpu.example.com, parameters: {kind: Config}}}]
  extendedResourceName: example.com/gpu
`
	expression := func(text string) string { return fmt.Sprintf("spec: {selectors: [{cel: {expression: %q}}]}", text) }
	kind.Create(t, base,
		apitest.Case{Name: "no name", Change: `metadata: {name: null}`, Want: `metadata.name: Required value: name or generateName is required`},
		apitest.Case{Name: "selector of nothing", Change: `spec: {selectors: [{}]}`, Want: `spec.selectors[0].cel: Required value`},
		apitest.Case{Name: "syntax", Change: expression("device.driver =="),
			Want: `spec.selectors[0].cel.expression: Invalid value: "device.driver ==": compilation failed: ERROR: <input>:1:17: Syntax error: mismatched input '<EOF>' expecting…`},
		apitest.Case{Name: "another type", Change: expression("device.driver"),
			Want: `spec.selectors[0].cel.expression: Invalid value: "device.driver": must evaluate to bool or the unknown type, not string`},
		apitest.Case{Name: "an attribute of unknown type", Change: expression("device.attributes['gpu.example.com'].big")},
		apitest.Case{Name: "sharing", Change: expression("device.allowMultipleAllocations == true")},
		apitest.Case{Name: "costs too much", Change: expression("device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a.contains(b) && c.contains(d)))))"),
			Want: `spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit`},
		apitest.Case{Name: "too long", Change: expression("true" + strings.Repeat(" ", 10*1024)),
			Want: `spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes`},
		apitest.Case{Name: "too many selectors", Change: "spec: {selectors: [" + strings.Repeat("{cel: {expression: 'true'}},", 33) + "]}",
			Want: `spec.selectors: Too many: 33: must have at most 32 items`},
		apitest.Case{Name: "no configuration", Change: `spec: {config: [{}]}`, Want: `spec.config[0].opaque: Required value`},
		apitest.Case{Name: "configuration that is no object", Change: `spec: {config: [{opaque: {driver: d, parameters: [a]}}]}`,
			Want: `spec.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`},
		apitest.Case{Name: "no parameters", Change: `spec: {config: [{opaque: {driver: "", parameters: null}}]}`,
			Want: `[spec.config[0].opaque.driver: Required value, spec.config[0].opaque.parameters: Required value]`},
		apitest.Case{Name: "long parameters", Change: fmt.Sprintf(`spec: {config: [{opaque: {driver: d, parameters: {a: %q}}}]}`, strings.Repeat("x", 10*1024)),
			Want: `spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes`},
		apitest.Case{Name: "native resource", Change: `spec: {extendedResourceName: cpu}`,
			Want: `spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name`},
	)
	kind.Update(t, base,
		apitest.Case{Name: "another selector", Change: expression("device.driver == 'other.example.com'")},
		apitest.Case{Name: "bad selector", Change: expression("1"),
			Want: `spec.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int`},
	)
	t.Run("long parameters that are stored", func(t *testing.T) {
		class := apitest.Object[resourcev1.DeviceClass](t, base, fmt.Sprintf(`{metadata: {resourceVersion: '1'}, spec: {config: [{opaque: {driver: d, parameters: {a: %q}}}]}}`, strings.Repeat("x", 10*1024)))
		if errs := ValidateDeviceClassUpdate(class, class.DeepCopy()); len(errs) > 0 {
			t.Error(errs)
		}
	})
}

const gpuClaim = `
metadata: {name: c, namespace: ns}
spec:
  devices:
    requests:
    - {name: gpu, exactly: {deviceClassName: gpu.example.com}}
    - {name: any, firstAvailable: [{name: big, deviceClassName: big}, {name: small, deviceClassName: small, allocationMode: All}]}
    constraints: [{requests: [gpu, any/big], matchAttribute: gpu.example.com/numa}]
    config: [{requests: [any], opaque: {driver: gpu.example.com, parameters: {kind: Config}}}]
`

func TestResourceClaim(t *testing.T) {
	kind := apitest.Kind[resourcev1.ResourceClaim]{
		SetDefaults: SetDefaultsResourceClaim, PrepareForCreate: PrepareResourceClaimForCreate, PrepareForUpdate: PrepareResourceClaimForUpdate,
		Validate: ValidateResourceClaim, ValidateUpdate: ValidateResourceClaimUpdate,
	}
	one := func(request string) string {
		return "spec: {devices: {constraints: null, config: null, requests: [" + request + "]}}"
	}
	exactly := func(fields string) string { return one("{name: r, exactly: {deviceClassName: c, " + fields + "}}") }
	constraints := func(list string) string { return "spec: {devices: {constraints: [" + list + "]}}" }
	const unknown = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	kind.Create(t, gpuClaim,
		apitest.Case{Name: "nothing asked for", Change: "spec: {devices: null}"},
		apitest.Case{Name: "request for nothing", Change: one("{name: r}"), Want: "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"},
		apitest.Case{Name: "request for both", Change: one("{name: r, exactly: {deviceClassName: c}, firstAvailable: [{name: s, deviceClassName: c}]}"),
			Want: "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"},
		apitest.Case{Name: "name twice", Change: one("{name: r, exactly: {deviceClassName: c}}, {name: r, exactly: {deviceClassName: c}}"),
			Want: `spec.devices.requests[1]: Duplicate value: "r"`},
		apitest.Case{Name: "alternative twice", Change: one("{name: r, firstAvailable: [{name: s, deviceClassName: c}, {name: s, deviceClassName: c}]}"),
			Want: `spec.devices.requests[0].firstAvailable[1]: Duplicate value: "s"`},
		apitest.Case{Name: "too many alternatives", Change: one("{name: r, firstAvailable: [" + strings.Repeat("{name: s, deviceClassName: c},", 9) + "]}"),
			Want: `spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items`},
		apitest.Case{Name: "no class", Change: one("{name: r, exactly: {}}"), Want: `spec.devices.requests[0].exactly.deviceClassName: Required value`},
		apitest.Case{Name: "count of all", Change: exactly("allocationMode: All, count: 2"),
			Want: `spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'`},
		apitest.Case{Name: "negative count", Change: exactly("count: -1"), Want: `spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero`},
		apitest.Case{Name: "unknown mode", Change: exactly("allocationMode: Some"),
			Want: `spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"`},
		apitest.Case{Name: "tolerations", Change: exactly("tolerations: [{operator: Exists, value: x}, {operator: Near}, {key: -, value: '?', effect: Never}]"),
			Want: "[spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`, " +
				`spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: "Near": supported values: "Equal", "Exists", ` +
				`spec.devices.requests[0].exactly.tolerations[2].key: Invalid value: "-": name part must consist of alphanumeric characters…`},
		apitest.Case{Name: "constraint on nothing", Change: constraints("{requests: [gpu]}"),
			Want: `spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`},
		apitest.Case{Name: "attribute without domain", Change: constraints("{matchAttribute: numa}"),
			Want: `spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`},
		apitest.Case{Name: "attribute without name", Change: constraints("{distinctAttribute: d/}"),
			Want: `spec.devices.constraints[0].distinctAttribute: Invalid value: "": the name must not be empty`},
		apitest.Case{Name: "unknown request", Change: constraints("{requests: [other], matchAttribute: d/a}"), Want: `spec.devices.constraints[0].requests[0]: Invalid value: "other": ` + unknown},
		apitest.Case{Name: "unknown alternative", Change: constraints("{requests: [any/other], matchAttribute: d/a}"), Want: `spec.devices.constraints[0].requests[0]: Invalid value: "any/other": ` + unknown},
		apitest.Case{Name: "too deep", Change: constraints("{requests: [any/big/x], matchAttribute: d/a}"), Want: `spec.devices.constraints[0].requests[0]: Invalid value: "any/big/x": ` + unknown},
		apitest.Case{Name: "request twice", Change: constraints("{requests: [gpu, gpu], matchAttribute: d/a}"), Want: `spec.devices.constraints[0].requests[1]: Duplicate value: "gpu"`},
		apitest.Case{Name: "what is not served", Change: exactly("derivedAttributes: [{name: not-valid, expression: '1'}]")},
	)
	kind.Update(t, gpuClaim,
		apitest.Case{Name: "labels", Change: `metadata: {labels: {a: b}}`},
		apitest.Case{Name: "spec", Change: `spec: {devices: null}`,
			Want: `spec: Invalid value: {"Devices":{"Requests":null,"Constraints":null,"Config":null}}: field is immutable`},
	)
	apitest.Effects(t, gpuClaim, SetDefaultsResourceClaim,
		apitest.Effect{Name: "one of each", Change: one("{name: r, exactly: {deviceClassName: c, tolerations: [{}]}}"),
			Want: one("{name: r, exactly: {deviceClassName: c, allocationMode: ExactCount, count: 1, tolerations: [{operator: Equal}]}}")},
		apitest.Effect{Name: "all", Change: one("{name: r, firstAvailable: [{name: s, deviceClassName: c, allocationMode: All}, {name: t, deviceClassName: c, count: 2, tolerations: [{operator: Exists}]}]}"),
			Want: one("{name: r, firstAvailable: [{name: s, deviceClassName: c, allocationMode: All}, {name: t, deviceClassName: c, allocationMode: ExactCount, count: 2, tolerations: [{operator: Exists}]}]}")},
		apitest.Effect{Name: "what was allocated", Change: one("") + "\nstatus: {allocation: {devices: {results: [{request: r, tolerations: [{}]}]}}}",
			Want: "status: {allocation: {devices: {results: [{request: r, tolerations: [{operator: Equal}]}]}}}"},
	)
}

func TestResourceClaimTemplate(t *testing.T) {
	kind := apitest.Kind[resourcev1.ResourceClaimTemplate]{
		SetDefaults: SetDefaultsResourceClaimTemplate, PrepareForCreate: PrepareResourceClaimTemplateForCreate, PrepareForUpdate: PrepareResourceClaimTemplateForUpdate,
		Validate: ValidateResourceClaimTemplate, ValidateUpdate: ValidateResourceClaimTemplateUpdate,
	}
	const base = `
metadata: {name: c, namespace: ns}
spec: {metadata: {labels: {a: b}}, spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.example.com}}]}}}
`
	kind.Create(t, base,
		apitest.Case{Name: "named", Change: `spec: {metadata: {name: x}}`, Want: `spec.metadata.name: Forbidden: cannot be set`},
		apitest.Case{Name: "no request", Change: `spec: {spec: {devices: {requests: [{name: gpu}]}}}`,
			Want: "spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"},
		apitest.Case{Name: "what is not served", Change: `spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: c, derivedAttributes: [{name: x, expression: y}]}}]}}}`},
	)
	kind.Update(t, base,
		apitest.Case{Name: "annotations", Change: `metadata: {annotations: {a: b}}`},
		apitest.Case{Name: "spec", Change: `spec: {metadata: null, spec: {devices: null}}`,
			Want: `spec: Invalid value: {"Spec":{"Devices":{"Requests":null,"Constraints":null,"Config":null}}}: field is immutable`},
	)
}
