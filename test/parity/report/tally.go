// SPDX-License-Identifier: Apache-2.0

// Package report counts what comparisons give and tells it: agreement by kind and operation, and each distinct disagreement once, with how
// often it was met and the smallest request that shows it.
package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hivemind-project/hivemind/test/parity/compare"
	"github.com/hivemind-project/hivemind/test/parity/play"
)

// Count is how many cases there were, and how many agreed.
type Count struct {
	Cases  int `json:"cases"`
	Agreed int `json:"agreed"`
	// Explained are those that agreed or differ only in what the versions explain.
	Explained int `json:"explained"`
}

func (c *Count) add(o Count) {
	c.Cases += o.Cases
	c.Agreed += o.Agreed
	c.Explained += o.Explained
}

// Percent is the share of cases that agree but for the versions; Raw counts these as disagreement.
func (c Count) Percent() float64 { return percent(c.Explained, c.Cases) }

// Raw is the share of cases whose answers are the same.
func (c Count) Raw() float64 { return percent(c.Agreed, c.Cases) }

func percent(part, whole int) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// Disagreement is one that was met, perhaps often.
type Disagreement struct {
	ID string `json:"id"`
	compare.Signature
	Count int            `json:"count"`
	Kinds map[string]int `json:"kinds"`
	Ops   map[string]int `json:"operations"`
	// Version is why the versions of the two explain it; "" where they do not.
	Version string `json:"version,omitempty"`
	// Reason is why it stays where they do not; "" where that is not known.
	Reason string `json:"reason,omitempty"`
	// Example is the smallest request that shows it.
	Example Example `json:"example"`
}

// Example is a request and what in the answers differs.
type Example struct {
	Kind        string             `json:"kind"`
	Case        string             `json:"case"`
	Request     string             `json:"request"`
	ContentType string             `json:"contentType,omitempty"`
	Body        string             `json:"body,omitempty"`
	Difference  compare.Difference `json:"difference"`
}

// Note is something that is no disagreement and must be known.
type Note struct {
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"`
	Why    string `json:"why,omitempty"`
	Cases  int    `json:"cases,omitempty"`
}

// Tally collects. It may be told from several goroutines.
type Tally struct {
	lock          sync.Mutex
	counts        map[string]map[string]*Count // by kind and operation
	disagreements map[compare.Signature]*Disagreement
	met           map[*compare.Rule]bool
	defects       []Note
	blocked       []Note
	unsent        map[string][]string
}

// NewTally returns an empty one.
func NewTally() *Tally {
	return &Tally{counts: map[string]map[string]*Count{}, disagreements: map[compare.Signature]*Disagreement{}, met: map[*compare.Rule]bool{}, unsent: map[string][]string{}}
}

// Record counts a result.
func (t *Tally) Record(r play.Result) {
	t.lock.Lock()
	defer t.lock.Unlock()
	count := Count{Cases: 1, Agreed: 1, Explained: 1}
	seen := map[compare.Signature]bool{}
	for _, d := range r.Differences {
		d.Kind = r.Kind
		count.Agreed = 0
		known := Disagreement{Signature: d.Signature()}
		rule := d.Version()
		if rule != nil {
			known.Version = rule.Reason
		} else {
			count.Explained = 0
			if rule = d.Reason(); rule != nil {
				known.Reason = rule.Reason
			}
		}
		if rule != nil {
			t.met[rule] = true
			known.Signature = compare.Signature{Aspect: d.Aspect, Stock: rule.Reason} // all that a rule explains is told at once
		}
		if seen[known.Signature] {
			continue
		}
		seen[known.Signature] = true
		t.disagree(r, d, known)
	}
	if t.counts[r.Kind] == nil {
		t.counts[r.Kind] = map[string]*Count{}
	}
	if t.counts[r.Kind][r.Op] == nil {
		t.counts[r.Kind][r.Op] = &Count{}
	}
	t.counts[r.Kind][r.Op].add(count)
}

