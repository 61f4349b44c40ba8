// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/test/load"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func TestCompare(t *testing.T) {
	fig := func(values ...float64) *figure { return &figure{Median: median(values), Rounds: values} }
	for _, test := range []struct {
		name         string
		ours, theirs *figure
		target       target
		want         *comparison
	}{
		{"nobody else", fig(1), nil, atLeast(1), nil},
		{"not ours", nil, fig(4), atLeast(1), &comparison{figure: *fig(4)}},
		// The ratios of rounds are 3, 5 and 2; that of the medians is 6/2.
		{"met", fig(6, 10, 4), fig(2, 2, 2), atLeast(2.5), &comparison{figure: *fig(2, 2, 2), Ratio: &ratio{3, 2, 5}, Target: &verdict{"≥ 2.5", true}}},
		{"missed", fig(6, 10, 4), fig(2, 2, 2), atMost(2), &comparison{figure: *fig(2, 2, 2), Ratio: &ratio{3, 2, 5}, Target: &verdict{"≤ 2", false}}},
		{"no target", fig(1, 3), fig(4, 4), target{}, &comparison{figure: *fig(4, 4), Ratio: &ratio{0.5, 0.25, 0.75}}},
		{"nothing to divide by", fig(1, 1, 1), fig(0, 0, 5), atMost(1), &comparison{figure: *fig(0, 0, 5)}},
		{"nothing to divide by in a round", fig(1, 1, 1), fig(0, 5, 5), atMost(1), &comparison{figure: *fig(0, 5, 5)}},
		{"other rounds", fig(1, 1), fig(1, 1, 1), atMost(1), &comparison{figure: *fig(1, 1, 1)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, compare(test.ours, test.theirs, test.target), cmp.AllowUnexported(comparison{})); diff != "" {
				t.Errorf("compare (-want +got):\n%s", diff)
			}
		})
	}
}

// reported is a report of two rounds on all systems, with few of the rows.
func reported() *report {
	o := options{Sizes: load.DefaultSizes(), rounds: 2, clients: 16, clientQPS: 1000}
	r := newReport(o)
	r.Date, r.CPUs, r.LoadAverage, r.Versions = "2026-01-02", 2, 0.25, versions{"v1 (Kubernetes v1.37.2)", "v1.36.3"}
	for _, values := range []map[string]map[string]float64{
		{full: {"idle rss": 440, "create Pods rate": 300}, hivemind: {"idle rss": 90, "create Pods rate": 900}, alone: {"create Pods rate": 600}},
		{full: {"idle rss": 460, "create Pods rate": 500}, hivemind: {"idle rss": 110, "create Pods rate": 1100}, alone: {"create Pods rate": 1400}},
	} {
		for system, v := range values {
			r.add(system, &sample{values: v})
		}
	}
	r.finish(o)
	return r
}

