// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// preamble tells a reader what the page is; it does not change with the figures.
const preamble = "# Parity with kube-apiserver\n\n" +
	"`make parity` sends the same requests to Hivemind and to a stock kube-apiserver, built from its module, and compares the answers. This page is what\n" +
	"it found; it is written by the command, not by hand.\n\n" +
	"## What is compared\n\n" +
	"For every kind that both serve, valid objects (minimal, full, realistic; `test/parity/corpus/objects`) and what rules make of them: each field removed,\n" +
	"null, emptied, of the wrong type, negative, too large, too long, not a DNS name, of no known value, of another valid value (on update: what is\n" +
	"immutable), lists with an element twice, unknown and doubled fields under each `fieldValidation`, and metadata that the server owns. They travel as\n" +
	"create, update, JSON, merge, strategic and apply patch, and as writes of the status. Then deletes with every option, subresources, conflicts, several\n" +
	"managers, finalizers, selectors, and the tables that `kubectl get` and `-o wide` print; and requests that no client library makes on purpose: what lists,\n" +
	"watches, patches, names, methods and content types cannot be, bodies in YAML, HEAD and OPTIONS. Watches are compared event by event, as objects, tables and\n" +
	"metadata, with the bookmark behind what there was at the beginning. A request is sampled by the seed where a kind has more than fit.\n\n" +
	"Of each answer: HTTP code and reason, message, causes (type, field, text), the object with its defaults, who manages which field, and warnings. A case\n" +
	"agrees if all of it is the same. Apart from kinds: discovery (also aggregated), OpenAPI v3 schemas and paths, and the roles, bindings and classes of a new cluster.\n\n" +
	"Made the same first: uids, times of the run, resource versions, random suffixes, addresses and node ports that a server chose, an object's key in etcd, the\n" +
	"package of a Go type that a message names, and the name by which a server itself manages fields. A cause that is told twice counts once. No controllers run beside either server, both are asked by the\n" +
	"same impersonated user, and stock is given Hivemind's default storage class. Fields that only the newer version has are not sent.\n"

// WriteMarkdown writes the report to a file; top bounds how many disagreements it has.
func (r *Report) WriteMarkdown(file string, top int) error {
	if err := os.WriteFile(file, []byte(r.markdown(top)), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *Report) markdown(top int) string {
	var b strings.Builder
	b.WriteString(preamble)
	fmt.Fprintf(&b, "\n## Agreement\n\nHivemind (API of Kubernetes %s) against stock %s; seed %d, at most %d mutated requests a kind.\n\n", r.Hivemind, r.Stock, r.Seed, r.PerKind)
	fmt.Fprintf(&b, "**%.2f %%** of %d answers are the same; **%.2f %%** but for what the two versions explain (below).\n\n", r.Total.Raw(), r.Total.Cases, r.Total.Percent())
	b.WriteString("| kind | cases | same % | but for versions % |\n|---|---:|---:|---:|\n")
	for _, k := range r.Kinds {
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f |\n", k.Name, k.Cases, k.Raw(), k.Percent())
	}
	b.WriteString("\n| operation | cases | same % | but for versions % |\n|---|---:|---:|---:|\n")
	for _, op := range r.ops() {
		c := r.Operations[op]
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f |\n", op, c.Cases, c.Raw(), c.Percent())
	}
	r.lists(&b)
	b.WriteString("\n## What the versions explain\n\nRules in `test/parity/compare/versions.go`, each with how many cases it was met in.\n\n| cases | what | reason |\n|---:|---|---|\n")
	for _, d := range r.explained() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", d.Count, d.Aspect, d.Version)
	}
	r.disagreements(&b, top)
	return b.String()
}