// disagree counts a disagreement that is like one that is known already, or the first of its like.
func (t *Tally) disagree(r play.Result, d compare.Difference, like Disagreement) {
	known := t.disagreements[like.Signature]
	if known == nil {
		known = &like
		known.ID, known.Kinds, known.Ops = like.Signature.ID(), map[string]int{}, map[string]int{}
		t.disagreements[like.Signature] = known
	}
	known.Count++
	known.Kinds[r.Kind]++
	known.Ops[r.Op]++
	// The smallest, and of several the first by name: the same whichever came first.
	better := known.Count == 1 || cmp.Or(cmp.Compare(len(r.Request.Body), len(known.Example.Body)), cmp.Compare(r.Kind, known.Example.Kind), cmp.Compare(r.ID, known.Example.Case)) < 0
	if better {
		known.Example = Example{r.Kind, r.ID, r.Request.String(), r.Request.ContentType, string(r.Request.Body), d}
	}
}

// Defect notes an object of the corpus that stock refuses.
func (t *Tally) Defect(kind, object, why string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.defects = append(t.defects, Note{Kind: kind, Object: object, Why: why})
}

// Blocked notes cases that could not be compared.
func (t *Tally) Blocked(kind, object, why string, cases int) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.blocked = append(t.blocked, Note{kind, object, why, cases})
}

// Unsent notes fields that only the newer version has.
func (t *Tally) Unsent(kind string, fields []string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.unsent[kind] = fields
}

// Report is what has been counted, in a form to be told.
func (t *Tally) Report() *Report {
	t.lock.Lock()
	defer t.lock.Unlock()
	r := &Report{Operations: map[string]Count{}, Defects: t.defects, Blocked: t.blocked, Unsent: t.unsent, Unmet: t.unmet()}
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		kind := Kind{Name: name, Operations: map[string]Count{}}
		for op, count := range t.counts[name] {
			kind.Operations[op] = *count
			kind.Count.add(*count)
			sum := r.Operations[op]
			sum.add(*count)
			r.Operations[op] = sum
		}
		r.Total.add(kind.Count)
		r.Kinds = append(r.Kinds, kind)
	}
	for _, d := range t.disagreements {
		r.Disagreements = append(r.Disagreements, *d)
	}
	slices.SortFunc(r.Disagreements, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.ID, b.ID))
	})
	for _, notes := range [][]Note{r.Defects, r.Blocked} {
		slices.SortFunc(notes, func(a, b Note) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object)) })
	}
	return r
}

// unmet are the rules that nothing has matched.
func (t *Tally) unmet() []string {
	var out []string
	for _, rules := range [][]compare.Rule{compare.Rules, compare.Reasons} {
		for i := range rules {
			if r := &rules[i]; !t.met[r] {
				out = append(out, fmt.Sprintf("%s (%s)", r.Reason, r.Aspect))
			}
		}
	}
	return out
}

// Kind is the agreement of one kind.
type Kind struct {
	Name string `json:"name"`
	Count
	Operations map[string]Count `json:"operations"`
}

// Report is what a run gives.
type Report struct {
	Stock         string              `json:"stock"`    // version
	Hivemind      string              `json:"hivemind"` // version
	Seed          uint64              `json:"seed"`
	PerKind       int                 `json:"perKind"` // cases at most
	Duration      time.Duration       `json:"duration"`
	Total         Count               `json:"total"`
	Kinds         []Kind              `json:"kinds"`
	Operations    map[string]Count    `json:"operations"`
	Disagreements []Disagreement      `json:"disagreements"`
	Missing       []string            `json:"missing"` // kinds that stock serves by default and Hivemind does not
	Extra         []string            `json:"extra"`   // kinds that only Hivemind serves
	Unwritten     []string            `json:"unwritten,omitempty"`
	Defects       []Note              `json:"defects,omitempty"`
	Blocked       []Note              `json:"blocked,omitempty"`
	Unsent        map[string][]string `json:"unsent,omitempty"`
	// Unmet are rules of versions.go and reasons.go that nothing matched; Complete says that everything was compared, so that each should
	// have been met.
	Unmet    []string `json:"unmet,omitempty"`
	Complete bool     `json:"complete"`
}

// Stale are rules that explain nothing any more.
func (r *Report) Stale() []string {
	if r.Complete {
		return r.Unmet
	}
	return nil
}
