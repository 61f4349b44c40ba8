// SPDX-License-Identifier: Apache-2.0

// This file checks what drivers get wrong in slices: the error is the one that kube-apiserver gives.

package resource

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const gpuSlice = `
metadata: {name: s}
spec:
  driver: gpu.example.com
  pool: {name: node-a, generation: 1, resourceSliceCount: 1}
  nodeName: node-a
  devices: [{name: gpu-0, attributes: {model: {string: x}}, capacity: {memory: {value: 1Gi}}}]
`

func TestResourceSlice(t *testing.T) {
	kind := apitest.Kind[resourcev1.ResourceSlice]{
		SetDefaults: SetDefaultsResourceSlice, PrepareForCreate: PrepareResourceSliceForCreate, PrepareForUpdate: PrepareResourceSliceForUpdate,
		Validate: ValidateResourceSlice, ValidateUpdate: ValidateResourceSliceUpdate,
	}
	const exactlyOne = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	device := func(f string) string { return "spec: {devices: [{name: gpu-0, " + f + "}]}" }
	const exactlyOneEach = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	perDevice := func(f string) string {
		return "spec: {nodeName: null, perDeviceNodeSelection: true, devices: [{name: gpu-0, " + f + "}]}"
	}
	var many strings.Builder
	for i := range 129 {
		fmt.Fprintf(&many, "{name: d%d},", i)
	}
	tainted := strings.Replace(strings.Join(strings.SplitAfterN(many.String(), "},", 66)[:65], ""), "name: d0", "name: d0, taints: [{key: a, effect: NoSchedule}]", 1)
	kind.Create(t, gpuSlice,
		apitest.Case{Name: "no driver", Change: "spec: {driver: ''}", Want: `spec.driver: Required value`},
		apitest.Case{Name: "pool", Change: "spec: {pool: {name: a//b, generation: -1, resourceSliceCount: 0}}",
			Want: `[spec.pool.name: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), ` +
				`spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero, spec.pool.generation: Invalid value: -1: must be greater than or equal to zero]`},
		apitest.Case{Name: "nowhere", Change: "spec: {nodeName: null}", Want: "spec: Required value: " + exactlyOne},
		apitest.Case{Name: "node of no name", Change: "spec: {nodeName: ''}",
			Want: "[spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string, spec: Required value: " + exactlyOne + "]"},
		apitest.Case{Name: "not on all nodes", Change: "spec: {allNodes: false}", Want: "spec.allNodes: Invalid value: false: must be either unset or set to true"},
		apitest.Case{Name: "in two places", Change: "spec: {allNodes: true}", Want: "spec: Invalid value: \"{`nodeName`, `allNodes`}\": " + exactlyOne + ", but multiple fields are set"},
		apitest.Case{Name: "two terms", Change: "spec: {nodeName: null, nodeSelector: {nodeSelectorTerms: [{}, {}]}}",
			Want: `spec.nodeSelector.nodeSelectorTerms: Invalid value: [{"MatchExpressions":null,"MatchFields":null},{"MatchExpressions":null,"MatchFields":null}]: must have exactly one node selector term`},
		apitest.Case{Name: "devices and counters", Change: "spec: {sharedCounters: [{name: c, counters: {m: {value: '1'}}}]}",
			Want: "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed"},
		apitest.Case{Name: "counters", Change: "spec: {devices: null, sharedCounters: [{}, {name: c, counters: {M: {value: '1'}}}, {name: c, counters: {m: {value: '1'}}}]}",
			Want: `[spec.sharedCounters[0].name: Required value, spec.sharedCounters[0].counters: Required value, spec.sharedCounters[1].counters: Invalid value: "M": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), ` +
				`spec.sharedCounters[2]: Duplicate value: "c"]`},
		apitest.Case{Name: "device twice", Change: "spec: {devices: [{name: a}, {name: a}]}", Want: `spec.devices[1]: Duplicate value: "a"`},
		apitest.Case{Name: "too many devices", Change: "spec: {devices: [" + many.String() + "]}", Want: `spec.devices: Too many: 129: must have at most 128 items`},
		apitest.Case{Name: "too many devices with a taint", Change: "spec: {devices: [" + tainted + "]}", Want: `spec.devices: Too many: 65: must have at most 64 items`},
		apitest.Case{Name: "attributes", Change: device("attributes: {none: {}, both: {int: 1, bool: true}, 'a b': {int: 1}, d/: {int: 1}, /n: {int: 1}, text: {string: " + strings.Repeat("x", 65) + "}, v: {version: 1.2}}"),
			Want: `[spec.devices[0].attributes: Invalid value: "": the domain must not be empty, spec.devices[0].attributes: Invalid value: "a b": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*'), ` +
				`spec.devices[0].attributes[both]: Invalid value: {"IntValue":1,"BoolValue":true,"StringValue":null,"VersionValue":null,"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}: exactly one value must be specified, ` +
				`spec.devices[0].attributes: Invalid value: "": the name must not be empty, spec.devices[0].attributes[none]: Invalid value: "": exactly one value must be specified, ` +
				`spec.devices[0].attributes[text].string: Too long: may not be more than 64 bytes, spec.devices[0].attributes[v].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0]`},
		apitest.Case{Name: "lists are not served", Change: device("attributes: {a: {ints: [1]}}"),
			Want: `spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified`},
		apitest.Case{Name: "what is not served", Change: "spec: {partitionTypeAttribute: x, skipNodeOperations: [y], devices: [{name: gpu-0, nodeAllocatableResources: {cpu: {}}}]}"},
		apitest.Case{Name: "taints", Change: device("taints: [{key: a}, {key: '', effect: Never}, {key: b, value: '?', effect: None}]"),
			Want: `[spec.devices[0].taints[0].effect: Required value, spec.devices[0].taints[1].key: Invalid value: "": name part must be non-empty…`},
		apitest.Case{Name: "consumption", Change: device("consumesCounters: [{}, {counterSet: a, counters: {m: {value: 1Gi}}}]"),
			Want: `[spec.devices[0].consumesCounters[0].counterSet: Required value, spec.devices[0].consumesCounters[0].counters: Required value]`},
		apitest.Case{Name: "a node of its own", Change: device("nodeName: node-b"),
			Want: "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"},
		apitest.Case{Name: "each on a node", Change: perDevice("nodeName: node-b")},
		apitest.Case{Name: "nowhere for each", Change: perDevice("nodeName: ''"),
			Want: "[spec.devices[0].nodeName: Invalid value: \"\": must not be empty, spec.devices[0]: Required value: " + exactlyOneEach + "]"},
		apitest.Case{Name: "two places for each", Change: perDevice("nodeName: node-b, allNodes: true"),
			Want: "spec.devices[0]: Invalid value: \"{`nodeName`, `allNodes`}\": " + exactlyOneEach},
	)
	kind.Update(t, gpuSlice,
		apitest.Case{Name: "other devices", Change: "spec: {devices: [{name: gpu-1}]}"},
		apitest.Case{Name: "another driver, pool and node", Change: "spec: {driver: d, pool: {name: p}, nodeName: node-b}",
			Want: `[spec.pool.name: Invalid value: "p": field is immutable, spec.driver: Invalid value: "d": field is immutable, spec.nodeName: Invalid value: "node-b": field is immutable]`},
	)
	apitest.Warnings(t, gpuSlice, WarningsResourceSlice, apitest.Warned{Name: "capitals", Change: "spec: {driver: GPU.example.com}",
		Want: []string{`spec.driver: driver names should be lowercase; "GPU.example.com" contains uppercase characters`}})
}

