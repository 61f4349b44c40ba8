// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/exchange"
	"github.com/hivemind-project/hivemind/test/parity/play"
)

func result(kind, op, id string, body string, differences ...compare.Difference) play.Result {
	return play.Result{Kind: kind, Op: op, ID: id, Request: exchange.Request{Method: "POST", Path: "/x", ContentType: "application/json", Body: []byte(body)}, Differences: differences}
}

func difference(aspect compare.Aspect, path, stock, hivemind string) compare.Difference {
	return compare.Difference{Aspect: aspect, Path: path, Stock: stock, Hivemind: hivemind}
}

// results are some, of which two show the same disagreement in two kinds, one is explained by the versions, and one stays.
func results() []play.Result {
	missing := func(i int) compare.Difference {
		return difference(compare.Cause, fmt.Sprintf("spec.list[%d].x", i), `Invalid: Invalid value: "a": bad`, "")
	}
	return []play.Result{
		result("v1 A", "create", "1", `{"kind":"A","long":"body"}`, missing(0), missing(1)),
		result("v1 B", "update", "2", `{"kind":"B"}`, missing(3)),
		result("v1 A", "create", "3", `{}`),
		result("v1 A", "delete", "4", `{}`, difference(compare.Message, "", "a: Precondition failed: UID", "a: precondition failed: UID")),
		result("v1 A", "create", "5", `{"kind":"A"}`, difference(compare.Object, "spec.y", "1", "2")),
		result("v1 Service", "update", "6", `{}`, difference(compare.Code, "", "500: duplicate nodePort: {TCP 1}", "422 Invalid: spec.ports[1].nodePort: Duplicate value: 1")),
	}
}

func tally(t *testing.T, results []play.Result) *Report {
	t.Helper()
	tally := NewTally()
	var group sync.WaitGroup
	for _, r := range results {
		group.Go(func() { tally.Record(r) })
	}
	group.Wait()
	tally.Defect("v1 A", "full", "no such thing")
	tally.Blocked("v1 B", "minimal", "is not stored on both servers", 7)
	tally.Unsent("v1 A", []string{"spec.new", "status.newer"})
	r := tally.Report()
	r.Stock, r.Hivemind, r.Missing = "v1.36.3", "v1.37.2", []string{"v1 C"}
	return r
}

func TestReport(t *testing.T) {
	r := tally(t, results())
	if r.Total != (Count{Cases: 6, Agreed: 1, Explained: 2}) || fmt.Sprintf("%.1f %.1f", r.Total.Raw(), r.Total.Percent()) != "16.7 33.3" {
		t.Errorf("total %+v", r.Total)
	}
	if len(r.Kinds) != 3 || r.Kinds[0].Name != "v1 A" || r.Kinds[0].Operations["create"] != (Count{3, 1, 1}) || r.Operations["update"] != (Count{2, 0, 0}) {
		t.Errorf("kinds %+v, operations %+v", r.Kinds, r.Operations)
	}
	if len(r.Disagreements) != 4 || len(r.open()) != 2 || len(r.explained()) != 1 || len(r.reasoned()) != 1 {
		t.Fatalf("disagreements %+v", r.Disagreements)
	}
	first := r.Disagreements[0]
	if first.Count != 2 || first.Path != "spec.list[*].x" || first.Kinds["v1 A"] != 1 || first.Kinds["v1 B"] != 1 || first.Example.Kind != "v1 B" || first.Example.Body != `{"kind":"B"}` {
		t.Errorf("%+v: it was met in two cases, of which the second has the smaller body", first)
	}
}

func TestReportIsTheSameInWhateverOrder(t *testing.T) {
	forward := results()
	backward := make([]play.Result, 0, len(forward))
	for i := range forward {
		backward = append(backward, forward[len(forward)-1-i])
	}
	if a, b := tally(t, forward).markdown(10), tally(t, backward).markdown(10); a != b {
		t.Errorf("%s\nand\n%s", a, b)
	}
}

func TestPrint(t *testing.T) {
	r := tally(t, results())
	for format, wants := range map[Format][]string{
		Table: {"KIND", "v1 A", "33.33 %", "1 distinct disagreements that stay", "2 that nothing explains; the first 1", "spec.list[*].x", "stock refuses v1 A full", "7 cases of v1 B", "v1 C"},
		Wide:  {"CREATE  UPDATE  DELETE", "33"},
		YAML:  {"disagreements:", "path: spec.y"},
		Name:  {"disagreement/" + r.Disagreements[0].ID + "\n"},
	} {
		var b strings.Builder
		if err := r.Print(&b, format, 1); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s lacks %q:\n%s", format, want, b.String())
			}
		}
	}
	var b strings.Builder
	if err := r.Print(&b, JSON, 0); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal([]byte(b.String()), &again); err != nil || len(again.Disagreements) != 4 {
		t.Errorf("%v, %d disagreements", err, len(again.Disagreements))
	}
}

func TestMarkdown(t *testing.T) {
	page := tally(t, results()).markdown(1)
	for _, want := range []string{
		"# Parity with kube-apiserver", "| v1 A | 4 | 25.0 | 50.0 |", "| create | 3 | 33.3 | 33.3 |", "| 1 | message | 1.37 writes", "2 that nothing explains; the first 1", "| 2 | 1 | object `spec.y` | `1` | `2` | v1 A (1) |",
		"| 1 | code | `500: duplicate nodePort: {…}` | `422 Invalid: <path>: Duplicate value: N` | v1 Service (1) | kube-apiserver fails",
		"### 1. cause `spec.list[*].x` (2 cases,", "# POST /x (application/json)\nkind: B\n", "Kinds that stock serves and Hivemind does not (1): v1 C.", "(new, newer)",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "### 2.") {
		t.Error("has more disagreements than asked for")
	}
	if strings.Contains(page, "explains nothing any more") {
		t.Error("tells of rules that a part of the comparison has not met")
	}
}

// TestStale holds that a comparison of everything tells which rules nothing matches any more.
func TestStale(t *testing.T) {
	r := tally(t, results())
	all := len(compare.Rules) + len(compare.Reasons)
	if len(r.Unmet) != all-2 || len(r.Stale()) != 0 {
		t.Errorf("%d of %d rules unmet, %d of them stale", len(r.Unmet), all, len(r.Stale()))
	}
	r.Complete = true
	if len(r.Stale()) != all-2 || !strings.Contains(r.markdown(1), "A rule that explains nothing any more: 1.37 keeps who managed") {
		t.Errorf("stale: %v", r.Stale())
	}
}
