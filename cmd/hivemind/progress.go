// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// progress writes a line for each step of a start: what is done, how long that took, how long it is since the start.
type progress struct {
	out         io.Writer
	begin, last time.Time
}

func newProgress(con *console) *progress {
	now := time.Now()
	return &progress{out: con.out, begin: now, last: now}
}

// step tells that a step of this process is done, which took all the time since the last.
func (p *progress) step(name string) {
	now := time.Now()
	p.line(name, now.Sub(p.last))
	p.last = now
}

// component tells what hivemindd says.
func (p *progress) component(e daemon.Event) {
	if e.Component != "" {
		p.line(e.Component, e.Took)
	}
}

func (p *progress) line(name string, took time.Duration) {
	fmt.Fprintf(p.out, "  %-20s %8s   %8s\n", name, seconds(took), seconds(p.elapsed()))
}

func (p *progress) elapsed() time.Duration { return time.Since(p.begin) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// age is how long ago t was, as kubectl writes ages: the two largest units.
func age(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