func TestResourceSliceStoredTaints(t *testing.T) {
	slice := apitest.Object[resourcev1.ResourceSlice](t, gpuSlice, "spec: {devices: [{name: a, taints: [{key: a, effect: Future}]}]}")
	slice.ResourceVersion = "1"
	if errs := ValidateResourceSliceUpdate(slice, slice.DeepCopy()); len(errs) > 0 {
		t.Errorf("taints that are stored: %v", errs)
	}
	before := slice.DeepCopy()
	slice.Spec.Devices[0].Taints[0].Value = "x"
	want := `spec.devices[0].taints[0].effect: Unsupported value: "Future": supported values: "NoExecute", "NoSchedule", "None"`
	if got := apitest.Message(ValidateResourceSliceUpdate(slice, before)); got != want {
		t.Errorf("taints that changed: %s", got)
	}
}

func TestResourceSliceDefaults(t *testing.T) {
	slice := apitest.Object[resourcev1.ResourceSlice](t, gpuSlice, `spec: {devices: [{name: a, taints: [{key: a, effect: None}, {key: b, effect: None, timeAdded: "2024-05-06T07:08:09Z"}]}]}`)
	SetDefaultsResourceSlice(slice)
	taints := slice.Spec.Devices[0].Taints
	if taints[0].TimeAdded == nil || taints[0].TimeAdded.Nanosecond() != 0 || taints[1].TimeAdded.Year() != 2024 {
		t.Errorf("times %v, %v", taints[0].TimeAdded, taints[1].TimeAdded)
	}
}

