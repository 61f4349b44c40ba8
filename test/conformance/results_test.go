// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func add(t *testing.T, s *store, results ...result) {
	t.Helper()
	for _, r := range results {
		if err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreSurvivesAStop(t *testing.T) {
	dir := t.TempDir()
	one := result{Test: "one", Outcome: failed, Why: "no", Seconds: 1.5, Finished: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Version: "v1", Log: "logs/one.log"}
	two := result{Test: "two", Outcome: passed, Version: "v1"}
	s := open(t, dir)
	add(t, s, one, two)

	// The machine stops while a third is written.
	file := filepath.Join(dir, "results.jsonl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, `{"test":"three","outco`...), 0o644); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := s.get(test{Name: "three"}); got.Outcome != notRun {
		t.Errorf("a line that was cut is the result %+v", got)
	}
	if diff := cmp.Diff(one, s.get(test{Name: "one"})); diff != "" {
		t.Error(diff)
	}

	// What is added after that is read again, and the last word counts.
	again := one
	again.Outcome, again.Why = passed, ""
	three := result{Test: "three", Outcome: skipped, Why: "no nodes"}
	add(t, s, three, again)
	s = open(t, dir)
	want := map[string]result{"one": again, "two": two, "three": three}
	if diff := cmp.Diff(want, s.results); diff != "" {
		t.Error(diff)
	}
}

func TestTakeOver(t *testing.T) {
	root := t.TempDir()
	before := open(t, filepath.Join(root, "v1-a"))
	add(t, before, result{Test: "one", Outcome: passed, Version: "a", Log: "logs/one.log"}, result{Test: "two", Outcome: failed, Version: "a"}, result{Test: "three", Outcome: passed, Version: "a"})
	now := open(t, filepath.Join(root, "v1-b"))
	own := result{Test: "three", Outcome: failed, Version: "b"}
	add(t, now, own)
	n, err := now.takeOver(before.dir)
	if err != nil || n != 1 {
		t.Fatalf("took over %d, %v; want 1", n, err)
	}
	want := map[string]result{"one": {Test: "one", Outcome: passed, Version: "a", Log: "../v1-a/logs/one.log"}, "three": own}
	if diff := cmp.Diff(want, now.results); diff != "" {
		t.Error(diff)
	}
	if _, err := now.takeOver(filepath.Join(root, "v1-c")); err == nil {
		t.Error("nothing was taken over without a word")
	}
}
