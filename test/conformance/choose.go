// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The sets that are files: one name a line; a line that begins with # says something about them.
var (
	//go:embed no-node.txt
	noNodeList string
	//go:embed two-nodes.txt
	twoNodesList string
	//go:embed pinned.txt
	pinnedList string
)

// choice is which tests of the suite are asked for.
type choice struct {
	set   string // all, no-node, two-nodes or pinned
	sigs  string // names with a comma between; "" is every SIG
	focus string // a regular expression; "" is every test
}

func (c choice) String() string {
	parts := []string{"set " + c.set}
	if c.sigs != "" {
		parts = append(parts, "SIG "+c.sigs)
	}
	if c.focus != "" {
		parts = append(parts, fmt.Sprintf("focus %q", c.focus))
	}
	return strings.Join(parts, ", ")
}

// choose returns the tests that are asked for, in the suite's order. A choice that leaves none is an error, and so is a name of a set
// that the suite does not have.
func (s *suite) choose(c choice) ([]test, error) {
	set, err := s.set(c.set)
	if err != nil {
		return nil, err
	}
	sigs, err := s.sigs(c.sigs)
	if err != nil {
		return nil, err
	}
	focus, err := regexp.Compile(c.focus)
	if err != nil {
		return nil, fmt.Errorf("focus %q is not a regular expression: %w", c.focus, err)
	}
	chosen := slices.DeleteFunc(slices.Clone(set), func(t test) bool { return !slices.Contains(sigs, t.SIG) || !focus.MatchString(t.Name) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no test matches %s: suite %s has %d tests in this set, which `-report -set %s -o name` lists", c, s.version, len(set), c.set)
	}
	return chosen, nil
}

func (s *suite) set(name string) ([]test, error) {
	switch name {
	case "all":
		return s.tests, nil
	case "no-node":
		return s.named("no-node.txt", noNodeList)
	case "two-nodes":
		return s.named("two-nodes.txt", twoNodesList)
	case "pinned":
		return s.named("pinned.txt", pinnedList)
	}
	return nil, fmt.Errorf("there is no set %q: all, no-node, two-nodes and pinned are", name)
}

// named returns the tests that a file lists.
func (s *suite) named(file, list string) ([]test, error) {
	names := map[string]bool{}
	for _, name := range lines(list) {
		names[name] = true
	}
	var tests []test
	for _, t := range s.tests {
		if names[t.Name] {
			tests = append(tests, t)
			delete(names, t.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		return nil, fmt.Errorf("test/conformance/%s: suite %s has no conformance test %q", file, s.version, name)
	}
	return tests, nil
}

// lines are those of a list that are not comments.
func lines(list string) []string {
	var out []string
	for line := range strings.Lines(list) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// sigs turns what a person writes (sig-api-machinery, api-machinery, api) into names of SIGs. A beginning is enough where it is that of one SIG.
func (s *suite) sigs(wanted string) ([]string, error) {
	var all []string
	for _, t := range s.tests {
		if !slices.Contains(all, t.SIG) {
			all = append(all, t.SIG)
		}
	}
	slices.Sort(all)
	if wanted == "" {
		return all, nil
	}
	var out []string
	for part := range strings.SplitSeq(wanted, ",") {
		name := strings.TrimPrefix(strings.TrimSpace(part), "sig-")
		matching := slices.DeleteFunc(slices.Clone(all), func(sig string) bool { return !strings.HasPrefix(sig, name) })
		switch {
		case slices.Contains(all, name):
			out = append(out, name)
		case name != "" && len(matching) == 1:
			out = append(out, matching[0])
		case name != "" && len(matching) > 1:
			return nil, fmt.Errorf("SIG %q may be %s", part, strings.Join(matching, " or "))
		default:
			return nil, fmt.Errorf("there is no SIG %q in suite %s: %s are", part, s.version, strings.Join(all, ", "))
		}
	}
	return out, nil
}