func TestResourceSliceFields(t *testing.T) {
	want := fields.Set{"spec.nodeName": "node-a", "spec.driver": "gpu.example.com", "spec.pool.name": "node-a"}
	if diff := cmp.Diff(want, ResourceSliceFields(apitest.Object[resourcev1.ResourceSlice](t, gpuSlice))); diff != "" {
		t.Error(diff)
	}
	want = fields.Set{"spec.nodeName": "", "spec.driver": "", "spec.pool.name": ""}
	if diff := cmp.Diff(want, ResourceSliceFields(&resourcev1.ResourceSlice{})); diff != "" {
		t.Error(diff)
	}
}

func TestCapacity(t *testing.T) {
	kind := apitest.Kind[resourcev1.ResourceSlice]{Validate: ValidateResourceSlice}
	capacity := func(policy string) string {
		return "spec: {devices: [{name: gpu-0, allowMultipleAllocations: true, capacity: {memory: {value: 10Gi, requestPolicy: " + policy + "}}}]}"
	}
	const p = "spec.devices[0].capacity[memory].requestPolicy"
	kind.Create(t, gpuSlice,
		apitest.Case{Name: "not shared", Change: "spec: {devices: [{name: gpu-0, capacity: {memory: {value: 10Gi, requestPolicy: {}}}}]}", Want: p + `: Forbidden: allowMultipleAllocations must be true`},
		apitest.Case{Name: "no policy", Change: capacity("{}")},
		apitest.Case{Name: "two policies", Change: capacity("{default: 1Gi, validValues: [1Gi], validRange: {min: 1Gi}}"),
			Want: p + `: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`},
		apitest.Case{Name: "values", Change: capacity("{default: 2Gi, validValues: [1Gi, 2Gi, 4Gi]}")},
		apitest.Case{Name: "values without default", Change: capacity("{validValues: [1Gi]}"), Want: p + `.default: Required value: required when validValues is defined`},
		apitest.Case{Name: "bad values", Change: capacity("{default: 3Gi, validValues: [2Gi, 1Gi, 1Gi, 20Gi]}"),
			Want: `[` + p + `.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order, ` + p + `.validValues[3]: Invalid value: "20Gi": option is larger than capacity value: 10Gi, ` +
				p + `.validValues[2]: Duplicate value: "1073741824", ` + p + `.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy]`},
		apitest.Case{Name: "range", Change: capacity("{default: 3Gi, validRange: {min: 1Gi, max: 9Gi, step: 2Gi}}")},
		apitest.Case{Name: "range without default", Change: capacity("{validRange: {min: 1Gi}}"), Want: p + `.default: Required value: required when validRange is defined`},
		apitest.Case{Name: "range without end", Change: capacity("{default: 1Gi, validRange: {}}"), Want: p + `.validRange.min: Required value: required when validRange is defined`},
		apitest.Case{Name: "bad range", Change: capacity("{default: 30Gi, validRange: {min: 20Gi, max: 15Gi, step: 4Gi}}"),
			Want: `[` + p + `.validRange.min: Invalid value: "20Gi": min is larger than capacity value: 10Gi, ` + p + `.validRange.max: Invalid value: "20Gi": min is larger than max: 15Gi, ` +
				p + `.validRange.max: Invalid value: "15Gi": max is larger than capacity value: 10Gi, ` + p + `.validRange.max: Invalid value: "30Gi": default is more than max: 15Gi, ` +
				p + `.validRange.step: Invalid value: "4Gi": one step 24Gi is larger than capacity value: 10Gi, ` +
				p + `.validRange.step: Invalid value: "30Gi": value is not a multiple of a given step (4Gi) from (20Gi), ` +
				p + `.validRange.step: Invalid value: "15Gi": value is not a multiple of a given step (4Gi) from (20Gi)]`},
		apitest.Case{Name: "low default", Change: capacity("{default: 1Gi, validRange: {min: 2Gi}}"), Want: p + `.validRange.min: Invalid value: "1Gi": default is less than min: 2Gi`},
		apitest.Case{Name: "no step", Change: capacity("{default: 1Gi, validRange: {min: 1Gi, step: '0'}}"),
			Want: p + `.validRange.step: Invalid value: "1Gi": value is not a multiple of a given step (0) from (1Gi)`},
	)
}
