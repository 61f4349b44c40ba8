// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// newRunner is a runner of a suite that is a script, against a server that says whether it is ready.
func newRunner(t *testing.T, script string, ready func() bool) *runner {
	t.Helper()
	w := newWorker(t, script)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if !ready() {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	var err error
	if w.cluster.client, err = kubernetes.NewForConfig(&rest.Config{Host: server.URL}); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return &runner{tests: someSuite(t).tests, worker: w, store: open(t, w.dir), procs: 3, progress: newProgress(null, 5)}
}

// TestRun looks at the order in which tests begin and end: [Serial] ones begin when all others have ended, and run alone.
func TestRun(t *testing.T) {
	r := newRunner(t, `echo "begin $focus" >> ${0%/*}/order; sleep 0.05; echo "end $focus" >> ${0%/*}/order`, func() bool { return true })
	tests := r.tests
	if err := r.examine(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.worker.dir, "order"))
	if err != nil {
		t.Fatal(err)
	}
	order := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(order) != 10 {
		t.Fatalf("5 tests began and ended as %q", order)
	}
	for i, line := range order {
		if serial := strings.Contains(line, "Serial"); serial != (i >= 6) || serial && strings.HasPrefix(line, "begin") != (i%2 == 0) {
			t.Errorf("a [Serial] test did not run alone, and last: %q", order)
		}
	}
	for _, tt := range tests {
		if r.store.get(tt).Outcome != failed {
			t.Errorf("%s wrote no report and has the result %+v", tt.Name, r.store.get(tt))
		}
	}
}

func TestRunEndsWithTheServer(t *testing.T) {
	var asked atomic.Int32
	r := newRunner(t, "exit 1", func() bool { return asked.Add(1) < 2 })
	r.procs = 1
	tests := r.tests
	err := r.examine(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the server does not answer") {
		t.Fatalf("got %v", err)
	}
	done := slices.DeleteFunc(slices.Clone(tests), func(tt test) bool { return r.store.get(tt).Outcome == notRun })
	if len(done) != 2 {
		t.Errorf("%d tests were run on a server that was gone after 2", len(done))
	}
}

func TestRunStopped(t *testing.T) {
	r := newRunner(t, "exit 1", func() bool { return true })
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("that is enough"))
	if err := r.examine(stopped); err == nil || err.Error() != "that is enough" {
		t.Errorf("got %v", err)
	}
	if len(r.store.results) > 0 {
		t.Errorf("there are results %v of tests that were not run", r.store.results)
	}
}
