// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// maxLogBytes is how much of its log a cluster keeps: some 300 lines.
	maxLogBytes = 64 << 10
	// linger is how long after the last cluster has stopped the API machinery may still say that this and that shuts down.
	linger = 100 * time.Millisecond
)

// tap is where klog's lines go, instead of to standard error, while clusters run. klog has one output for the whole process, so
// each cluster keeps the lines of all. It is let alone where the program has sent klog elsewhere itself.
var tap tapped

type tapped struct {
	turning   sync.Mutex // held while klog is told where to write; never while a line is written
	clusters  int
	open      bool
	threshold string // the flag stderrthreshold as it was

	mu         sync.Mutex
	recordings []*recording
	last       []byte
}

// recording is the end of what was logged while a cluster ran.
type recording struct {
	mu      sync.Mutex
	lines   [][]byte
	size    int
	heard   int // lines, since the recording began
	dropped bool
}

// record begins to keep what klog says.
func record() *recording {
	r := &recording{}
	tap.mu.Lock()
	tap.recordings = append(tap.recordings, r)
	tap.mu.Unlock()

	tap.turning.Lock()
	defer tap.turning.Unlock()
	if tap.clusters++; tap.clusters == 1 {
		tap.turnOn()
	}
	return r
}

// stop ends the recording; what was kept stays. It may be called again.
func (r *recording) stop() {
	tap.mu.Lock()
	i := slices.Index(tap.recordings, r)
	if i >= 0 {
		tap.recordings = slices.Delete(tap.recordings, i, i+1)
	}
	tap.mu.Unlock()
	if i < 0 {
		return
	}
	tap.turning.Lock()
	defer tap.turning.Unlock()
	if tap.clusters--; tap.clusters == 0 {
		time.AfterFunc(linger, tap.turnOff)
	}
}

// turnOn makes klog write here. klog.CaptureState and Restore would do both ways, but race with those who ask for klog's verbosity.
func (t *tapped) turnOn() {
	flags := klogFlags()
	if t.open || flags.Lookup("logtostderr").Value.String() != "true" {
		return
	}
	t.open, t.threshold = true, flags.Lookup("stderrthreshold").Value.String()
	setThreshold(flags, "FATAL")
	klog.SetOutput(t)
	klog.LogToStderr(false)
}

// turnOff makes klog write where it did, unless another cluster has started.
func (t *tapped) turnOff() {
	t.turning.Lock()
	defer t.turning.Unlock()
	if !t.open || t.clusters > 0 {
		return
	}
	klog.LogToStderr(true)
	klog.SetOutput(nil)
	setThreshold(klogFlags(), t.threshold)
	t.open = false
}

func klogFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	return flags
}

func setThreshold(flags *flag.FlagSet, value string) {
	if err := flags.Set("stderrthreshold", value); err != nil {
		panic(fmt.Sprintf("klog refuses stderrthreshold %s: %v", value, err)) // a severity's name, or what klog itself has said
	}
}

// Write is called by klog, one line at a time; errors and warnings come once for every severity up to theirs.
func (t *tapped) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if bytes.Equal(line, t.last) {
		return len(line), nil
	}
	t.last = bytes.Clone(line) // klog reuses it
	for _, r := range t.recordings {
		r.add(t.last)
	}
	if len(t.recordings) == 0 && line[0] != 'I' {
		return os.Stderr.Write(line) // what the program says itself meanwhile, where it matters
	}
	return len(line), nil
}

func (r *recording) add(line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.heard++
	for r.size += len(line); r.size > maxLogBytes && len(r.lines) > 1; r.dropped = true {
		r.size -= len(r.lines[0])
		r.lines = r.lines[1:]
	}
}

// mark is the point up to which lines have been heard.
func (r *recording) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard
}

// forget drops the lines heard since a mark.
func (r *recording) forget(from int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.lines) > 0 && r.heard > from {
		last := len(r.lines) - 1
		r.size -= len(r.lines[last])
		r.lines = r.lines[:last]
		r.heard--
	}
}

func (r *recording) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	if r.dropped {
		b.WriteString("…\n")
	}
	for _, line := range r.lines {
		b.Write(line)
	}
	return b.String()
}

var _ io.Writer = (*tapped)(nil)
