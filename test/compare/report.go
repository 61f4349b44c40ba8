// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/hivemind-project/hivemind/test/load"
)

// report is all that a run says.
type report struct {
	Date        string     `json:"date"`
	Versions    versions   `json:"versions"`
	CPUs        int        `json:"cpus"`
	LoadAverage float64    `json:"loadAverage"` // of the last minute before the run
	Rounds      int        `json:"rounds"`
	Clients     int        `json:"clients"`
	ClientQPS   int        `json:"clientQPS"` // of stock controllers; 0 is their default
	Sizes       load.Sizes `json:"sizes"`
	Rows        []line     `json:"rows"`
	Failed      int        `json:"failed"` // operations, of all systems and rounds
	FirstError  string     `json:"firstError,omitempty"`

	samples map[string][]map[string]float64 // by system, a map of values a round
}

type versions struct {
	Hivemind   string `json:"hivemind"`
	Kubernetes string `json:"kubernetes"`
}

// line is a row with its figures.
type line struct {
	Name     string      `json:"name"`
	Unit     string      `json:"unit"`
	Hivemind *figure     `json:"hivemind,omitempty"`
	Target   *verdict    `json:"target,omitempty"` // of Hivemind's figure itself
	Stock    *comparison `json:"stock,omitempty"`  // all of stock Kubernetes
	Alone    *comparison `json:"alone,omitempty"`  // etcd and the API server alone
}

// figure is what a system has shown.
type figure struct {
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
}

// comparison is what another system has shown, and Hivemind's figures divided by it.
type comparison struct {
	figure
	Ratio  *ratio   `json:"ratio,omitempty"` // missing where one of the two has not been measured, or shows 0
	Target *verdict `json:"target,omitempty"`
}

// ratio is that of the medians, and from where to where it went by round.
type ratio struct {
	OfMedians float64 `json:"ofMedians"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
}

// verdict says whether a target was met.
type verdict struct {
	Target string `json:"target"`
	Met    bool   `json:"met"`
}

func newReport(o options) *report {
	return &report{Date: time.Now().UTC().Format(time.DateOnly), CPUs: runtime.NumCPU(), LoadAverage: loadAverage(), Rounds: o.rounds,
		Clients: o.clients, ClientQPS: o.clientQPS, Sizes: o.Sizes, samples: map[string][]map[string]float64{}}
}

// add takes what a round has measured on a system. Rounds come in order.
func (r *report) add(system string, s *sample) {
	r.samples[system] = append(r.samples[system], s.values)
	if r.Failed += s.failed; r.FirstError == "" {
		r.FirstError = s.firstError
	}
}

// finish makes the lines.
func (r *report) finish(o options) {
	for _, row := range rows(o) {
		l := line{Name: row.title, Unit: row.unit, Hivemind: r.figure(hivemind, row.key)}
		l.Stock = compare(l.Hivemind, r.figure(full, row.key), row.full)
		l.Alone = compare(l.Hivemind, r.figure(alone, row.key), row.alone)
		for _, c := range []*comparison{l.Stock, l.Alone} {
			if c != nil && row.plain {
				c.Ratio = nil
			}
		}
		if l.Hivemind != nil {
			l.Target = judge(row.self, l.Hivemind.Median)
		}
		if l.Hivemind != nil || l.Stock != nil || l.Alone != nil {
			r.Rows = append(r.Rows, l)
		}
	}
}

// warn says when other programs have taken so much CPU time that the figures mean little.
func (r *report) warn(w io.Writer) {
	for _, l := range r.Rows {
		if l.Name != othersTitle {
			continue
		}
		worst := 0.0
		for _, f := range []*figure{l.Hivemind, l.Stock.theirs(), l.Alone.theirs()} {
			if f != nil {
				worst = max(worst, slices.Max(f.Rounds))
			}
		}
		if worst > tolerable {
			fmt.Fprintf(w, "compare: other programs took up to %.0f %% of a core during the load: run it again with nothing else on the machine\n", worst)
		}
	}
}

// figure is nil where a system was not measured.
func (r *report) figure(system, key string) *figure {
	var f figure
	for _, values := range r.samples[system] {
		if v, ok := values[key]; ok {
			f.Rounds = append(f.Rounds, v)
		}
	}
	if len(f.Rounds) == 0 {
		return nil
	}
	f.Median = median(f.Rounds)
	return &f
}

// compare divides Hivemind's figures by another system's.
func compare(ours, theirs *figure, t target) *comparison {
	if theirs == nil {
		return nil
	}
	c := &comparison{figure: *theirs}
	if ours == nil || len(ours.Rounds) != len(theirs.Rounds) || theirs.Median <= 0 {
		return c
	}
	c.Ratio = &ratio{OfMedians: ours.Median / theirs.Median, Least: math.Inf(1), Most: math.Inf(-1)}
	for i := range ours.Rounds {
		if theirs.Rounds[i] <= 0 {
			c.Ratio = nil
			return c
		}
		x := ours.Rounds[i] / theirs.Rounds[i]
		c.Ratio.Least, c.Ratio.Most = min(c.Ratio.Least, x), max(c.Ratio.Most, x)
	}
	c.Target = judge(t, c.Ratio.OfMedians)
	return c
}

// theirs is nil without a comparison.
func (c *comparison) theirs() *figure {
	if c == nil {
		return nil
	}
	return &c.figure
}

func judge(t target, figure float64) *verdict {
	if t == (target{}) {
		return nil
	}
	return &verdict{Target: t.String(), Met: t.met(figure)}
}

// median of at least one value; between the two in the middle when their number is even.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
