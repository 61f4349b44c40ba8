// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"slices"
)

// Errors says all that is wrong with a history: nil for that of a server that lost nothing.
func Errors(h *History) []error {
	errs := Linearizable(h)
	t, contradictions := newTimeline(h)
	errs = append(errs, contradictions...)
	errs = append(errs, t.identities(h.HasGeneration)...)
	errs = append(errs, t.lists(h)...)
	errs = append(errs, t.watches(h)...)
	return append(errs, backwards(h)...)
}

// answer is a version that was told at a time.
type answer struct {
	call, back int64
	version    int64
	strict     bool // a write makes a new version
	what       fmt.Stringer
}

// backwards checks, over all clients and objects, that a write has a later version than any that was told before it was called, and a consistent list
// none that is earlier.
func backwards(h *History) []error {
	var told, judged []answer
	for _, r := range h.Requests {
		if r.Outcome != OK || r.Got.Version == 0 {
			continue
		}
		a := answer{r.Call, r.Return, r.Got.Version, true, r}
		told = append(told, a)
		if r.Verb != Get && !r.Got.Deleting {
			judged = append(judged, a)
		}
	}
	for _, l := range h.Lists {
		a := answer{l.Call, l.Return, l.Version, false, l}
		told = append(told, a)
		if l.Match == Consistent {
			judged = append(judged, a)
		}
	}
	slices.SortFunc(told, func(a, b answer) int { return cmp.Compare(a.back, b.back) })
	newest := make([]answer, len(told)) // of those told up to here
	for i, a := range told {
		newest[i] = a
		if i > 0 && newest[i-1].version > a.version {
			newest[i] = newest[i-1]
		}
	}
	var errs []error
	for _, a := range judged {
		i, _ := slices.BinarySearchFunc(told, a.call, func(x answer, call int64) int { return cmp.Compare(x.back, call) })
		if i == 0 {
			continue
		}
		if before := newest[i-1]; a.version < before.version || (a.strict && a.version == before.version) {
			errs = append(errs, fmt.Errorf("version %d went back: %s; before it %s", a.version, a.what, before.what))
		}
	}
	return errs
}
