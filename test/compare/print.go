// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// forms are those of output.
var forms = []string{"table", "json", "yaml", "md"}

// print writes the report in a form.
func print(w io.Writer, r *report, form string) error {
	switch form {
	case "json":
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", data)
		return err
	case "yaml":
		data, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	case "md":
		return printMarkdown(w, r)
	default:
		return printTable(w, r)
	}
}

func writeFile(name string, r *report) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(printMarkdown(file, r), file.Close())
}

// printTable is for a terminal.
func printTable(out io.Writer, r *report) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range r.cells() {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", r.legend())
	return err
}

// printMarkdown is for a page of its own.
func printMarkdown(out io.Writer, r *report) error {
	var b strings.Builder
	b.WriteString("# Hivemind beside stock Kubernetes\n\nWritten by `make bench-compare`.\n\n")
	for i, cells := range r.cells() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|---|%s\n", strings.Repeat("---:|", len(cells)-1))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.legend())
	_, err := io.WriteString(out, b.String())
	return err
}

// cells are the table's, the heads of columns first. Systems that were not measured have none.
func (r *report) cells() [][]string {
	_, withStock := r.samples[full]
	_, withAlone := r.samples[alone]
	head := []string{"", "unit", "Hivemind", "target"}
	for _, other := range []struct {
		with bool
		name string
	}{{withStock, "stock"}, {withAlone, "etcd + API server"}} {
		if other.with {
			head = append(head, other.name, "ratio", "by round", "target")
		}
	}
	table := [][]string{head}
	for _, l := range r.Rows {
		cells := []string{l.Name, l.Unit, "–", l.Target.String()}
		if l.Hivemind != nil {
			cells[2] = short(l.Hivemind.Median)
		}
		if withStock {
			cells = append(cells, l.Stock.cells()...)
		}
		if withAlone {
			cells = append(cells, l.Alone.cells()...)
		}
		table = append(table, cells)
	}
	return table
}

// cells are median, ratio, its spread, and the target.
func (c *comparison) cells() []string {
	cells := []string{"–", "–", "–", ""}
	if c == nil {
		return cells
	}
	cells[0] = short(c.Median)
	if c.Ratio != nil {
		cells[1], cells[2], cells[3] = short(c.Ratio.OfMedians), short(c.Ratio.Least)+"–"+short(c.Ratio.Most), c.Target.String()
	}
	return cells
}

func (v *verdict) String() string {
	switch {
	case v == nil:
		return ""
	case v.Met:
		return v.Target + " ok"
	}
	return v.Target + " MISSED"
}

// legend says what the figures are.
func (r *report) legend() string {
	limits := "at their default limits of requests a second"
	if r.ClientQPS > 0 {
		limits = fmt.Sprintf("allowed %d requests a second each instead of 20 and 50", r.ClientQPS)
	}
	return fmt.Sprintf(`Medians of %d rounds on %d CPUs, load average %.1f before the run, %s. Ratios are Hivemind divided by the other: that of the medians, and the least and the most of
a round. Hivemind %s, server role, all else by default. Stock is Kubernetes %s: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, the latter two
%s; CPU and RSS are sums over their processes. Both sync every write to the disk. %d clients at a time, in
protobuf: %d ConfigMaps and %d Pods are created, %d Pods read, %d patched, %d deleted; %d events at %.4g a second go to %d watchers.`,
		r.Rounds, r.CPUs, r.LoadAverage, r.Date, r.Versions.Hivemind, r.Versions.Kubernetes, limits, r.Clients,
		r.Sizes.ConfigMaps, r.Sizes.Pods, r.Sizes.Gets, r.Sizes.Patches, r.Sizes.Deletes, r.Sizes.Events, r.Sizes.EventRate, r.Sizes.Watchers)
}

// short is a figure with about three digits.
func short(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}
