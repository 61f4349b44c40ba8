// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestStop(t *testing.T) {
	patient, err := Start(exec.Command("sleep", "600"), t.TempDir(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	if err := patient.Err(); err != nil {
		t.Error(err)
	}
	if err := patient.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := patient.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v", err)
	}

	deaf, err := Start(exec.Command("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.01; done"), t.TempDir(), "deaf")
	if err != nil {
		t.Fatal(err)
	}
	for deaf.Tail() != "deaf" {
		if err := deaf.Err(); err != nil {
			t.Fatal(err)
		}
	}
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := deaf.Stop(now); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop returns %v of a program that does not end when asked", err)
	}
	if err := deaf.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}

func TestErr(t *testing.T) {
	p, err := Start(exec.Command("sh", "-c", "echo out; echo err >&2; exit 3"), t.TempDir(), "broken")
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); err == nil || !strings.HasPrefix(err.Error(), "broken has ended (exit status 3)") || !strings.HasSuffix(err.Error(), "out\nerr") {
		t.Errorf("%v", err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Start(exec.Command("/nowhere"), t.TempDir(), "nowhere"); err == nil {
		t.Error("started what is not there")
	}
}

func TestLastLines(t *testing.T) {
	for text, want := range map[string]string{"": "", "a\n": "a", "a\nb\nc\n": "b\nc"} {
		if got := LastLines(text, 2); got != want {
			t.Errorf("LastLines(%q, 2) = %q, want %q", text, got, want)
		}
	}
}
