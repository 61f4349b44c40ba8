// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells of a run: a line for every test that ends, and on a terminal a last line that says how far it is, which is written anew each time.
type progress struct {
	out      io.Writer
	terminal bool
	width    int // of the terminal
	begin    time.Time

	mu      sync.Mutex
	total   int
	done    int
	counts  map[outcome]int
	running []string
}

func newProgress(out *os.File, total int) *progress {
	p := &progress{out: out, total: total, begin: time.Now(), counts: map[outcome]int{}}
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		p.terminal, p.width = true, int(size.Col)
	}
	return p
}

func (p *progress) began(t test) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = append(p.running, t.Name)
	p.status()
}

func (p *progress) ended(t test, r result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, name := range p.running {
		if name == t.Name {
			p.running = append(p.running[:i], p.running[i+1:]...)
			break
		}
	}
	p.done++
	p.counts[r.Outcome]++
	line := fmt.Sprintf("%3d/%d %-9s %6.1f s  %s", p.done, p.total, r.Outcome, r.Seconds, t.Name)
	if r.Why != "" {
		line += "\n" + strings.Repeat(" ", 8) + r.Why
	}
	p.clear()
	fmt.Fprintln(p.out, line)
	p.status()
}

// status writes the last line of a terminal: counts, time left, what runs.
func (p *progress) status() {
	if !p.terminal {
		return
	}
	p.clear()
	line := fmt.Sprintf("%d of %d done, %d did not pass", p.done, p.total, p.done-p.counts[passed])
	if left := p.left(time.Now()); left > 0 {
		line += ", about " + left.String() + " left"
	}
	if len(p.running) > 0 {
		line += "; now " + strings.Join(p.running, ", ")
	}
	if runes := []rune(line); len(runes) >= p.width {
		line = string(runes[:p.width-1])
	}
	fmt.Fprint(p.out, line)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// left estimates the time to the end from what has been done; 0 while nothing has.
func (p *progress) left(now time.Time) time.Duration {
	if p.done == 0 {
		return 0
	}
	left := now.Sub(p.begin) / time.Duration(p.done) * time.Duration(p.total-p.done)
	if left > 2*time.Minute {
		return left.Round(time.Minute)
	}
	return left.Round(time.Second)
}

// finish leaves the terminal clean.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.terminal = false
}
