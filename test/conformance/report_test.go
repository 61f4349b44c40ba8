// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func someReport(t *testing.T) report {
	t.Helper()
	s, known := someSuite(t), open(t, t.TempDir())
	day := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	add(t, known,
		result{Test: s.tests[0].Name, Outcome: passed, Seconds: 1, Finished: day, Version: "b", Simulated: true},
		result{Test: s.tests[1].Name, Outcome: failed, Why: "a `quoted` thing", Finished: day.Add(-24 * time.Hour), Version: "a"},
		result{Test: s.tests[2].Name, Outcome: timedOut, Why: "not done after 10m0s", Finished: day, Version: "b"},
		result{Test: s.tests[3].Name, Outcome: skipped, Why: "needs 2 nodes", Finished: day, Version: "b"})
	return newReport(s.version, s.tests, known, "dir")
}

const somePage = "# Conformance\n\n" +
	"<!-- Written by `make conformance`. -->\n\n" +
	"Kubernetes' conformance tests, which are those of its end-to-end suite that carry `[Conformance]`, run against Hivemind on one machine. Where they run\n" +
	"containers, their images are made on the spot by `test/images`, of Debian packages and the suite's own programs.\n\n" +
	"- Suite: k8s.io/kubernetes v1.0.0, 5 tests\n" +
	"- Hivemind: a, b\n" +
	"- Last result: 2026-03-04\n\n" +
	"**1 of 5 passed.** 1 failed, 1 did not end in time, 1 skipped themselves, 1 were not run. 1 of them ran [on simulated nodes](#on-simulated-nodes).\n\n" +
	"| SIG | passed | failed | timed out | skipped | not run | total |\n" +
	"|---|--:|--:|--:|--:|--:|--:|\n" +
	"| api-machinery | 0 | 1 | 0 | 0 | 0 | 1 |\n" +
	"| apps | 0 | 0 | 1 | 0 | 0 | 1 |\n" +
	"| node | 1 | 0 | 0 | 0 | 0 | 1 |\n" +
	"| scheduling | 0 | 0 | 0 | 1 | 0 | 1 |\n" +
	"| storage | 0 | 0 | 0 | 0 | 1 | 1 |\n" +
	"| all | 1 | 1 | 1 | 1 | 1 | 5 |\n\n" +
	"## On simulated nodes\n\n" + onSimulated +
	"\n### node\n\n" +
	"- `Pods should run [NodeConformance]`\n\n" +
	"## What did not pass\n\n" +
	"### api-machinery\n\n" +
	"- `Namespaces [Serial] should be patched`\n" +
	"  `a 'quoted' thing`\n\n" +
	"### apps\n\n" +
	"- `Job should complete`\n" +
	"  `not done after 10m0s`\n\n" +
	"## What skipped itself\n\n" +
	"### scheduling\n\n" +
	"- `Limits [Serial] should hold`\n" +
	"  `needs 2 nodes`\n\n" +
	"## What was not run\n\n" +
	"### storage\n\n" +
	"- `Volumes should keep data [Slow]`\n" + howTo

func TestMarkdown(t *testing.T) {
	r := someReport(t)
	if diff := cmp.Diff(strings.Split(somePage, "\n"), strings.Split(r.markdown(), "\n")); diff != "" {
		t.Error(diff)
	}
	file := filepath.Join(t.TempDir(), "page.md")
	for range 2 {
		if err := r.writeMarkdown(file); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != somePage {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

func TestFormats(t *testing.T) {
	r := someReport(t)
	print := func(format string) string {
		var b bytes.Buffer
		if err := r.write(&b, format); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for format, decode := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(data []byte, v any) error { return yaml.Unmarshal(data, v) },
	} {
		var back report
		if err := decode([]byte(print(format)), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back, cmp.AllowUnexported(judged{})); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	if got, want := len(strings.Split(strings.TrimSpace(print("name")), "\n")), len(r.Tests); got != want {
		t.Errorf("%d names of %d tests", got, want)
	}
	for format, want := range map[string][]string{
		"wide":  {"OUTCOME", "timed out", "not run", "needs 2 nodes", "NODES", "simulated"},
		"table": {"SIG  passed", "all       1", "\n1 on simulated nodes, without containers.\n", "failed: [sig-api-machinery] Namespaces [Serial] should be patched [Conformance]\n  a `quoted` thing\n"},
	} {
		for _, part := range want {
			if text := print(format); !strings.Contains(text, part) {
				t.Errorf("%s lacks %q:\n%s", format, part, text)
			}
		}
	}
}

func TestAllPassed(t *testing.T) {
	for o, want := range map[outcome]bool{passed: true, failed: false, timedOut: false, skipped: false, notRun: false} {
		if r := (report{Tests: []judged{{Outcome: passed}, {Outcome: o}}}); r.allPassed() != want {
			t.Errorf("a run in which one test %s is as good as passed: %v", o, !want)
		}
	}
}
