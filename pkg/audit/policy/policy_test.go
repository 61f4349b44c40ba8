// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // nil for valid
	}{
		"one rule": {head + "rules: [{level: Metadata}]", nil},
		"everything": {head + `
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [system:kube-proxy]
  userGroups: [system:nodes]
  verbs: [watch]
  omitManagedFields: false
  resources: [{group: "", resources: [pods/log, "*"], resourceNames: [a]}]
  namespaces: [kube-system, ""]
- level: RequestResponse
  omitStages: [Panic, ResponseStarted, ResponseComplete]
  nonResourceURLs: [/api*, "*"]
`, nil},
		"JSON":                 {`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Request"}]}`, nil},
		"empty":                {"", []string{`apiVersion: Invalid value: "": must be audit.k8s.io/v1`, `kind: Invalid value: "": must be Policy`, "rules: Required value: without rules nothing is logged"}},
		"of another version":   {"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", []string{`apiVersion: Invalid value: "audit.k8s.io/v1beta1": must be audit.k8s.io/v1`}},
		"not a policy":         {"apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]", []string{`kind: Invalid value: "Event": must be Policy`}},
		"no rules":             {head + "rules: []", []string{"rules: Required value"}},
		"rule without a level": {head + "rules: [{verbs: [get]}]", []string{"rules[0].level: Required value: must be None, Metadata, Request or RequestResponse"}},
		"unknown level":        {head + "rules: [{level: None}, {level: Metdata}]", []string{`rules[1].level: Unsupported value: "Metdata": supported values: "None", "Metadata", "Request", "RequestResponse"`}},
		"unknown stage":        {head + "omitStages: [Received]\nrules: [{level: None}]", []string{`omitStages[0]: Invalid value: "Received": allowed stages are RequestReceived`}},
		"resources and URLs":   {head + "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]", []string{"rules[0].nonResourceURLs: Invalid value"}},
		"group with a version": {head + "rules: [{level: None, resources: [{group: apps/v1}]}]", []string{`rules[0].resources.group: Invalid value: "apps/v1"`}},
		"misspelt key":         {head + "rules: [{level: None, verb: [get]}]", []string{`rules[0].verb: unknown key: did you mean "verbs"?`}},
		"key elsewhere":        {head + "verbs: [get]\nrules: [{level: None}]", []string{"verbs: unknown key: it belongs elsewhere"}},
		"key twice":            {head + "rules: [{level: None, level: Request}]", []string{`"level" already set`}},
		"wrong kind":           {head + "rules: [{level: None, verbs: get}]", []string{"rules.verbs: a string is not what belongs here (slice)"}},
		"a bool for YAML":      {head + "rules: [{level: No}]", []string{"rules.level: a bool is not what belongs here (string): mend it, or put it in quotes"}},
		"not YAML":             {"a: [", []string{"not a YAML document"}},
		"everything is told":   {head + "rules: [{level: Al}, {verb: [get]}]", []string{"rules[0].level", "rules[1].level", "rules[1].verb"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(c.text))
			if len(c.want) == 0 {
				if err != nil || len(p.Rules) == 0 {
					t.Errorf("%+v, %v", p, err)
				}
				return
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "audit.policyFile: open "+path) || !strings.Contains(err.Error(), "write an audit policy there") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(head+"rules: [{level: Al}, {level: Nothing}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil {
		t.Fatal("a broken policy is taken")
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if !strings.HasPrefix(line, path+": rules[") {
			t.Errorf("line %d: %s", i, line)
		}
	}
}

// TestDocumentedPolicy: the policy of docs/security.md is one.
func TestDocumentedPolicy(t *testing.T) {
	page, err := os.ReadFile("../../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "    # /etc/hivemind/audit-policy.yaml\n")
	text, _, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatal("docs/security.md shows no policy")
	}
	p, err := Parse([]byte(strings.ReplaceAll("\n"+text, "\n    ", "\n")))
	if err != nil || len(p.Rules) < 4 {
		t.Errorf("%v, %v", p, err)
	}
}
