// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"
)

// report is what is known of tests, in the suite's order.
type report struct {
	Suite    string    `json:"suite"`    // the version of k8s.io/kubernetes
	Versions []string  `json:"versions"` // of what was examined
	Date     time.Time `json:"date"`     // of the newest result
	Tests    []judged  `json:"tests"`
}

// judged is a test with its result.
type judged struct {
	test
	Outcome  outcome    `json:"outcome"`
	Why      string     `json:"why,omitempty"`
	Seconds  float64    `json:"seconds,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
	Version  string     `json:"version,omitempty"`
	// Simulated says that it ran on simulated nodes.
	Simulated bool   `json:"simulated,omitempty"`
	Log       string `json:"log,omitempty"`
}

// newReport tells what is known of tests. Logs are named below dir.
func newReport(suite string, tests []test, known *store, dir string) report {
	r := report{Suite: suite}
	for _, t := range tests {
		res := known.get(t)
		j := judged{test: t, Outcome: res.Outcome, Why: res.Why, Seconds: res.Seconds, Version: res.Version, Simulated: res.Simulated}
		if res.Outcome != notRun {
			j.Finished, j.Log = &res.Finished, filepath.Join(dir, res.Log)
			if !slices.Contains(r.Versions, res.Version) {
				r.Versions = append(r.Versions, res.Version)
			}
			if res.Finished.After(r.Date) {
				r.Date = res.Finished
			}
		}
		r.Tests = append(r.Tests, j)
	}
	slices.Sort(r.Versions)
	return r
}

// outcomes are the columns of tables.
var outcomes = []outcome{passed, failed, timedOut, skipped, notRun}

// tally counts outcomes, of one SIG or of all ("").
func (r report) tally(sig string) map[outcome]int {
	counts := map[outcome]int{}
	for _, j := range r.Tests {
		if sig == "" || j.SIG == sig {
			counts[j.Outcome]++
		}
	}
	return counts
}

func (r report) sigs() []string {
	var all []string
	for _, j := range r.Tests {
		all = append(all, j.SIG)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// rows are those of the table of SIGs: a head, a SIG each, and the sum.
func (r report) rows() [][]string {
	head := []string{"SIG"}
	for _, o := range outcomes {
		head = append(head, string(o))
	}
	rows := [][]string{append(head, "total")}
	for _, sig := range append(r.sigs(), "") {
		counts, sum := r.tally(sig), 0
		row := []string{sig}
		if sig == "" {
			row[0] = "all"
		}
		for _, o := range outcomes {
			row = append(row, fmt.Sprint(counts[o]))
			sum += counts[o]
		}
		rows = append(rows, append(row, fmt.Sprint(sum)))
	}
	return rows
}

// simulated counts the tests that ran on simulated nodes.
func (r report) simulated() int {
	n := 0
	for _, j := range r.Tests {
		if j.Simulated {
			n++
		}
	}
	return n
}

// allPassed tells whether every test passed.
func (r report) allPassed() bool {
	return !slices.ContainsFunc(r.Tests, func(j judged) bool { return j.Outcome != passed })
}

// write writes the report to w in a format of -o.
func (r report) write(w io.Writer, format string) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	case "yaml":
		out, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.Write(out)
		return err
	case "name":
		for _, j := range r.Tests {
			fmt.Fprintln(w, j.Name)
		}
		return nil
	case "wide":
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "OUTCOME\tSECONDS\tNODES\tNAME\tWHY")
		for _, j := range r.Tests {
			nodes := ""
			if j.Simulated {
				nodes = "simulated"
			}
			fmt.Fprintf(table, "%s\t%.1f\t%s\t%s\t%s\n", j.Outcome, j.Seconds, nodes, j.Name, j.Why)
		}
		return table.Flush()
	}
	return r.table(w)
}

// table prints a row for each SIG, and then what did not pass.
func (r report) table(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range r.rows() {
		fmt.Fprintln(table, strings.Join(row, "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if n := r.simulated(); n > 0 {
		fmt.Fprintf(w, "\n%d on simulated nodes, without containers.\n", n)
	}
	for _, j := range r.Tests {
		if j.Outcome != passed && j.Outcome != notRun {
			fmt.Fprintf(w, "\n%s: %s\n  %s\n  %s\n", j.Outcome, j.Name, j.Why, j.Log)
		}
	}
	return nil
}

// writeMarkdown writes the report as a page, if it has changed.
func (r report) writeMarkdown(path string) error {
	page := r.markdown()
	if was, err := os.ReadFile(path); err == nil && string(was) == page {
		return nil
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

// markdown is the page docs/conformance.md. It follows from the results alone, so that it can be written again.
func (r report) markdown() string {
	b := &strings.Builder{}
	counts := r.tally("")
	fmt.Fprintf(b, "# Conformance\n\n<!-- Written by `make conformance`. -->\n\n")
	fmt.Fprintf(b, "Kubernetes' conformance tests, which are those of its end-to-end suite that carry `[Conformance]`, run against Hivemind on one machine. Where they run\n"+
		"containers, their images are made on the spot by `test/images`, of Debian packages and the suite's own programs.\n\n")
	fmt.Fprintf(b, "- Suite: k8s.io/kubernetes %s, %d tests\n", r.Suite, len(r.Tests))
	fmt.Fprintf(b, "- Hivemind: %s\n", strings.Join(r.Versions, ", "))
	if !r.Date.IsZero() {
		fmt.Fprintf(b, "- Last result: %s\n", r.Date.Format(time.DateOnly))
	}
	fmt.Fprintf(b, "\n**%d of %d passed.** %d failed, %d did not end in time, %d skipped themselves, %d were not run.",
		counts[passed], len(r.Tests), counts[failed], counts[timedOut], counts[skipped], counts[notRun])
	if n := r.simulated(); n > 0 {
		fmt.Fprintf(b, " %d of them ran [on simulated nodes](#on-simulated-nodes).", n)
	}
	fmt.Fprint(b, "\n\n")
	for i, row := range r.rows() {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|---%s|\n", strings.Repeat("|--:", len(row)-1))
		}
	}
	r.list(b, "On simulated nodes", onSimulated, func(j judged) bool { return j.Simulated })
	r.list(b, "What did not pass", "", func(j judged) bool { return j.Outcome == failed || j.Outcome == timedOut })
	r.list(b, "What skipped itself", "", func(j judged) bool { return j.Outcome == skipped })
	r.list(b, "What was not run", "", func(j judged) bool { return j.Outcome == notRun })
	fmt.Fprint(b, howTo)
	return b.String()
}

const onSimulated = `A machine is one node. Tests that want two ran on [simulated nodes](simulated.md): with the API server, controllers and scheduler of every cluster, and node
agents that run no containers.
`

const howTo = `
## To repeat it

    make conformance                    # all of it, with real containers; root
    make conformance SET=no-node        # what needs no node: under 20 minutes
    make conformance SET=two-nodes      # what wants two nodes, which are simulated: seconds
    make conformance SIG=api FOCUS=Quota

It can be stopped at any moment; the same command goes on where it was. Each test's output is under build/conformance/.
`

// list writes the tests of a kind under a heading and what there is to say of all, by SIG; nothing where there are none.
func (r report) list(b *strings.Builder, heading, intro string, of func(judged) bool) {
	begun := false
	for _, sig := range r.sigs() {
		first := true
		for _, j := range r.Tests {
			if j.SIG != sig || !of(j) {
				continue
			}
			if !begun {
				fmt.Fprintf(b, "\n## %s\n", heading)
				if intro != "" {
					fmt.Fprint(b, "\n"+intro)
				}
				begun = true
			}
			if first {
				fmt.Fprintf(b, "\n### %s\n\n", sig)
				first = false
			}
			fmt.Fprintf(b, "- %s\n", code(shortName(j.Name)))
			if j.Why != "" {
				fmt.Fprintf(b, "  %s\n", code(j.Why))
			}
		}
	}
}

// shortName leaves out of a name what is in all of its section.
func shortName(name string) string {
	return strings.TrimSpace(strings.Replace(leadingSIG.ReplaceAllString(name, ""), "[Conformance]", "", 1))
}

// code sets text so that Markdown leaves it as it is.
func code(text string) string { return "`" + strings.ReplaceAll(text, "`", "'") + "`" }
