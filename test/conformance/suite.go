// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// test is one conformance test of the suite.
type test struct {
	Name  string `json:"name"`  // as the suite lists it: "[sig-node] ConfigMap should … [Conformance]"
	SIG   string `json:"sig"`   // "node"
	File  string `json:"file"`  // in k8s.io/kubernetes
	Since string `json:"since"` // the releases at which it was made or changed: "v1.9, v1.19"
}

// has tells a label that is written in the name: Serial, Slow, Disruptive, LinuxOnly.
func (t test) has(label string) bool { return strings.Contains(t.Name, "["+label+"]") }

// suite is the examiner: the programs, and what they can ask.
type suite struct {
	e2e     string // path of e2e.test
	kubectl string // path of the kubectl that the tests of sig-cli use
	version string // of k8s.io/kubernetes: "v1.36.3"
	tests   []test // in the order of the suite's own list
}

// openSuite asks e2e.test in a directory for its version and its list.
func openSuite(ctx context.Context, dir string) (*suite, error) {
	s := &suite{e2e: filepath.Join(dir, "e2e.test"), kubectl: filepath.Join(dir, "kubectl")}
	version, err := s.ask(ctx, "--version")
	if err != nil {
		return nil, err
	}
	s.version = strings.TrimSpace(string(version))
	list, err := s.ask(ctx, "--list-conformance-tests")
	if err != nil {
		return nil, err
	}
	if s.tests, err = parseList(list); err != nil {
		return nil, fmt.Errorf("read the list of %s %s: %w", s.e2e, s.version, err)
	}
	return s, nil
}

func (s *suite) ask(ctx context.Context, arg string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, s.e2e, arg)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w %s", s.e2e, arg, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

var leadingSIG = regexp.MustCompile(`^\[sig-([a-z-]+)\] `)

// parseList reads the suite's list, which is YAML (test/conformance/testdata/conformance.yaml of k8s.io/kubernetes).
func parseList(list []byte) ([]test, error) {
	var entries []struct {
		Codename string `json:"codename"`
		Release  string `json:"release"`
		File     string `json:"file"`
	}
	if err := yaml.Unmarshal(list, &entries); err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	tests := make([]test, 0, len(entries))
	for _, e := range entries {
		match := leadingSIG.FindStringSubmatch(e.Codename)
		if match == nil {
			return nil, fmt.Errorf("codename %q names no SIG", e.Codename)
		}
		tests = append(tests, test{Name: e.Codename, SIG: match[1], File: e.File, Since: e.Release})
	}
	return tests, nil
}
