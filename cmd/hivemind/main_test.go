// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hivemind runs the command line in args and returns what a person gets.
func hivemind(t *testing.T, environ []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), &console{in: strings.NewReader(""), out: &stdout, err: &stderr, environ: environ}, args)
	return code, stdout.String(), stderr.String()
}

func TestExitCodesAndWhatToDoNext(t *testing.T) {
	data := t.TempDir()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(foreign, "policy.yaml")
	if err := os.WriteFile(policy, []byte("rules: [{level: All}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args    []string
		environ []string
		code    int
		want    string
	}{
		"unknown command":             {args: []string{"upp"}, code: exitUsage, want: `did you mean "up"?`},
		"unknown flag":                {args: []string{"up", "--api-prt", "1"}, code: exitUsage, want: "did you mean --api-port?"},
		"argument too many":           {args: []string{"down", "now"}, code: exitUsage, want: "hivemind down --help"},
		"unknown variable":            {args: []string{"up"}, environ: []string{"HIVEMIND_API_PROT=1"}, code: exitUsage, want: "did you mean HIVEMIND_API_PORT?"},
		"invalid value":               {args: []string{"up", "--api-port", "0x"}, code: exitUsage, want: "--api-port"},
		"unknown key":                 {args: []string{"config", "get", "api.prot"}, code: exitUsage, want: `did you mean "api.port"?`},
		"unknown output":              {args: []string{"status", "-o", "xml", "--data-dir", data}, code: exitUsage, want: "table, wide, json, yaml or name"},
		"unknown log":                 {args: []string{"logs", "etcd"}, code: exitUsage, want: "hivemind logs --help"},
		"status of nothing":           {args: []string{"status", "--data-dir", data}, code: exitNotRunning, want: "hivemind up -d --data-dir " + data},
		"down of nothing":             {args: []string{"down", "--data-dir", data}, code: exitOK},
		"logs of nothing":             {args: []string{"logs", "--data-dir", data}, code: exitFailure, want: "hivemind up -d"},
		"kubeconfig of nothing":       {args: []string{"kubeconfig", "--data-dir", data}, code: exitFailure, want: "hivemind up -d"},
		"encryption of nothing":       {args: []string{"secrets-encrypt", "status", "--data-dir", data}, code: exitNotRunning, want: "hivemind up -d --data-dir " + data},
		"rotation of nothing":         {args: []string{"secrets-encrypt", "rotate", "--data-dir", data}, code: exitNotRunning, want: "does not run"},
		"audit without a policy":      {args: []string{"up", "--audit-log-path", "/a", "--data-dir", data}, code: exitUsage, want: "audit.policyFile: Required value"},
		"broken audit policy":         {args: []string{"up", "--audit-policy-file", policy, "--data-dir", data}, code: exitUsage, want: policy + `: rules[0].level: Unsupported value: "All"`},
		"reset with nobody to ask":    {args: []string{"reset", "--data-dir", data}, code: exitUsage, want: "reset --yes"},
		"reset of somebody's":         {args: []string{"reset", "--yes", "--data-dir", foreign}, code: exitFailure, want: "does not look like a data directory"},
		"kubectl, which is not there": {args: []string{"--data-dir", data, "kubectl", "get", "pods", "-o", "wide"}, code: exitFailure, want: "make build"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := hivemind(t, c.environ, c.args...)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d, want %d; it said %q, want %q", code, c.code, errs, c.want)
			}
			if code != exitOK && !strings.Contains(errs, "Next: ") {
				t.Errorf("%q does not say what to do next", errs)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.tex")); err != nil {
		t.Error(err)
	}
}

func TestConfigGetAndView(t *testing.T) {
	data := t.TempDir()
	environ := []string{"HIVEMIND_API_PORT=7443", "HIVEMIND_DATA_DIR=" + data}
	if code, out, errs := hivemind(t, environ, "config", "get", "api.port"); code != exitOK || out != "7443\n" {
		t.Errorf("get: %d, %q, %q", code, out, errs)
	}
	code, out, errs := hivemind(t, environ, "config", "view")
	if code != exitOK || !strings.Contains(out, "port: 7443") || !strings.Contains(out, "dataDir: "+data) {
		t.Errorf("view: %d, %q, %q", code, out, errs)
	}
	file := filepath.Join(data, "c.yaml")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := hivemind(t, nil, "config", "validate", file); code != exitOK {
		t.Errorf("what view prints is not valid: %q", errs)
	}
}

func TestConfigSetKeepsTheRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "config.yaml")
	steps := []struct {
		key, value string
		code       int
	}{
		{"api.port", "7443", exitOK},
		{"api.extraSANs", "a.example,b.example", exitOK},
		{"node.labels", "disk=ssd", exitOK},
		{"api.port", "seven", exitUsage},
		{"log.level", "loud", exitUsage},
		{"storage.unsafeNoFsync", "true", exitOK},
		{"api.port", "8443", exitOK},
	}
	for i, s := range steps {
		if code, _, errs := hivemind(t, nil, "config", "set", "--config", file, s.key, s.value); code != s.code {
			t.Fatalf("set %s %s: %d, want %d: %s", s.key, s.value, code, s.code, errs)
		}
		if i == 0 {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			commented := "# of the lab\n" + strings.Replace(string(text), "7443", "7443 # not the usual", 1)
			if err := os.WriteFile(file, []byte(commented), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# of the lab", "port: 8443 # not the usual", "- b.example", "disk: ssd", "unsafeNoFsync: true"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestLogTail(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 99)+"\n", 3000)
	for name, c := range map[string]struct {
		text string
		tail string
		want string
	}{
		"all":             {"a\nb\n", "-1", "a\nb\n"},
		"none":            {"a\nb\n", "0", ""},
		"last":            {"a\nb\nc\n", "1", "c\n"},
		"more than there": {"a\nb\n", "10", "a\nb\n"},
		"unfinished line": {"a\nb\nc", "2", "b\nc"},
		"empty":           {"", "5", ""},
		"many blocks":     {long, "2000", long[:2000*100]},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			if err := os.Mkdir(filepath.Join(data, "logs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(data, "logs", "containerd.log"), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := hivemind(t, nil, "logs", "containerd", "--data-dir", data, "-n", c.tail)
			if code != exitOK || out != c.want {
				t.Errorf("%d, %d bytes, want %d; %s", code, len(out), len(c.want), errs)
			}
		})
	}
}