func TestPrintTable(t *testing.T) {
	var b strings.Builder
	if err := print(&b, reported(), "table"); err != nil {
		t.Fatal(err)
	}
	got, legend, _ := strings.Cut(b.String(), "\n\n")
	want := strings.TrimPrefix(`
             unit  Hivemind  target       stock  ratio  by round   target    etcd + API server  ratio  by round   target
RSS idle     MiB   100       ≤ 80 MISSED  450    0.22   0.20–0.24            –                  –      –
create Pods  /s    1000                   400    2.50   2.20–3.00  ≥ 2.5 ok  1000               1.00   0.79–1.50  ≥ 1.5 MISSED`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	for _, part := range []string{"Medians of 2 rounds on 2 CPUs", "Kubernetes v1.36.3", "allowed 1000 requests", "5000 ConfigMaps"} {
		if !strings.Contains(legend, part) {
			t.Errorf("the legend lacks %q:\n%s", part, legend)
		}
	}
}

func TestPrintMarkdown(t *testing.T) {
	var b strings.Builder
	if err := print(&b, reported(), "md"); err != nil {
		t.Fatal(err)
	}
	var table []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "|") {
			table = append(table, line)
		}
	}
	want := []string{
		"|  | unit | Hivemind | target | stock | ratio | by round | target | etcd + API server | ratio | by round | target |\n",
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
		"| RSS idle | MiB | 100 | ≤ 80 MISSED | 450 | 0.22 | 0.20–0.24 |  | – | – | – |  |\n",
		"| create Pods | /s | 1000 |  | 400 | 2.50 | 2.20–3.00 | ≥ 2.5 ok | 1000 | 1.00 | 0.79–1.50 | ≥ 1.5 MISSED |\n",
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// TestPrintData: what a program reads holds every round.
func TestPrintData(t *testing.T) {
	for form, unmarshal := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(data []byte, into any) error { return yaml.Unmarshal(data, into) },
	} {
		var b strings.Builder
		if err := print(&b, reported(), form); err != nil {
			t.Fatal(err)
		}
		var got report
		if err := unmarshal([]byte(b.String()), &got); err != nil {
			t.Fatal(err)
		}
		want := line{Name: "create Pods", Unit: "/s", Hivemind: &figure{1000, []float64{900, 1100}},
			Stock: &comparison{figure{400, []float64{300, 500}}, &ratio{2.5, 2.2, 3}, &verdict{"≥ 2.5", true}},
			Alone: &comparison{figure{1000, []float64{600, 1400}}, &ratio{1, 1100. / 1400, 1.5}, &verdict{"≥ 1.5", false}}}
		if diff := cmp.Diff(want, got.Rows[1], cmp.AllowUnexported(comparison{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
}

// TestRowsHaveValues: each row's key is one that a round writes, so that no line of the table stays empty for ever.
func TestRowsHaveValues(t *testing.T) {
	o := options{Sizes: load.DefaultSizes()}
	m := &sample{values: map[string]float64{"start": 1, "start account": 1, "idle rss": 1, "idle cpu": 1, "full rss": 1, "end rss": 1, "restart": 1, "watcher rss": 1, "others": 1}}
	for _, name := range []string{load.CreateConfigMaps, load.CreatePods, load.GetPods, load.ReceivePods, load.ListPods, load.ListPodsJSON, load.PatchPods, load.WatchEach,
		load.DeletePods, load.Deployment(100), load.Deployment(500)} {
		m.add(load.Result{Name: name})
	}
	seen := map[string]bool{}
	for _, row := range rows(o) {
		if _, ok := m.values[row.key]; !ok || seen[row.key] {
			t.Errorf("row %q: no round writes %q, or another row shows it", row.title, row.key)
		}
		seen[row.key] = true
	}
}

func TestRowsCountObjects(t *testing.T) {
	for phases, want := range map[string]string{"configmaps,pods": "restart with 30 objects, to /readyz", "pods": "restart with 20 objects, to /readyz"} {
		o := options{Sizes: load.Sizes{ConfigMaps: 10, Pods: 20}, phases: strings.Split(phases, ",")}
		if !slices.ContainsFunc(rows(o), func(r row) bool { return r.title == want }) {
			t.Errorf("after %s no row is titled %q", phases, want)
		}
	}
}

func TestBusy(t *testing.T) {
	got, err := busy("cpu  100 20 30 5000 7 4 3 2 50 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := 1590 * time.Millisecond; err != nil || got != want {
		t.Errorf("busy = %v, %v, want %v", got, err, want)
	}
	if _, err := busy("intr 1 2 3"); err == nil {
		t.Error("busy reads what is not there")
	}
}

func TestWarn(t *testing.T) {
	for _, test := range []struct {
		hivemind, alone float64
		want            string
	}{{3, 5, ""}, {3, 80, "up to 80 % of a core"}, {120, 5, "up to 120 % of a core"}} {
		r := newReport(options{})
		r.add(hivemind, &sample{values: map[string]float64{"others": test.hivemind}})
		r.add(alone, &sample{values: map[string]float64{"others": test.alone}})
		r.finish(options{Sizes: load.DefaultSizes()})
		var b strings.Builder
		r.warn(&b)
		if test.want == "" && b.Len() > 0 || !strings.Contains(b.String(), test.want) {
			t.Errorf("with %v: %q, want %q", test, b.String(), test.want)
		}
	}
}

func TestFailuresAreCounted(t *testing.T) {
	m := &sample{values: map[string]float64{}}
	m.add(load.Result{Name: "a"})
	m.add(load.Result{Name: "b", Errors: 2, FirstError: "refused"})
	m.add(load.Result{Name: "c", Errors: 1, FirstError: "late"})
	r := newReport(options{})
	r.add(full, m)
	if r.Failed != 3 || r.FirstError != "refused" {
		t.Errorf("failed %d, first %q; want 3, refused", r.Failed, r.FirstError)
	}
}

func TestCheckOptions(t *testing.T) {
	for _, test := range []struct {
		change func(*options)
		want   string
	}{
		{func(*options) {}, ""},
		{func(o *options) { o.rounds = 0 }, "-rounds 0"},
		{func(o *options) { o.output = "csv" }, "-o csv"},
		{func(o *options) { o.systems = []string{full, "k3s"} }, `-systems: "k3s"`},
		{func(o *options) { o.systems = []string{full, full} }, `-systems: "stock"`},
		{func(o *options) { o.phases = []string{"gets"} }, `-phases: phase "gets" works on`},
		{func(o *options) { o.Pods = 0 }, "pods: 0"},
	} {
		o := options{Sizes: load.DefaultSizes(), rounds: 3, clients: 16, output: "table", systems: systemNames, phases: []string{"pods"}, timeout: time.Minute}
		test.change(&o)
		err := o.check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("check: %v, want %q", err, test.want)
		}
	}
}
