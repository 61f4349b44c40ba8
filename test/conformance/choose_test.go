// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someList = `
- testname: Pods
  codename: '[sig-node] Pods should run [NodeConformance]
    [Conformance]'
  release: v1.9
  file: test/e2e/common/node/pods.go
- codename: '[sig-api-machinery] Namespaces [Serial] should be patched [Conformance]'
  release: v1.18
- codename: '[sig-apps] Job should complete [Conformance]'
- codename: '[sig-scheduling] Limits [Serial] should hold [Conformance]'
- codename: '[sig-storage] Volumes should keep data [Slow] [Conformance]'
`

func someSuite(t *testing.T) *suite {
	t.Helper()
	tests, err := parseList([]byte(someList))
	if err != nil {
		t.Fatal(err)
	}
	return &suite{version: "v1.0.0", tests: tests}
}

func TestParseList(t *testing.T) {
	got := someSuite(t).tests[0]
	want := test{Name: "[sig-node] Pods should run [NodeConformance] [Conformance]", SIG: "node", File: "test/e2e/common/node/pods.go", Since: "v1.9"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.has("NodeConformance") || got.has("Serial") {
		t.Errorf("labels of %q are not told", got.Name)
	}
	for name, list := range map[string]string{"empty": "[]", "no SIG": "- codename: Pods should run", "no YAML": "\t"} {
		if _, err := parseList([]byte(list)); err == nil {
			t.Errorf("%s: a list that cannot be right was read", name)
		}
	}
}

func TestChoose(t *testing.T) {
	s := someSuite(t)
	for name, tc := range map[string]struct {
		choice
		want []string // words of the names
		err  string   // part of it
	}{
		"all":                         {choice: choice{set: "all"}, want: []string{"Pods", "Namespaces", "Job", "Limits", "Volumes"}},
		"a SIG":                       {choice: choice{set: "all", sigs: "node"}, want: []string{"Pods"}},
		"its full name":               {choice: choice{set: "all", sigs: "sig-node"}, want: []string{"Pods"}},
		"its beginning":               {choice: choice{set: "all", sigs: "api"}, want: []string{"Namespaces"}},
		"two":                         {choice: choice{set: "all", sigs: "apps, sto"}, want: []string{"Job", "Volumes"}},
		"a focus":                     {choice: choice{set: "all", focus: `\[Serial\]`}, want: []string{"Namespaces", "Limits"}},
		"both":                        {choice: choice{set: "all", sigs: "scheduling", focus: "Serial"}, want: []string{"Limits"}},
		"nothing":                     {choice: choice{set: "all", sigs: "node", focus: "Serial"}, err: `no test matches set all, SIG node, focus "Serial"`},
		"an unknown SIG":              {choice: choice{set: "all", sigs: "windows"}, err: `there is no SIG "windows" in suite v1.0.0: api-machinery, apps, node, scheduling, storage are`},
		"an empty SIG":                {choice: choice{set: "all", sigs: "node,"}, err: `there is no SIG ""`},
		"a beginning of two":          {choice: choice{set: "all", sigs: "s"}, err: `SIG "s" may be scheduling or storage`},
		"an unknown set":              {choice: choice{set: "some"}, err: `there is no set "some"`},
		"a broken expression":         {choice: choice{set: "all", focus: "("}, err: `focus "(" is not a regular expression`},
		"a list with a name too many": {choice: choice{set: "no-node"}, err: "test/conformance/no-node.txt: suite v1.0.0 has no conformance test"},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := s.choose(tc.choice)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, c := range chosen {
				words = append(words, strings.Fields(shortName(c.Name))[0])
			}
			if diff := cmp.Diff(tc.want, words); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	s := someSuite(t)
	got, err := s.named("x.txt", "# a comment\n\n"+s.tests[4].Name+"\n"+s.tests[0].Name+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]test{s.tests[0], s.tests[4]}, got); diff != "" {
		t.Errorf("not the named tests in the suite's order: %s", diff)
	}
}
