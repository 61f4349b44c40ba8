// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// version is an object as it was from a version on; deleted is one that was not there any more.
type version struct {
	Object
	deleted bool
}

// timeline is every version of every object that anyone has seen, oldest first.
type timeline struct {
	versions map[Key][]version
	// covered are the spans of versions, (from, to], of which a watch has seen all of a resource.
	covered map[string][][2]int64
}

func sortedKeys[V any](m map[Key]V) []Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Name, b.Name))
	})
}

// newTimeline puts together what was seen, and says where two did not see the same.
func newTimeline(h *History) (*timeline, []error) {
	t := &timeline{versions: map[Key][]version{}, covered: map[string][][2]int64{}}
	var errs []error
	seen := map[int64]version{}
	see := func(who fmt.Stringer, o Object, deleted bool) {
		v := version{o, deleted}
		if was, ok := seen[o.Version]; !ok {
			seen[o.Version] = v
			t.versions[o.Key] = append(t.versions[o.Key], v)
		} else if was != v {
			errs = append(errs, fmt.Errorf("version %d is two things: %s (deleted: %t), and to the %s %s (deleted: %t)", o.Version, was, was.deleted, who, v, deleted))
		}
	}
	for _, r := range h.Requests {
		if r.Outcome == OK && r.Got.Version != 0 && (r.Verb == Get || !r.Got.Deleting) { // a write that ends a deletion is not stored
			see(r, r.Got, false)
		}
	}
	for _, l := range h.Lists {
		for _, o := range l.Items {
			see(l, *o, false)
		}
	}
	for _, w := range h.Watches {
		for _, o := range w.State {
			see(w, *o, false)
		}
		for _, e := range w.Events {
			if e.Type != Bookmark {
				see(w, *e.Object, e.Type == Deleted)
			}
		}
		if w.Name == "" {
			t.covered[w.Resource] = append(t.covered[w.Resource], [2]int64{w.From, w.last()})
		}
	}
	for _, all := range t.versions {
		slices.SortFunc(all, func(a, b version) int { return cmp.Compare(a.Version, b.Version) })
	}
	return t, errs
}

// last is the newest version that the watch has seen.
func (w *Watch) last() int64 {
	last := w.From
	for _, e := range w.Events {
		last = max(last, e.Object.Version)
	}
	return last
}

// at is the newest version of an object that is not newer than v, and whether there is one.
func (t *timeline) at(key Key, v int64) (version, bool) {
	all := t.versions[key]
	i, found := slices.BinarySearchFunc(all, v, func(x version, v int64) int { return cmp.Compare(x.Version, v) })
	if found {
		return all[i], true
	}
	if i == 0 {
		return version{}, false
	}
	return all[i-1], true
}

// watched tells whether all changes of a resource after one version up to another are known.
func (t *timeline) watched(resource string, after, upTo int64) bool {
	return slices.ContainsFunc(t.covered[resource], func(c [2]int64) bool { return c[0] <= after && upTo <= c[1] })
}

// identities checks that a UID is one object from its creation to its deletion, and that generations count the changes of the spec.
func (t *timeline) identities(hasGeneration map[string]bool) []error {
	var errs []error
	for _, key := range sortedKeys(t.versions) {
		all := t.versions[key]
		uids := map[string]int64{}
		for i, now := range all {
			if last, ok := uids[now.UID]; ok && (i == 0 || all[i-1].deleted || all[i-1].UID != now.UID) {
				errs = append(errs, fmt.Errorf("%s: the UID was another's since version %d, or its object had been deleted", now, last))
			}
			uids[now.UID] = now.Version
			if i == 0 {
				continue
			}
			was := all[i-1]
			known := t.watched(key.Resource, was.Version, now.Version)
			if was.UID != now.UID && !was.deleted && known {
				errs = append(errs, fmt.Errorf("%s: the UID has changed without a deletion, it was %s", now, was))
			}
			if !hasGeneration[key.Resource] || was.UID != now.UID || now.deleted || !known {
				continue
			}
			want := was.Generation
			if was.Spec != now.Spec || was.Deleting != now.Deleting {
				want++
			}
			if now.Generation != want {
				errs = append(errs, fmt.Errorf("%s: want generation %d, it was %s", now, want, was))
			}
		}
	}
	return errs
}

// lists checks that a list shows what there was at its version.
func (t *timeline) lists(h *History) []error {
	var errs []error
	for _, l := range h.Lists {
		switch {
		case l.Match == Exact && l.Version != l.Asked:
			errs = append(errs, fmt.Errorf("%s: not the version that was asked for", l))
		case l.Match == NotOlderThan && l.Version < l.Asked:
			errs = append(errs, fmt.Errorf("%s: older than was asked for", l))
		}
		errs = append(errs, t.snapshot(l, l.Resource, "", l.Version, l.Items)...)
	}
	for _, w := range h.Watches {
		if w.Listed {
			errs = append(errs, t.snapshot(w, w.Resource, w.Name, w.From, w.State)...)
		}
	}
	return errs
}

// snapshot checks that items are all that there was of a resource, or of one object of it, at a version.
func (t *timeline) snapshot(who fmt.Stringer, resource, name string, at int64, items []*Object) []error {
	var errs []error
	there := map[Key]*Object{}
	for _, o := range items {
		if there[o.Key] != nil {
			errs = append(errs, fmt.Errorf("%s: has %s twice", who, o.Key))
		}
		there[o.Key] = o
		if o.Version > at {
			errs = append(errs, fmt.Errorf("%s: shows version %d and has %s, which is newer", who, at, o))
		} else if newest, _ := t.at(o.Key, at); newest.Object != *o || newest.deleted {
			errs = append(errs, fmt.Errorf("%s: shows version %d and has %s, but by then there was %s (deleted: %t)", who, at, o, newest, newest.deleted))
		}
	}
	for key := range t.versions {
		if key.Resource != resource || there[key] != nil || (name != "" && key.Name != name) {
			continue
		}
		if newest, ok := t.at(key, at); ok && !newest.deleted && t.watched(resource, newest.Version, at) {
			errs = append(errs, fmt.Errorf("%s: shows version %d without %s", who, at, newest))
		}
	}
	return errs
}
