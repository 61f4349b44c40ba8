// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// examiner is a program that is started as e2e.test is: it finds the report's path in its arguments.
const examiner = `#!/bin/bash
for a in "$@"; do case "$a" in --ginkgo.json-report=*) report=${a#*=};; --ginkgo.focus=*) focus=${a#*=};; esac; done
echo "focus $focus"
echo "  STEP: Waiting for a pod @ 11/21/26 23:56:04"
`

// newWorker is a worker whose suite is a script.
func newWorker(t *testing.T, script string) *worker {
	t.Helper()
	dir := t.TempDir()
	e2e := filepath.Join(dir, "e2e.test")
	if err := os.WriteFile(e2e, []byte(examiner+script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	return &worker{suite: &suite{e2e: e2e}, cluster: &examinee{kubeconfig: "k", version: "v"}, dir: dir, limit: time.Minute}
}

var someTest = test{Name: "[sig-node] Pods should run (quickly) [Conformance]", SIG: "node"}

// writes is a line of a script that writes a report.
func writes(state string) string {
	return fmt.Sprintf(`echo '[{"SpecReports":[{"ContainerHierarchyTexts":["[sig-node] Pods"],"LeafNodeType":"It","LeafNodeText":"should run (quickly) [Conformance]",%s}]}]' > $report
`, state)
}

func TestExamine(t *testing.T) {
	for name, tc := range map[string]struct {
		script  string
		limit   time.Duration
		outcome outcome
		why     string
	}{
		"passes":               {script: writes(`"State":"passed","RunTime":2000000000`), outcome: passed},
		"fails":                {script: writes(`"State":"failed","Failure":{"Message":"no such pod"}`) + "exit 1", outcome: failed, why: "no such pod"},
		"crashes":              {script: "exit 2", outcome: failed, why: "e2e.test ended without a report: exit status 2"},
		"is ended by Ginkgo":   {script: writes(`"State":"timedout","Failure":{"Message":"A suite timeout occurred"}`) + "exit 1", outcome: timedOut, why: "not done after 1m0s; its last step: Waiting for a pod"},
		"cannot be ended":      {script: "trap '' INT TERM; sleep 600", limit: 2*time.Second - 2*grace, outcome: timedOut, why: "; its last step: Waiting for a pod"},
		"leaves something":     {script: "sleep 600 & echo $! > ${0%/*}/left; " + writes(`"State":"passed"`), outcome: passed},
		"writes half a report": {script: "echo '[{' > $report; exit 1", outcome: failed, why: "e2e.test ended without a report: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t, tc.script)
			if tc.limit != 0 {
				w.limit = tc.limit
			}
			r, err := w.examine(t.Context(), someTest)
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != tc.outcome || !strings.HasSuffix(r.Why, tc.why) || r.Version != "v" || r.Finished.IsZero() {
				t.Errorf("got %+v, want %s %q", r, tc.outcome, tc.why)
			}
			log, err := os.ReadFile(filepath.Join(w.dir, r.Log))
			if err != nil || !strings.HasPrefix(string(log), `focus  \[sig-node\] Pods should run \(quickly\) \[Conformance\]$`) {
				t.Errorf("its log holds %q, %v", log, err)
			}
			if pid, err := os.ReadFile(filepath.Join(w.dir, "left")); err == nil {
				awaitEnd(t, strings.TrimSpace(string(pid)))
			}
			if left, err := filepath.Glob(filepath.Join(w.dir, "hivemind-conformance-*")); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

// awaitEnd waits until a process is no longer there, or has ended and nobody has asked for its status.
func awaitEnd(t *testing.T, pid string) {
	t.Helper()
	for range 500 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %s goes on", pid)
}

func TestExamineStopped(t *testing.T) {
	w := newWorker(t, `touch ${0%/*}/began; sleep 600`)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(w.dir, "began")); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if r, err := w.examine(ctx, someTest); !errors.Is(err, context.Canceled) {
		t.Errorf("a test that was stopped has the result %+v, %v", r, err)
	}
}

func TestFileName(t *testing.T) {
	name := fileName("[sig-node] Pods should *not* / ever be [LinuxOnly] [Conformance]")
	if !strings.HasPrefix(name, "node-Pods-should-not-ever-be-LinuxOnly-Conformance-") || !strings.HasSuffix(name, ".log") {
		t.Errorf("got %s", name)
	}
	long := strings.Repeat("x", 300)
	if a, b := fileName(long+"a"), fileName(long+"b"); a == b || len(a) > 120 {
		t.Errorf("got %s and %s", a, b)
	}
}
