// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 30 * time.Second

// stays are goroutines of libraries that run until the process ends, each with the reason. There is one of each, however many
// clusters have come and gone.
var stays = []struct{ createdBy, why string }{
	{"k8s.io/apiserver/pkg/server/healthz.(*log).Check.func1", "the health check \"log\" flushes klog once a minute from its first call on, by wait.Forever in a sync.Once"},
}

// holdings are what a process has that a cluster might leave behind.
type holdings struct {
	goroutines map[string]string // by id, the stack
	files      []string          // what open file descriptors lead to
}

var goroutineHeader = regexp.MustCompile(`^goroutine (\d+) \[`)

func held(t *testing.T) holdings {
	t.Helper()
	h := holdings{goroutines: map[string]string{}}
	stacks := make([]byte, 64<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if m := goroutineHeader.FindStringSubmatch(stack); m != nil && !staying(stack) {
			h.goroutines[m[1]] = stack
		}
	}
	const dir = "/proc/self/fd"
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		// The one that the list was read by is gone already.
		if to, err := os.Readlink(filepath.Join(dir, d.Name())); err == nil {
			h.files = append(h.files, d.Name()+" "+to)
		}
	}
	return h
}

func staying(stack string) bool {
	return slices.ContainsFunc(stays, func(s struct{ createdBy, why string }) bool {
		return strings.Contains(stack, "created by "+s.createdBy)
	})
}

// since is what is held and was not before.
func (h holdings) since(before holdings) []string {
	var more []string
	for id, stack := range h.goroutines {
		if _, ok := before.goroutines[id]; !ok {
			more = append(more, stack)
		}
	}
	for _, file := range h.files {
		if !slices.Contains(before.files, file) {
			more = append(more, "open file "+file)
		}
	}
	return more
}

// nothingLeft fails the test unless all that was opened and started since before has gone. Goroutines that have been told to end may
// take a moment.
func nothingLeft(t *testing.T, before holdings) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		left := held(t).since(before)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and files are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

// heap is how many bytes live objects take.
func heap() uint64 {
	var m runtime.MemStats
	for range 3 { // finalizers and weak pointers let go of objects one collection later
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
