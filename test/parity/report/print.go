// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is how a report is printed.
type Format string

// The formats. Wide has a column for each operation; Name is the disagreements' ids alone.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
)

// Formats are the names of all.
func Formats() []string {
	return []string{string(Table), string(Wide), string(JSON), string(YAML), string(Name)}
}

// Print writes the report. top bounds how many disagreements a table shows; JSON and YAML have all.
func (r *Report) Print(w io.Writer, format Format, top int) error {
	var data []byte
	var err error
	switch format {
	case JSON:
		data, err = json.MarshalIndent(r, "", "  ")
		data = append(data, '\n')
	case YAML:
		data, err = yaml.Marshal(r)
	case Name:
		for _, d := range r.Disagreements {
			if d.Version == "" && d.Reason == "" {
				data = fmt.Appendf(data, "disagreement/%s\n", d.ID)
			}
		}
	default:
		return r.table(w, format == Wide, top)
	}
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	_, err = w.Write(data)
	return err
}

func (r *Report) table(out io.Writer, wide bool, top int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	ops := r.ops()
	row := func(name string, c Count, operations map[string]Count) {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f", name, c.Cases, c.Raw(), c.Percent())
		if wide {
			for _, op := range ops {
				fmt.Fprintf(w, "\t%s", cell(operations[op]))
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "KIND\tCASES\tSAME %\tSAME BUT FOR VERSIONS %")
	if wide {
		for _, op := range ops {
			fmt.Fprintf(w, "\t%s", strings.ToUpper(op))
		}
	}
	fmt.Fprintln(w)
	for _, k := range r.Kinds {
		row(k.Name, k.Count, k.Operations)
	}
	row("all", r.Total, r.Operations)
	if err := w.Flush(); err != nil {
		return err
	}
	open := r.open()
	fmt.Fprintf(out, "\n%d distinct disagreements that stay, for reasons that are known (-write tells them), and %d that nothing explains", len(r.reasoned()), len(open))
	if len(open) > 0 {
		fmt.Fprintf(out, "; the first %d by how often they were met:", min(top, len(open)))
	}
	fmt.Fprintln(out)
	for _, d := range open[:min(top, len(open))] {
		fmt.Fprintf(out, "\n%s  %d×  %s  %s\n  stock     %s\n  Hivemind  %s\n  in %s; for example %s, %s\n", d.ID, d.Count, d.Aspect, d.Path, oneLine(d.Stock), oneLine(d.Hivemind),
			counted(d.Kinds, 4), d.Example.Kind, d.Example.Case)
	}
	for _, reason := range r.Stale() {
		fmt.Fprintf(out, "\nA rule that explains nothing any more: %s\n", reason)
	}
	for _, n := range r.Defects {
		fmt.Fprintf(out, "\nThe corpus is wrong: stock refuses %s %s: %s\n", n.Kind, n.Object, n.Why)
	}
	for _, n := range r.Blocked {
		fmt.Fprintf(out, "\nNot compared: %d cases of %s, whose object %s %s\n", n.Cases, n.Kind, n.Object, n.Why)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(out, "\n%d kinds that stock serves and Hivemind does not: %s\n", len(r.Missing), strings.Join(r.Missing, ", "))
	}
	if len(r.Extra) > 0 {
		fmt.Fprintf(out, "\n%d kinds that only Hivemind serves: %s\n", len(r.Extra), strings.Join(r.Extra, ", "))
	}
	fmt.Fprintf(out, "\n%s: %.2f %% of %d answers are stock's (%s); %.2f %% but for what the versions explain. %v\n",
		r.Hivemind, r.Total.Raw(), r.Total.Cases, r.Stock, r.Total.Percent(), r.Duration)
	return nil
}

// open are the disagreements that nothing explains.
func (r *Report) open() []Disagreement {
	return r.those(func(d Disagreement) bool { return d.Version == "" && d.Reason == "" })
}

// reasoned are those that stay for a reason.
func (r *Report) reasoned() []Disagreement {
	return r.those(func(d Disagreement) bool { return d.Reason != "" })
}

// explained are those that the versions explain, by their reason.
func (r *Report) explained() []Disagreement {
	return r.those(func(d Disagreement) bool { return d.Version != "" })
}

func (r *Report) those(are func(Disagreement) bool) []Disagreement {
	return slices.DeleteFunc(slices.Clone(r.Disagreements), func(d Disagreement) bool { return !are(d) })
}

// order is that of operations in tables; others follow.
var order = []string{"create", "update", "merge patch", "strategic patch", "json patch", "apply", "apply forced", "status update", "status patch", "status apply",
	"delete", "machinery", "subresource", "read", "table"}

func (r *Report) ops() []string {
	return slices.SortedFunc(maps.Keys(r.Operations), func(a, b string) int {
		i, j := slices.Index(order, a), slices.Index(order, b)
		switch {
		case i >= 0 && j >= 0:
			return i - j
		case i >= 0:
			return -1
		case j >= 0:
			return 1
		}
		return strings.Compare(a, b)
	})
}

// cell is the share that agrees; empty where there was no case.
func cell(c Count) string {
	if c.Cases == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", c.Percent())
}

// counted lists the most frequent names.
func counted(names map[string]int, most int) string {
	sorted := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		if names[a] != names[b] {
			return names[b] - names[a]
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, name := range sorted[:min(most, len(sorted))] {
		out = append(out, fmt.Sprintf("%s (%d)", name, names[name]))
	}
	if more := len(sorted) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// oneLine shows an answer; one that says nothing is a dash.
func oneLine(text string) string {
	if text == "" {
		return "—"
	}
	return strings.Join(strings.Fields(text), " ")
}
