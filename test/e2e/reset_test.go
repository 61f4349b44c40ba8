// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// reset removes a cluster in full use, and compares the machine with what it was before the first up.
func (s *suite) reset(t *testing.T) {
	during, err := s.Look()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, line := range during.Left(s.before) {
		kind, _, _ := strings.Cut(line, " ")
		kinds[kind]++
	}
	t.Logf("the cluster has put on this machine: %v", kinds)
	for _, kind := range []string{"process", "mount", "link", "netns", "nft", "cgroup", "file"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s of the running cluster is seen: nothing left of it would prove nothing", kind)
		}
	}

	see(t, must(t)(s.Verb(t.Context(), "reset", "--yes")), "Nothing of the cluster")
	eventually(t, "nothing left", 5*time.Second, func() error {
		after, err := s.Look()
		if err != nil {
			return err
		}
		if left := after.Left(s.before); len(left) > 0 {
			return errLeft(left)
		}
		return nil
	})
	if _, err := os.Stat(s.Config.DataDir); err == nil {
		t.Errorf("%s is still there", s.Config.DataDir)
	}
	config, err := os.ReadFile(s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	see(t, string(config), "work.example", "secret")
	if strings.Contains(string(config), "hivemind") {
		t.Errorf("the kubeconfig still knows of the cluster:\n%s", config)
	}
	see(t, must(t)(s.Verb(t.Context(), "reset", "--yes")), "Nothing of the cluster") // again
}

type errLeft []string

func (e errLeft) Error() string { return "still there:\n" + strings.Join(e, "\n") }
