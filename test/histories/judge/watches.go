// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"slices"
)

// watches checks every watch against the timeline.
func (t *timeline) watches(h *History) []error {
	byResource := map[string][]version{}
	for key, all := range t.versions {
		byResource[key.Resource] = append(byResource[key.Resource], all...)
	}
	for _, all := range byResource {
		slices.SortFunc(all, func(a, b version) int { return cmp.Compare(a.Version, b.Version) })
	}
	var errs []error
	for _, w := range h.Watches {
		errs = append(errs, w.inOrder()...)
		errs = append(errs, w.complete(byResource[w.Resource])...)
		errs = append(errs, w.types()...)
	}
	return errs
}

// inOrder checks that versions rise from event to event; a bookmark may repeat the last.
func (w *Watch) inOrder() []error {
	var errs []error
	last := w.From
	for i, e := range w.Events {
		switch v := e.Object.Version; {
		case v < last:
			errs = append(errs, fmt.Errorf("%s: event %d, %s of %s, goes back from version %d", w, i, e.Type, e.Object, last))
		case v == last && e.Type != Bookmark:
			errs = append(errs, fmt.Errorf("%s: event %d, %s of %s, comes again", w, i, e.Type, e.Object))
		}
		last = max(last, e.Object.Version)
	}
	return errs
}

// complete checks that no change is missing that anyone knows of, between the first and the last version of the watch.
func (w *Watch) complete(all []version) []error {
	seen := make(map[int64]bool, len(w.Events))
	for _, e := range w.Events {
		if e.Type != Bookmark {
			seen[e.Object.Version] = true
		}
	}
	var errs []error
	last := w.last()
	for _, v := range all {
		if v.Version > w.From && v.Version <= last && (w.Name == "" || v.Name == w.Name) && !seen[v.Version] {
			errs = append(errs, fmt.Errorf("%s: has seen version %d, but not %s (deleted: %t)", w, last, v, v.deleted))
		}
	}
	return errs
}

// types checks that an object is added before it is modified, and not again before it was deleted.
func (w *Watch) types() []error {
	there := map[Key]bool{}
	for _, o := range w.State {
		there[o.Key] = true
	}
	var errs []error
	for i, e := range w.Events {
		if e.Type == Bookmark {
			continue
		}
		was, known := there[e.Object.Key]
		if (known || w.Listed) && was != (e.Type != Added) {
			errs = append(errs, fmt.Errorf("%s: event %d is %s of %s, which the watch knows already: %t", w, i, e.Type, e.Object, was))
		}
		there[e.Object.Key] = e.Type != Deleted
	}
	return errs
}
