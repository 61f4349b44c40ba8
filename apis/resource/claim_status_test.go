// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const allocatedClaim = gpuClaim + `
status:
  allocation: {devices: {results: [{request: gpu, driver: gpu.example.com, pool: node-a, device: gpu-0}]}}
  reservedFor: [{resource: pods, name: p, uid: u}]
  devices: [{driver: gpu.example.com, pool: node-a, device: gpu-0, data: {a: b}}]
`

func TestResourceClaimStatus(t *testing.T) {
	kind := apitest.Kind[resourcev1.ResourceClaim]{SetDefaults: SetDefaultsResourceClaim, ValidateStatusUpdate: ValidateResourceClaimStatusUpdate}
	result := func(fields string) string {
		return "status: {allocation: {devices: {results: [{request: gpu, driver: d, pool: p, device: x, " + fields + "}]}}}"
	}
	kind.StatusUpdate(t, gpuClaim,
		apitest.Case{Name: "allocated", Change: result("shareID: 0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10")},
		apitest.Case{Name: "reserved before it is allocated", Change: "status: {reservedFor: [{resource: pods, name: p, uid: u}]}",
			Want: "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"},
		apitest.Case{Name: "empty result", Change: "status: {allocation: {devices: {results: [{request: any/small}]}}}",
			Want: "[status.allocation.devices.results[0].driver: Required value, status.allocation.devices.results[0].pool: Required value, status.allocation.devices.results[0].device: Invalid value: \"\": a lowercase RFC 1123 label must consist…"},
		apitest.Case{Name: "share", Change: result("shareID: 0B54D7F6-3C5E-4A07-9C7B-1D5F4B3A2C10"),
			Want: "status.allocation.devices.results[0].shareID: Invalid value: \"0B54D7F6-3C5E-4A07-9C7B-1D5F4B3A2C10\": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"},
		apitest.Case{Name: "no share", Change: result("shareID: x"),
			Want: `status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1`},
		apitest.Case{Name: "failure without success", Change: result("bindingFailureConditions: [a.io/failed]"),
			Want: `status.allocation.devices.results[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions`},
		apitest.Case{Name: "failure that is success", Change: result("bindingConditions: [a.io/done, a.io/done], bindingFailureConditions: [a.io/done]"),
			Want: `[status.allocation.devices.results[0].bindingConditions[1]: Duplicate value: "a.io/done", ` +
				`status.allocation.devices.results[0].bindingFailureConditions[0]: Invalid value: "a.io/done": bindingFailureConditions must not overlap with bindingConditions]`},
		apitest.Case{Name: "configuration from nowhere", Change: "status: {allocation: {devices: {config: [{opaque: {driver: d, parameters: {}}}]}}}",
			Want: `status.allocation.devices.config[0].source: Required value`},
		apitest.Case{Name: "nodes", Change: "status: {allocation: {nodeSelector: {}}}",
			Want: `status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term`},
		apitest.Case{Name: "too many results", Change: "status: {allocation: {devices: {results: [" + strings.Repeat("{},", 33) + "]}}}",
			Want: `status.allocation.devices.results: Too many: 33: must have at most 32 items`},
	)
	device := func(fields string) string {
		return "status: {devices: [{driver: gpu.example.com, pool: node-a, device: gpu-0, " + fields + "}]}"
	}
	kind.StatusUpdate(t, allocatedClaim,
		apitest.Case{Name: "deallocated", Change: "status: null"},
		apitest.Case{Name: "allocated otherwise", Change: result(""),
			Want: `[status.devices[0]: Invalid value: {"Driver":"gpu.example.com","Pool":"node-a","Device":"gpu-0","ShareID":""}: must be an allocated device in the claim, ` +
				`status.allocation: Invalid value: {"Devices":{"Results":[{"Request":"gpu","Driver":"d","Pool":"p","Device":"x",…`},
		apitest.Case{Name: "reserved for nobody", Change: "status: {reservedFor: [{}]}",
			Want: `[status.reservedFor[0].resource: Required value, status.reservedFor[0].name: Required value, status.reservedFor[0].uid: Required value]`},
		apitest.Case{Name: "reserved twice", Change: "status: {reservedFor: [{resource: pods, name: p, uid: u}, {resource: pods, name: q, uid: u}]}",
			Want: `status.reservedFor[1]: Duplicate value: "u"`},
		apitest.Case{Name: "reported twice", Change: "status: {devices: [{driver: gpu.example.com, pool: node-a, device: gpu-0}, {driver: gpu.example.com, pool: node-a, device: gpu-0}]}",
			Want: `status.devices[1]: Duplicate value: {"Driver":"gpu.example.com","Pool":"node-a","Device":"gpu-0","ShareID":""}`},
		apitest.Case{Name: "data", Change: device("data: [1]"), Want: `status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object`},
		apitest.Case{Name: "network", Change: device(fmt.Sprintf("networkData: {interfaceName: %q, hardwareAddress: %q, ips: [10.0.0.1]}", strings.Repeat("x", 257), strings.Repeat("x", 129))),
			Want: `[status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes, status.devices[0].networkData.hardwareAddress: Too long: may not be more than 128 bytes, ` +
				`status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)]`},
	)
	const deleted = "\n" + `metadata: {name: c, namespace: ns, deletionTimestamp: "2024-05-06T07:08:09Z", deletionGracePeriodSeconds: 0, finalizers: [a.io/b]}`
	kind.StatusUpdate(t, strings.Replace(allocatedClaim, "\nmetadata: {name: c, namespace: ns}", deleted, 1),
		apitest.Case{Name: "freed while it is deleted", Change: "status: {reservedFor: null}"},
		apitest.Case{Name: "reserved while it is deleted", Change: "status: {reservedFor: [{resource: pods, name: p, uid: u}, {resource: pods, name: q, uid: v}]}",
			Want: "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"},
	)
}

func TestPrepareResourceClaimForStatusUpdate(t *testing.T) {
	prepare := func(claim *resourcev1.ResourceClaim) {
		PrepareResourceClaimForStatusUpdate(claim, apitest.Object[resourcev1.ResourceClaim](t, allocatedClaim))
	}
	apitest.Effects(t, allocatedClaim, prepare,
		apitest.Effect{Name: "nothing"},
		apitest.Effect{Name: "deallocated: reports go", Change: "status: {allocation: null, reservedFor: null}", Want: "status: {devices: null}"},
		apitest.Effect{Name: "reports on what never was there stay, to be refused", Change: "status: {devices: [{driver: d, pool: p, device: other}]}"},
		apitest.Effect{Name: "what is not served",
			Change: "status: {allocation: {devices: {results: [{request: gpu, driver: gpu.example.com, pool: node-a, device: gpu-0, skipNodeOperations: ['*']}]}}}",
			Want:   "status: {allocation: {devices: {results: [{request: gpu, driver: gpu.example.com, pool: node-a, device: gpu-0}]}}}"},
	)
}
