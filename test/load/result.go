// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Names of results. One of a Deployment has its replicas at the end.
const (
	CreateConfigMaps = "create ConfigMaps"
	CreatePods       = "create Pods"
	GetPods          = "get Pods"
	ListPods         = "list Pods"
	ReceivePods      = "list Pods, received" // until the last byte of ListPods has come; its CPU is that of ListPods
	ListPodsJSON     = "list Pods, JSON"
	PatchPods        = "patch Pod status"
	WatchEach        = "watch, seen by each"     // from the create request until a watcher has the event
	WatchLast        = "watch, seen by the last" // until all have it; its CPU is that of WatchEach
	DeletePods       = "delete Pods"
	Refill           = "create Pods again"
	deployment       = "Deployment of "
)

// Deployment is the name of the result of a Deployment with that many replicas. An operation is a Pod, and its latency the time from the request to create the
// Deployment until a watch has shown it: Max is when all are there.
func Deployment(replicas int) string { return fmt.Sprint(deployment, replicas) }

// Result is what one kind of operation took.
type Result struct {
	Name       string  `json:"name"`
	Operations int     `json:"operations"` // that succeeded
	Errors     int     `json:"errors"`
	FirstError string  `json:"firstError,omitempty"`
	Seconds    float64 `json:"seconds"` // from the first operation's start to the last one's end
	PerSecond  float64 `json:"perSecond"`

	// Latencies in milliseconds.
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`

	// CPU is the server's CPU time in milliseconds by operation, over all of its processes. A failed one counts as well.
	CPU float64 `json:"cpu"`
	// Processes are the server's after the phase.
	Processes map[string]ProcessResult `json:"processes,omitempty"`
}

// ProcessResult is what a process has spent in a phase, and holds after it.
type ProcessResult struct {
	CPUSeconds float64 `json:"cpuSeconds"`
	RSSMiB     float64 `json:"rssMiB"`
}

// RSS is the resident memory of all processes together, in MiB.
func (r Result) RSS() float64 {
	var sum float64
	for _, p := range r.Processes {
		sum += p.RSSMiB
	}
	return sum
}

// String is a line for people.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s %6d in %6.2f s, %8.1f/s, p50 %.2f p90 %.2f p99 %.2f max %.2f ms", r.Name, r.Operations, r.Seconds, r.PerSecond, r.P50, r.P90, r.P99, r.Max)
	if len(r.Processes) > 0 {
		fmt.Fprintf(&b, ", CPU %.2f ms each, RSS %.0f MiB", r.CPU, r.RSS())
	}
	if r.Errors > 0 {
		fmt.Fprintf(&b, ", %d FAILED: %s", r.Errors, r.FirstError)
	}
	return b.String()
}

// account adds what the processes have spent between two moments.
func (r *Result) account(before, after map[string]Usage) {
	var cpu time.Duration
	for name, u := range after {
		if r.Processes == nil {
			r.Processes = map[string]ProcessResult{}
		}
		spent := u.CPU - before[name].CPU
		cpu += spent
		r.Processes[name] = ProcessResult{CPUSeconds: spent.Seconds(), RSSMiB: u.RSS}
	}
	if n := r.Operations + r.Errors; n > 0 {
		r.CPU = milliseconds(cpu) / float64(n)
	}
}

// series are latencies while they are collected.
type series struct {
	took  []time.Duration
	errs  []error
	total time.Duration // from first to last
}

// result sums up. When nothing has succeeded it is an error.
func (s series) result(name string) (Result, error) {
	if len(s.took) == 0 {
		if len(s.errs) == 0 {
			return Result{}, fmt.Errorf("%s: nothing was measured", name)
		}
		return Result{}, fmt.Errorf("all %d requests failed, the first: %w", len(s.errs), s.errs[0])
	}
	slices.Sort(s.took)
	r := Result{Name: name, Operations: len(s.took), Errors: len(s.errs), Seconds: s.total.Seconds(),
		P50: s.percentile(50), P90: s.percentile(90), P99: s.percentile(99), Max: s.percentile(100)}
	if s.total > 0 {
		r.PerSecond = float64(len(s.took)) / s.total.Seconds()
	}
	if len(s.errs) > 0 {
		r.FirstError = s.errs[0].Error()
	}
	return r, nil
}

// percentile is the smallest latency, in milliseconds, that p percent do not exceed. The series is sorted.
func (s series) percentile(p float64) float64 {
	rank := int(math.Ceil(p / 100 * float64(len(s.took))))
	return milliseconds(s.took[max(rank, 1)-1])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
