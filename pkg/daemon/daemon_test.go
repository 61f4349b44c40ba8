// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOneProcessRunsACluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	running := func(want int) {
		t.Helper()
		if pid, err := Running(dir); pid != want || err != nil {
			t.Errorf("Running = %d, %v; want %d", pid, err, want)
		}
	}
	running(0)
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	running(os.Getpid())
	var already *RunningError
	if _, err := Lock(dir); !errors.As(err, &already) || already.PID != os.Getpid() {
		t.Errorf("second Lock: %v", err)
	}
	running(os.Getpid()) // asking and failing took nothing away
	unlock()
	running(0) // although the file is still there
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatalf("Lock after a stale file: %v", err)
	}
	unlock()
}

func TestKilled(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   bool
	}{
		"runs":             {"Name:\thivemindd\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000100\n", false},
		"other signals":    {"SigPnd:\t0000000000004200\nShdPnd:\t0000000000000080\n", false},
		"its first thread": {"SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n", true},
		"all of it":        {"SigPnd:\t0000000000000000\nShdPnd:\t0000000000004100\n", true},
		"nothing to read":  {"", false},
	} {
		if got := killed(c.status); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if ended(os.Getpid()) {
		t.Error("this process has not ended")
	}
}

type pipeEnd struct {
	bytes.Buffer
	closed bool
}

func (p *pipeEnd) Close() error { p.closed = true; return nil }

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (gone) Close() error              { return nil }

func TestProgressReachesReaderAndFile(t *testing.T) {
	for name, c := range map[string]struct {
		end       func(*Reporter) error
		wantReady bool
		wantErr   string
	}{
		"ready":  {end: (*Reporter).Ready, wantReady: true},
		"failed": {end: func(r *Reporter) error { return r.Failed(errors.New("port taken")) }, wantErr: "port taken"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out := &pipeEnd{}
			r, err := NewReporter(Status{RunDir: dir, PID: 7}, out)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Component("storage", time.Second), c.end(r)); err != nil {
				t.Fatal(err)
			}
			var got []Event
			if err := Follow(out, func(e Event) { got = append(got, e) }); err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 || got[0] != (Event{Component: "storage", Took: time.Second}) || got[1] != (Event{Ready: c.wantReady, Error: c.wantErr}) {
				t.Errorf("events %+v", got)
			}
			if !out.closed {
				t.Error("the reader would wait for ever")
			}
			s, err := Read(dir)
			if err != nil || s.PID != 7 || s.Ready != c.wantReady || s.Error != c.wantErr || len(s.Components) != 1 {
				t.Errorf("status %+v, %v", s, err)
			}
		})
	}
}

func TestReaderMayGoAway(t *testing.T) {
	dir := t.TempDir()
	r, err := NewReporter(Status{RunDir: dir}, gone{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Component("a", 0), r.Component("b", 0), r.Ready()); err != nil {
		t.Error(err)
	}
	if s, err := Read(dir); err != nil || !s.Ready {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestFollowTellsOfASuddenEnd(t *testing.T) {
	err := Follow(strings.NewReader(`{"component":"storage"}`+"\n"), func(Event) {})
	if !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want one that wraps EOF", err)
	}
}

func TestReadWithoutStatus(t *testing.T) {
	if s, err := Read(t.TempDir()); s != nil || err != nil {
		t.Errorf("Read = %v, %v", s, err)
	}
}
