// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// outcome is what came of a test. A test without one was not run.
type outcome string

const (
	passed   outcome = "passed"
	failed   outcome = "failed"
	skipped  outcome = "skipped" // by the test itself: it found the cluster unfit to be asked
	timedOut outcome = "timed out"
	notRun   outcome = "not run"
)

// result is a test's outcome, as it is stored.
type result struct {
	Test     string    `json:"test"`
	Outcome  outcome   `json:"outcome"`
	Why      string    `json:"why,omitempty"` // one line; "" where it passed
	Seconds  float64   `json:"seconds"`
	Finished time.Time `json:"finished"`
	Version  string    `json:"version"` // of what was examined
	// Simulated says that no containers ran: the nodes were simulated.
	Simulated bool   `json:"simulated,omitempty"`
	Log       string `json:"log,omitempty"` // of the test, relative to the directory of the results
}

// store keeps results in a directory: results.jsonl, to which a line is added (and synced) with every test that ends, and logs/. It can be stopped at any
// moment: a line that was not written whole is not a result. The last line of a test counts. Opening costs a read of the file.
type store struct {
	dir string

	mu      sync.Mutex
	file    *os.File
	results map[string]result
}

// openStore reads what is known.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return nil, err
	}
	s := &store{dir: dir}
	var err error
	if s.results, err = readResults(dir); err != nil {
		return nil, err
	}
	if s.file, err = os.OpenFile(filepath.Join(dir, "results.jsonl"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		return nil, err
	}
	return s, s.endLine()
}

// readResults returns the results in a directory by the name of the test; none where there is no such file.
func readResults(dir string) (map[string]result, error) {
	results := map[string]result{}
	f, err := os.Open(filepath.Join(dir, "results.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return results, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var r result
		if err := json.Unmarshal(scanner.Bytes(), &r); err == nil && r.Test != "" {
			results[r.Test] = r
		}
	}
	return results, scanner.Err()
}

// endLine ends a last line that was cut, so that what is added stands on a line of its own.
func (s *store) endLine() error {
	info, err := s.file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := s.file.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = s.file.WriteString("\n")
	}
	return err
}

// add stores a result for good.
func (s *store) add(r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("store the result of %s: %w", r.Test, err)
	}
	s.results[r.Test] = r
	return s.file.Sync()
}

// get returns what is known of a test; its outcome is notRun where that is nothing.
func (s *store) get(t test) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.results[t.Name]; ok {
		return r
	}
	return result{Test: t.Name, Outcome: notRun}
}

// takeOver adds the tests that passed in another directory, with the version at which they did.
func (s *store) takeOver(dir string) (int, error) {
	others, err := readResults(dir)
	if err != nil {
		return 0, err
	}
	if len(others) == 0 {
		return 0, fmt.Errorf("there are no results in %s", dir)
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(others)) {
		r := others[name]
		if _, known := s.results[name]; known || r.Outcome != passed {
			continue
		}
		if r.Log != "" {
			r.Log = filepath.Join("..", filepath.Base(dir), r.Log)
		}
		if err := s.add(r); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *store) close() error { return s.file.Close() }
