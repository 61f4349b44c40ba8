// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestLists looks at the lists themselves: each name stands there once, in order, and what is pinned needs no node with containers.
func TestLists(t *testing.T) {
	noNode, twoNodes, pinned := lines(noNodeList), lines(twoNodesList), lines(pinnedList)
	for name, list := range map[string][]string{"no-node.txt": noNode, "two-nodes.txt": twoNodes, "pinned.txt": pinned} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("%s is not sorted, or has a name twice", name)
		}
		for _, line := range list {
			if !leadingSIG.MatchString(line) || !strings.Contains(line, "[Conformance]") {
				t.Errorf("%s: %q is not the name of a conformance test", name, line)
			}
		}
	}
	for _, name := range pinned {
		if !slices.Contains(noNode, name) && !slices.Contains(twoNodes, name) {
			t.Errorf("pinned.txt: %q is neither in no-node.txt nor in two-nodes.txt: what is pinned runs no containers", name)
		}
	}
	for _, name := range twoNodes {
		if slices.Contains(noNode, name) {
			t.Errorf("two-nodes.txt: %q is in no-node.txt as well", name)
		}
	}
}

// TestPinnedOnlyGrows holds what pinned.txt says of itself: its head counts its names, and a name that was ever committed is there still, unless
// a line "# gone: NAME" says that the suite no longer has it.
func TestPinnedOnlyGrows(t *testing.T) {
	now := lines(pinnedList)
	head := regexp.MustCompile(`^# (\d+) tests`).FindStringSubmatch(pinnedList)
	if head == nil {
		t.Fatal(`pinned.txt does not begin with "# N tests"`)
	}
	if n, err := strconv.Atoi(head[1]); err != nil || n != len(now) {
		t.Errorf("pinned.txt says that it has %s tests, and has %d", head[1], len(now))
	}
	history, err := exec.Command("git", "log", "--format=", "--patch", "--no-ext-diff", "--no-renames", "--", "pinned.txt").Output()
	if err != nil {
		t.Skipf("there is no git history to compare pinned.txt with: %v", err)
	}
	for line := range strings.Lines(string(history)) {
		name, was := strings.CutPrefix(strings.TrimSpace(line), "-[sig-")
		if name = "[sig-" + name; was && !slices.Contains(now, name) && !strings.Contains(pinnedList, "\n# gone: "+name+"\n") {
			t.Errorf("pinned.txt no longer has %q", name)
		}
	}
}
