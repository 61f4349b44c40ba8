// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/test/parity/report"
)

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-help"}, exitRan, ""},
		{[]string{"-o", "picture"}, exitUsage, "-o picture is none of table, wide, json, yaml, name"},
		{[]string{"-kinds", "("}, exitUsage, "-kinds: error parsing regexp"},
		{[]string{"-workers", "0"}, exitUsage, "-workers must be positive"},
		{[]string{"-n", "many"}, exitUsage, "see -help"},
		{[]string{"everything"}, exitUsage, `unexpected argument "everything"`},
		{[]string{"-stock-kubeconfig", "/nowhere", "-hivemind-kubeconfig", "/nowhere"}, exitBroken, "read the kubeconfig of stock"},
		{[]string{"-stock-kubeconfig", "/nowhere", "-hivemind-kubeconfig", "/nowhere", "-service-cidr", "x"}, exitUsage, "-service-cidr"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var out, tell strings.Builder
			code, err := command(t.Context(), tt.args, &out, &tell)
			if code != tt.code || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("exit code %d, %v", code, err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := command(ctx, []string{"-hivemind-kubeconfig", "x"}, &strings.Builder{}, &strings.Builder{}); code != exitInterrupted {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestHivemindAgreesWithItself plays on two Hiveminds: whatever they make up by themselves must have been made the same, and requests that
// run side by side must not bear on each other.
func TestHivemindAgreesWithItself(t *testing.T) {
	kubeconfigs := make([]string, 2)
	for i := range kubeconfigs {
		dir := t.TempDir()
		group, kubeconfig, err := startHivemind(t.Context(), dir, "10.96.0.0/16")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
			defer cancel()
			if err := group.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
		kubeconfigs[i] = kubeconfig
	}
	page := filepath.Join(t.TempDir(), "parity.md")
	args := []string{"-stock-kubeconfig", kubeconfigs[0], "-hivemind-kubeconfig", kubeconfigs[1], "-kinds", "^v1 (ConfigMap|Pod|Service)$|SubjectAccessReview", "-n", "60", "-min", "100", "-write", page}
	var out, tell strings.Builder
	code, err := command(t.Context(), args, &out, &tell)
	if code != exitRan || err != nil {
		t.Errorf("exit code %d, %v\n%s\n%s", code, err, tell.String(), out.String())
	}
	for _, want := range []string{"v1 Pod", "0 distinct disagreements", "100.00 % of"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "| v1 Pod |") {
		t.Errorf("page: %v\n%s", err, text)
	}
	// Servers that are not empty any more are no ground to compare on.
	code, err = command(t.Context(), append(args, "-kinds", "NoSuchKind", "-o", string(report.Name)), &out, &tell)
	if code != exitUsage || err == nil || !strings.Contains(err.Error(), "matches no kind") {
		t.Errorf("exit code %d, %v", code, err)
	}
}
