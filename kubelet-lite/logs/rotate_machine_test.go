// SPDX-License-Identifier: Apache-2.0

//go:build containers

package logs

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/kubelet-lite/containerd/containerdtest"
)

// A container goes on logging through a rotation, and no line is lost.
func TestRotateUnderLoad(t *testing.T) {
	n := containerdtest.Start(t)
	pod, config := n.Pod(t, "p", "u1")
	n.Container(t, pod, config, "c", 0, nil, "drip")
	log := filepath.Join(config.LogDirectory, "c", "0.log")
	r := NewRotator(n.Runtime, n.LogDir, 100, 3)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r.now = func() time.Time { now = now.Add(time.Second); return now }
	for range 3 {
		containerdtest.Eventually(t, "log grows", func() bool {
			info, err := os.Stat(log)
			return err == nil && info.Size() > 200
		})
		if err := r.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(log + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v; want three", files, err)
	}
	// The oldest is compressed, the last put aside is not; the lines of both and the present one follow one another.
	var lines []string
	for _, name := range []string{log + ".20300101-000002.gz", log + ".20300101-000003", log} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var in io.Reader = f
		if filepath.Ext(name) == ".gz" {
			if in, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		s := bufio.NewScanner(in)
		for s.Scan() {
			_, text, _ := cut3(s.Text())
			lines = append(lines, text)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	last := number(t, lines[0])
	for _, l := range lines[1:] {
		if n := number(t, l); n != last+1 {
			t.Fatalf("after line %d comes %d", last, n)
		}
		last++
	}
	if len(lines) < 6 {
		t.Errorf("only %d lines", len(lines))
	}
}

// cut3 splits a CRI log line into time, text and whether there was one.
func cut3(line string) (at, text string, ok bool) {
	f := strings.SplitN(line, " ", 4)
	if len(f) < 4 {
		return "", "", false
	}
	return f[0], f[3], true
}

func number(t *testing.T, line string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(line, "line "))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
