// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
)

// LogOptions say what of a log is read.
type LogOptions = logs.LogOptions

// ReadLogs writes a container's log as it would be by now, and with Follow goes on until the container has ended. Nothing of a log is
// kept: each line follows from when the container started and from its pod's annotations.
func (r *Runtime) ReadLogs(ctx context.Context, id string, opts LogOptions, stdout, _ io.Writer) error {
	j, exited, err := r.journal(id)
	if err != nil || stdout == nil {
		return err
	}
	out := &limited{w: stdout, left: -1}
	if opts.LimitBytes != nil {
		out.left = *opts.LimitBytes
	}
	next := sort.Search(j.count(time.Now()), func(i int) bool { return j.at(i).After(opts.Since) })
	if opts.TailLines != nil {
		next = max(next, j.count(time.Now())-int(*opts.TailLines))
	}
	for {
		for end := j.count(time.Now()); next < end; next++ {
			line := j.line(next) + "\n"
			if opts.Timestamp {
				line = j.at(next).Format(time.RFC3339Nano) + " " + line
			}
			if err := out.write(line); err != nil || out.left == 0 {
				return err
			}
		}
		if !opts.Follow || !j.ended.IsZero() {
			return nil
		}
		if err := j.wait(ctx, next, exited); err != nil {
			return nil // the reader has gone
		}
		if j, exited, err = r.journal(id); err != nil {
			return nil // and so has the container
		}
	}
}

// journal is all that a container's log follows from.
type journal struct {
	name           string
	lines          []string
	every          time.Duration
	started, ended time.Time
	last           string // the line at its end, if any
}

func (r *Runtime) journal(id string) (journal, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return journal{}, nil, status.Errorf(codes.NotFound, "container %q not found", id)
	}
	j := journal{name: c.name}
	s := c.settings()
	j.every = s.duration(LogEvery, 0)
	text, asked := s.get(Log)
	if asked {
		j.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	} else {
		j.lines = []string{fmt.Sprintf("container %s of pod %s/%s runs, simulated", c.name, c.box.namespace, c.box.name)}
	}
	if c.startedAt != 0 {
		j.started = time.Unix(0, c.startedAt)
	}
	if c.state == runtimeapi.ContainerState_CONTAINER_EXITED {
		j.ended = time.Unix(0, c.finishedAt)
		if !asked {
			j.last = fmt.Sprintf("container %s ended with exit code %d (%s)", c.name, c.exitCode, c.reason)
		}
	}
	return j, c.ended(), nil
}

// rounds is how often the lines have been logged at a moment.
func (j *journal) rounds(now time.Time) int {
	if !j.ended.IsZero() && j.ended.Before(now) {
		now = j.ended
	}
	switch {
	case j.started.IsZero() || now.Before(j.started):
		return 0
	case j.every <= 0:
		return 1
	}
	return 1 + int(now.Sub(j.started)/j.every)
}

// count is how many lines there are at a moment.
func (j *journal) count(now time.Time) int {
	n := j.rounds(now) * len(j.lines)
	if j.last != "" {
		n++
	}
	return n
}

func (j *journal) isLast(i int) bool { return j.last != "" && i == j.count(j.ended)-1 }

// at is when line i was logged.
func (j *journal) at(i int) time.Time {
	if j.isLast(i) {
		return j.ended
	}
	return j.started.Add(time.Duration(i/len(j.lines)) * j.every)
}

func (j *journal) line(i int) string {
	if j.isLast(i) {
		return j.last
	}
	return j.lines[i%len(j.lines)]
}

// wait returns when line i may be there, or the container has ended; an error says that ctx has.
func (j *journal) wait(ctx context.Context, i int, exited <-chan struct{}) error {
	var due <-chan time.Time
	if j.started.IsZero() {
		due = time.After(100 * time.Millisecond)
	} else if j.every > 0 {
		timer := time.NewTimer(time.Until(j.at(i)))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// limited writes at most left bytes; all where that is negative.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) write(text string) error {
	if l.left >= 0 && int64(len(text)) > l.left {
		text = text[:l.left]
	}
	n, err := io.WriteString(l.w, text)
	if l.left >= 0 {
		l.left -= int64(n)
	}
	return err
}