// disagreements are those that nothing explains, all in a table and the most frequent with an example, and then those that stay.
func (r *Report) disagreements(b *strings.Builder, top int) {
	open := r.open()
	b.WriteString("\n## Disagreements\n\n")
	if len(open) == 0 {
		b.WriteString("Each has its reason: none is left that nothing explains.\n")
	} else {
		fmt.Fprintf(b, "%d that nothing explains; the first %d by how often they were met have the smallest request that shows them below. `-o yaml` has all.\n\n", len(open), min(top, len(open)))
		b.WriteString("| | cases | what | stock | Hivemind | kinds |\n|---:|---:|---|---|---|---|\n")
		for i, d := range open {
			fmt.Fprintf(b, "| %d | %d | %s | %s | %s | %s |\n", i+1, d.Count, d.where(), code(d.Stock), code(d.Hivemind), counted(d.Kinds, 2))
		}
	}
	if stay := r.reasoned(); len(stay) > 0 {
		b.WriteString("\nThese stay (`test/parity/compare/reasons.go`), each with one example of what the two say:\n\n| cases | what | stock | Hivemind | kinds | reason |\n|---:|---|---|---|---|---|\n")
		for _, d := range stay {
			s := d.Example.Difference.Signature()
			fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s |\n", d.Count, Disagreement{Signature: s}.where(), code(s.Stock), code(s.Hivemind), counted(d.Kinds, 2), d.Reason)
		}
	}
	for _, reason := range r.Stale() {
		fmt.Fprintf(b, "\nA rule that explains nothing any more: %s.\n", reason)
	}
	for i, d := range open[:min(top, len(open))] {
		d.markdown(b, i+1)
	}
}

// where is what differs.
func (d Disagreement) where() string {
	if d.Path == "" {
		return string(d.Aspect)
	}
	return string(d.Aspect) + " `" + d.Path + "`"
}

// lists are what is not in the tables.
func (r *Report) lists(b *strings.Builder) {
	list := func(title string, names []string) {
		if len(names) > 0 {
			fmt.Fprintf(b, "\n%s (%d): %s.\n", title, len(names), strings.Join(names, ", "))
		}
	}
	list("Kinds that stock serves and Hivemind does not", r.Missing)
	list("Kinds that only Hivemind serves", r.Extra)
	list("Kinds whose objects were made by reflection alone", r.Unwritten)
	if len(r.Unsent) > 0 {
		fields := 0
		for _, f := range r.Unsent {
			fields += len(f)
		}
		fmt.Fprintf(b, "\nFields of %d kinds, %d in all, that only the newer version has and that are not sent: ", len(r.Unsent), fields)
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(r.Unsent)) {
			parts = append(parts, kind+" ("+shorten(r.Unsent[kind], 4)+")")
		}
		fmt.Fprintln(b, strings.Join(parts, "; ")+".")
	}
	for _, n := range r.Defects {
		fmt.Fprintf(b, "\nStock refuses an object of the corpus, which is wrong: %s %s: %s\n", n.Kind, n.Object, n.Why)
	}
	for _, n := range r.Blocked {
		fmt.Fprintf(b, "\nNot compared: %d cases of %s, whose object %s %s.\n", n.Cases, n.Kind, n.Object, n.Why)
	}
}

// shorten lists the last parts of some paths.
func shorten(paths []string, most int) string {
	var out []string
	for _, p := range paths {
		if last := p[strings.LastIndexByte(p, '.')+1:]; !slices.Contains(out, last) {
			out = append(out, last)
		}
	}
	if more := len(out) - most; more > 0 {
		return strings.Join(out[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(out, ", ")
}

// bodyLimit is how long a request's body may be to stand in the page.
const bodyLimit = 1500

func (d Disagreement) markdown(b *strings.Builder, number int) {
	fmt.Fprintf(b, "\n### %d. %s (%d cases, %s)\n\n", number, d.where(), d.Count, d.ID)
	fmt.Fprintf(b, "| | |\n|---|---|\n| stock | %s |\n| Hivemind | %s |\n| kinds | %s |\n| operations | %s |\n\n", code(d.Stock), code(d.Hivemind), counted(d.Kinds, 6), counted(d.Ops, 6))
	e := d.Example
	fmt.Fprintf(b, "For example %s, *%s*:\n\n```yaml\n# %s", e.Kind, e.Case, e.Request)
	if e.ContentType != "" {
		fmt.Fprintf(b, " (%s)", e.ContentType)
	}
	fmt.Fprintf(b, "\n%s```\n", body(e.Body))
}

// code is an answer as a table's cell.
func code(text string) string {
	if text == "" {
		return "—"
	}
	return "`" + strings.NewReplacer("|", `\|`, "`", "'").Replace(oneLine(text)) + "`"
}

// body is a request's as YAML, as far as it can be shown.
func body(text string) string {
	switch {
	case text == "":
		return ""
	case len(text) > bodyLimit:
		return fmt.Sprintf("# %d bytes: run the case to see them all, with -o yaml\n%s\n", len(text), text[:bodyLimit/2]+" …")
	}
	var tree any
	if json.Unmarshal([]byte(text), &tree) != nil {
		return text + "\n"
	}
	out, err := yaml.JSONToYAML([]byte(text))
	if err != nil {
		return text + "\n"
	}
	return string(out)
}
