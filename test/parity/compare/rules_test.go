// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"strings"
	"testing"
)

// The dumps of objects that errors show, of both versions.
const (
	shownOld = `{"Items":[{"Key":"a","Mode":null}],"EmptyDir":{"SizeLimit":"64Mi"}}: field is immutable`
	shownNew = `{"Items":[{"Key":"a","Mode":null,"User":null}],"EmptyDir":{"SizeLimit":"64Mi","Mode":null}}: field is immutable`
	linesOld = "Forbidden: no\n@@ -10,7 +10,2 @@\n   \"A\": 1,\n-  \"Probe\": {\n-   \"Headers\": []\n-  },\n+  \"Probe\": null,\n"
	linesNew = "Forbidden: no\n@@ -14,8 +14,2 @@\n   \"Mode\": null,\n-  \"Probe\": {\n-   \"Headers\": [],\n-   \"Protocol\": null\n-  },\n+  \"Probe\": null,\n"
)

// TestRules holds that each rule explains what it is for, and no neighbour of it.
func TestRules(t *testing.T) {
	unknown := func(d Difference) Difference { d.Unknown = true; return d }
	of := func(kind string, d Difference) Difference { d.Kind = kind; return d }
	const crd, node, driver, service = "apiextensions.k8s.io/v1 CustomResourceDefinition", "storage.k8s.io/v1 CSINode", "storage.k8s.io/v1 CSIDriver", "v1 Service"
	explained := []Difference{
		differs(Cause, "metadata.ownerReferences.kind", `Invalid: Invalid value: "": must not be empty`, `at metadata.ownerReferences[*].kind: Required: Required value: must not be empty`),
		differs(Cause, "status.conditions[0].type", `Invalid: Invalid value: "": name part must be non-empty`, "Required: Required value: is required"),
		differs(Cause, "status.conditions[0].type", `Invalid: Invalid value: "": name part must consist of letters`, ""),
		differs(Cause, "status.conditions[0].type", `Duplicate: Duplicate value: "a"`, `at status.conditions[*]: Duplicate: Duplicate value: "a"`),
		differs(Object, "spec.preventPodSchedulingIfMissing", "", "true"),
		differs(Cause, ".spec.preventPodSchedulingIfMissing", "FieldManagerConflict: conflict", ""),
		differs(Message, "", "error strict decoding YAML: a", "error strict decoding patch: a"),
		differs(Message, "", "error decoding patch: unexpected end of JSON input", "invalid JSON patch"),
		differs(Message, "", "x: Precondition failed: UID", "x: precondition failed: UID"),
		differs(Code, "", "200", "409 Conflict: StorageError: unsafe deletion is not allowed because the object is decodable from storage"),
		differs(Cause, "ignoreStoreReadErrorWithClusterBreakingPotential", "", "Invalid: Invalid value: true: cannot be set together with .gracePeriodSeconds"),
		differs(Code, "", `500: resourceVersion: Invalid value: "abc"`, `400 BadRequest: invalid resource version: a`),
		unknown(differs(Object, "spec.new", "", "true")),
		differs(Cause, "spec", `Invalid: {"Capacity":null}: field is immutable`, `Invalid: {"Capacity":null,"DerivedAttributes":null}: field is immutable`),
		differs(Document, "core.v1.Pod.properties.spec.description", "a", "b"),
		differs(Object, "columnDefinitions[0].description", `"a"`, `"b"`),
		differs(Document, "core.v1.PodSpec.properties.new", "", "{}"),
		differs(Document, "resource.storageVersionHash", `"LYmCf+UMVdg="`, `"mHCkTKpUTrE="`),
		differs(Document, "core.v1.PodSpec.properties.volumes.items.default", "{}", ""),
		differs(Document, "core.v1.PodSpec.properties.volumes.items.allOf", "[]", ""),
		differs(Document, "core.v1.PodSpec.properties.volumes.items.$ref", "", `"#/x"`),
		differs(Document, "apps.v1.DaemonSet.required[0]", "", `"spec"`),
		differs(Document, "core.v1.NodeAllocatableResourceClaimStatus.properties.resources", "{}", ""),
		of(crd, differs(Object, "columnDefinitions[0]", "", `{"name":"Established","priority":1}`)),
		of(crd, differs(Object, "rows[0].cells[0]", "", `"v1(storage)"`)),
		differs(ManagedFields, "", "none at all", "has parity, Update, v1"),
		of("v1 Namespace", differs(Cause, "", "", ": no unsafe deleter provided, can not honor ignoreStoreReadErrorWithClusterBreakingPotential")),
		of(node, differs(Cause, "patch", `Invalid: "{\"spec\":{}}": bad`, `Invalid: "{\"spec\":{},\"status\":{}}": bad`)),
		of(node, differs(Warning, "", "", `unknown field "status"`)),
		of(driver, differs(Cause, "patch", `Invalid: "{\"a\":1}": bad`, `Invalid: "{\"a\":1,\"preventPodSchedulingIfMissing\":true}": bad`)),
		of(driver, differs(ManagedFields, "spec.preventPodSchedulingIfMissing", "owned", "")),
		of(driver, differs(Code, "", `409 Conflict: Apply failed with 1 conflict: conflict with "parity" using storage.k8s.io/v1: .spec.preventPodSchedulingIfMissing`, "422 Invalid: bad")),
		of(driver, differs(Object, "metadata.generation", "", "1")),
		differs(Document, "apps.v1.StatefulSetUpdateStrategy.properties.type.enum[0]", "", `"Recreate"`),
		differs(Document, "networking.v1.IngressRule.properties.http.$ref", `"#/x"`, ""),
		differs(Document, "resource.v1.Device.properties.nodeAllocatableResourceMappings", "{}", ""),
		differs(Cause, "spec.template", "Invalid: Invalid value: "+shownOld, "Invalid: Invalid value: "+shownNew),
		differs(Cause, "spec", linesOld, linesNew),
	}
	holdRules(t, "versions.go", Rules, explained, []Difference{
		differs(Cause, "metadata.ownerReferences", "Invalid: must not be empty", ""), // accepted by Hivemind
		differs(Cause, "metadata.ownerReferences[0].kind", "", "Required: must not be empty"),
		differs(Cause, "spec.conditions[0].type", `Invalid: Invalid value: "x"`, "Required: Required value"),
		differs(Message, "", "something else", "error decoding patch: a"),
		differs(Code, "", "200", "409 Conflict: the object has been modified"),
		differs(Code, "", "500: boom", "400 BadRequest: x"),
		differs(Cause, "spec", `Invalid: {"Capacity":1}: field is immutable`, `Invalid: {"Capacity":null,"DerivedAttributes":null}: field is immutable`),
		differs(Object, "spec.new", "", "true"),
		unknown(differs(Object, "spec.new", "false", "true")),
		unknown(differs(Cause, "spec.new", "", "Invalid: bad")),
		differs(Document, "core.v1.PodSpec.properties.old", "{}", ""),
		differs(Document, "core.v1.PodSpec.properties.volumes.items.default", `{"a":1}`, ""),
		differs(Document, "resource.storageVersionHash", `"a"`, ""),
		of(service, differs(Object, "rows[0].cells[0]", "", `"v1"`)),
		of(service, differs(Cause, "patch", `Invalid: "{}": bad`, `Invalid: "{\"status\":{}}": bad`)),
		of(driver, differs(Code, "", "409 Conflict: other", "422 Invalid: bad")),
		differs(ManagedFields, "", "has somebody", "has parity"),
		differs(Cause, "spec.template", "Invalid: Invalid value: "+shownOld, "Invalid: Invalid value: "+strings.Replace(shownNew, "64Mi", "65Mi", 1)),
		differs(Cause, "spec", linesOld, strings.Replace(linesNew, "Headers", "Header", 1)),
		differs(Cause, "spec", linesOld, "Forbidden: no"),
	})
	holdRules(t, "reasons.go", Reasons, []Difference{
		of("networking.k8s.io/v1 IPAddress", differs(Object, "rows[0].cells[0]", `"\u003cage\u003e"`, "")),
		of("apps/v1 DaemonSet", differs(Object, "rows[0].object.metadata.annotations", "", `{"deprecated.daemonset.template.generation":"1"}`)),
		of("apps/v1 Deployment", differs(Object, "items[0].object.spec.replicas", "0", "")),
		of("v1 ReplicationController", differs(Warning, "", "", `volume "a" (Projected) has no sources provided`)),
		of("batch/v1 Job", differs(Code, "", "the handler ended without an answer", `422 Invalid: Job.batch "a" is invalid: spec.completions: Required value: when completion mode is Indexed`)),
		of(service, differs(Code, "", "500: duplicate nodePort: {TCP <port>}", `422 Invalid: Service "a" is invalid: spec.ports[1].nodePort: Duplicate value: 1`)),
		of("discovery", differs(Document, "resource.storageVersionHash", `"jfWCUB31mvA="`, `"M5uH+AlWATY="`)),
	}, []Difference{
		of("apps/v1 DaemonSet", differs(Object, "metadata.annotations", "", `{"other":"1"}`)),
		of("apps/v1 Deployment", differs(Object, "items[0].object.spec.replicas", "1", "")),
		of("apps/v1 Deployment", differs(Object, "items[0].spec.replicas", "0", "")),
		of("apps/v1 Deployment", differs(Object, "metadata.annotations", "", `{"deprecated.daemonset.template.generation":"1"}`)),
		of("batch/v1 Job", differs(Code, "", "the handler ended without an answer", "200")),
		of(service, differs(Code, "", "500: duplicate nodePort: {TCP <port>}", "200")),
	})
}

// holdRules checks that each of the rules explains something, and none what it must not.
func holdRules(t *testing.T, file string, rules []Rule, explained, others []Difference) {
	t.Helper()
	used := map[*Rule]bool{}
	for _, d := range explained {
		if r := d.first(rules); r == nil {
			t.Errorf("%s: nothing explains %+v", file, d)
		} else {
			used[r] = true
		}
	}
	for i := range rules {
		r := &rules[i]
		if !used[r] {
			t.Errorf("%s: rule %d (%s) has no example here", file, i, r.Reason)
		}
		if r.Reason == "" || r.Aspect == "" || r.Path == nil && r.Stock == nil && !r.Unknown {
			t.Errorf("%s: rule %d says too little", file, i)
		}
	}
	for _, d := range others {
		if r := d.first(rules); r != nil {
			t.Errorf("%s: %q explains %+v", file, r.Reason, d)
		}
	}
}
