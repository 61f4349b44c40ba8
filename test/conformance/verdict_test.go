// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHeadline(t *testing.T) {
	for name, tc := range map[string]struct{ message, want string }{
		"nothing":          {"", ""},
		"one line":         {"create policy: the server could not find the requested resource", "create policy: the server could not find the requested resource"},
		"more than enough": {"the group is not found\nExpected\n    <*v1.APIGroup | 0x0>: nil\nnot to be nil", "the group is not found"},
		"a matcher":        {"Expected\n    <*v1.APIGroup | 0x2c9>: nil\nnot to be nil", "Expected <*v1.APIGroup>: nil not to be nil"},
		"a long object": {
			"Timed out after 300.001s.\nExpected:\n    <*v1.ResourceQuota | 0x2c956d2a5900>: \n        metadata:\n          name: q\n        spec: {}\nto have the following .status.used entries:\n    configmaps: \"1\"\n    resourcequotas: \"1\"\n",
			`Timed out after 300s. Expected: … to have the following .status.used entries: configmaps: "1" resourcequotas: "1"`,
		},
		"a Go value": {
			`expected flowcontrol API group/version, got []v1.APIGroup{v1.APIGroup{TypeMeta:v1.TypeMeta{Kind:""}}}`,
			"expected flowcontrol API group/version, got …",
		},
		"a long object in JSON": {
			"Verifying pod resources. Pod: {\n    \"kind\": \"Pod\",\n    \"spec\": {\n    },\n    \"status\": {}\n}\n: [\nresources don't match: [\ncontainer[c1] mismatch: diff:   v1.ResourceRequirements{\n  \tLimits: nil,\n",
			"Verifying pod resources. Pod: { … } : [ resources don't match: [ container[c1] mismatch: diff: …",
		},
		"an error in two lines": {"unexpected error:\n    pods \"a\" is forbidden", `unexpected error: pods "a" is forbidden`},
		"too long":              {strings.Repeat("é", 300), strings.Repeat("é", 239) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := headline(tc.message); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	const name = "[sig-node] ConfigMap should be [Conformance]"
	for what, tc := range map[string]struct {
		specs   string
		outcome outcome
		why     string
		took    time.Duration
	}{
		"passed":        {it(`"State":"passed","RunTime":1500000000`), passed, "", 1500 * time.Millisecond},
		"failed":        {it(`"State":"failed","RunTime":1,"Failure":{"Message":"no such thing\nat all"}`), failed, "no such thing", 1},
		"panicked":      {it(`"State":"panicked","RunTime":1,"Failure":{"Message":"Test Panicked","ForwardedPanic":"nil map"}`), failed, "panic: nil map", 1},
		"out of time":   {it(`"State":"timedout","RunTime":1,"Failure":{"Message":"A suite timeout occurred"}`), timedOut, "A suite timeout occurred", 1},
		"interrupted":   {it(`"State":"interrupted","RunTime":1,"Failure":{"Message":"Interrupted by User"}`), failed, "Interrupted by User", 1},
		"skips itself":  {it(`"State":"skipped","RunTime":1,"Failure":{"Message":"Requires at least 2 nodes"}`), skipped, "Requires at least 2 nodes", 1},
		"set-up failed": {`{"LeafNodeType":"SynchronizedBeforeSuite","State":"failed","Failure":{"Message":"no nodes"}},` + it(`"State":"skipped"`), failed, "SynchronizedBeforeSuite: no nodes", 0},
		"not there":     {`{"ContainerHierarchyTexts":["[sig-node] Other"],"LeafNodeType":"It","LeafNodeText":"test","State":"passed"}`, failed, "the suite lists this test but has none of this name", 0},
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "report.json")
			if err := os.WriteFile(file, []byte(`[{"SpecReports":[`+tc.specs+`]}]`), 0o644); err != nil {
				t.Fatal(err)
			}
			specs, err := readReport(file)
			if err != nil {
				t.Fatal(err)
			}
			if o, why, took := verdict(specs, name); o != tc.outcome || why != tc.why || took != tc.took {
				t.Errorf("got %q %q %v, want %q %q %v", o, why, took, tc.outcome, tc.why, tc.took)
			}
		})
	}
}

// it is a test in a report, with others around it that were not chosen.
func it(fields string) string {
	const other = `{"ContainerHierarchyTexts":["[sig-node] ConfigMap"],"LeafNodeType":"It","LeafNodeText":"should not be [Conformance]","State":"skipped"}`
	return other + `,{"ContainerHierarchyTexts":["[sig-node] ConfigMap"],"LeafNodeType":"It","LeafNodeText":"should be [Conformance]",` + fields + `},` + other
}

func TestReportCutOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(`[{"SpecReports":[`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(file); err == nil {
		t.Error("a report that ends in the middle was read")
	}
}

func TestLastStep(t *testing.T) {
	for name, tc := range map[string]struct{ output, want string }{
		"none":      {"Running Suite\n", ""},
		"the last":  {"  STEP: Creating a pod @ 11/21/26 23:56:04.1\n  I1121 noise\n  STEP: waiting for it - a/b.go:12 @ 11/21/26 23:56:05.1\n", "waiting for it"},
		"the stop":  {"  STEP: waiting @ 1\n  [TIMEDOUT] A suite timeout occurred\n  STEP: Destroying namespace @ 2\n", "waiting"},
		"no moment": {"STEP: by hand\n", "by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lastStep(strings.NewReader(tc.output)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
