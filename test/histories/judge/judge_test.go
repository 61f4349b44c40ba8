// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"
)

var a = Key{"widgets", "a"}

// at is object a in a version: the first life's UID is "1".
func at(version int64, uid string, generation int64, spec, note string) Object {
	return Object{Key: a, UID: uid, Version: version, Generation: generation, Spec: spec, Note: note}
}

var (
	created  = at(10, "1", 1, "s1", "")
	changed  = at(12, "1", 2, "s2", "")
	noted    = at(15, "1", 2, "s2", "n1")
	deleted  = at(17, "1", 2, "s2", "n1")
	newLife  = at(20, "2", 1, "s3", "")
	bookmark = Object{Version: 22}
)

// good is a history that nothing is wrong with: a life of an object that ends, and the beginning of another. Client 1 writes, one request each 10.
func good() *History {
	return &History{
		HasGeneration: map[string]bool{"widgets": true},
		Requests: []Request{
			{Client: 1, Key: a, Verb: Get, Call: 0, Return: 5, Outcome: NotFound},
			{Client: 1, Key: a, Verb: Create, Value: "s1", Call: 10, Return: 15, Outcome: OK, Got: created},
			{Client: 1, Key: a, Verb: Update, Value: "s2", Base: created, Call: 20, Return: 25, Outcome: OK, Got: changed},
			{Client: 2, Key: a, Verb: Update, Value: "s9", Base: created, Call: 26, Return: 28, Outcome: Conflict},
			{Client: 1, Key: a, Verb: Patch, Value: "n1", OfNote: true, Call: 30, Return: 35, Outcome: OK, Got: noted},
			{Client: 2, Key: a, Verb: Get, Call: 36, Return: 38, Outcome: OK, Got: noted},
			{Client: 2, Key: a, Verb: Delete, IfUID: "7", Call: 38, Return: 39, Outcome: Conflict},
			{Client: 1, Key: a, Verb: Delete, IfUID: "1", Call: 40, Return: 45, Outcome: OK},
			{Client: 1, Key: a, Verb: Apply, Value: "s3", Call: 50, Return: 55, Outcome: OK, Got: newLife},
			{Client: 2, Key: a, Verb: Create, Value: "s8", Call: 56, Return: 58, Outcome: Exists},
			{Client: 3, Key: a, Verb: Patch, Value: "n2", OfNote: true, Call: 60, Return: 100, Outcome: Unknown},
		},
		Lists: []*List{
			{Client: 2, Resource: "widgets", Call: 16, Return: 18, Version: 11, Items: []*Object{&created}},
			{Client: 2, Resource: "widgets", Match: Exact, Asked: 16, Call: 56, Return: 58, Version: 16, Items: []*Object{&noted}},
			{Client: 2, Resource: "widgets", Match: NotOlderThan, Asked: 18, Call: 56, Return: 58, Version: 18},
			{Client: 2, Resource: "widgets", Match: Any, Call: 56, Return: 58, Version: 12, Items: []*Object{&changed}},
		},
		Watches: []*Watch{
			{Client: 4, Resource: "widgets", From: 9, Listed: true, Events: []Event{
				{Added, &created}, {Modified, &changed}, {Modified, &noted}, {Deleted, &deleted}, {Added, &newLife}, {Bookmark, &bookmark},
			}},
			{Client: 5, Resource: "widgets", Name: "a", From: 12, Listed: true, State: []*Object{&changed}, Events: []Event{{Modified, &noted}, {Deleted, &deleted}}},
			{Client: 6, Resource: "widgets", From: 15, Events: []Event{{Deleted, &deleted}, {Added, &newLife}}},
		},
	}
}

func TestGoodHistories(t *testing.T) {
	late := at(23, "2", 1, "s3", "n2")
	for name, change := range map[string]func(h *History){
		"as it is":                     func(*History) {},
		"an unanswered write happened": func(h *History) { h.Requests = append(h.Requests, get(70, late)) },
		"and a write after it": func(h *History) {
			h.Requests = append(h.Requests, Request{Key: a, Verb: Patch, Value: "s4", Call: 70, Return: 75, Outcome: OK, Got: at(25, "2", 2, "s4", "n2")})
		},
		"an unanswered write did not happen":    func(h *History) { h.Requests = append(h.Requests, get(170, newLife)) },
		"an unanswered write happened late":     func(h *History) { h.Requests = append(h.Requests, get(70, newLife), get(80, late)) },
		"an unanswered creation of another key": func(h *History) { h.Requests = append(h.Requests, unanswered) },
	} {
		h := good()
		change(h)
		for _, err := range Errors(h) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var (
	pod      = Key{"pods", "p"}
	podThere = Object{Key: pod, UID: "1", Version: 10, Generation: 1, Spec: "s1"}
	podEnds  = Object{Key: pod, UID: "1", Version: 12, Generation: 2, Spec: "s1", Deleting: true}
	podGone  = Object{Key: pod, UID: "1", Version: 13, Generation: 2, Spec: "s1", Deleting: true}
)

// graceful is a history of a pod whose deletion others see, and one completes by a write.
func graceful() *History {
	written := podEnds
	written.Note, written.Generation = "n1", 2
	return &History{
		HasGeneration: map[string]bool{"pods": true},
		Requests: []Request{
			{Client: 1, Key: pod, Verb: Create, Value: "s1", Call: 10, Return: 15, Outcome: OK, Got: podThere},
			{Client: 1, Key: pod, Verb: Delete, Graceful: true, Value: "d1", Call: 20, Return: 60, Outcome: OK},
			{Client: 2, Key: pod, Verb: Get, Call: 30, Return: 35, Outcome: OK, Got: podEnds},
			{Client: 2, Key: pod, Verb: Patch, Value: "n1", OfNote: true, Call: 40, Return: 45, Outcome: OK, Got: written},
			{Client: 2, Key: pod, Verb: Get, Call: 46, Return: 48, Outcome: NotFound},
		},
		Watches: []*Watch{{Resource: "pods", From: 9, Listed: true, Events: []Event{{Added, &podThere}, {Modified, &podEnds}, {Deleted, &podGone}}}},
	}
}

func TestGracefulDeletion(t *testing.T) {
	for _, err := range Errors(graceful()) {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(h *History)
		want   string
	}{
		"there after the deletion": {func(h *History) {
			h.Requests = append(h.Requests[:3], Request{Client: 2, Key: pod, Verb: Get, Call: 70, Return: 75, Outcome: OK, Got: podEnds})
		}, "pods/p is not linearizable"},
		"there after the write that completes it": {func(h *History) { h.Requests[4].Outcome, h.Requests[4].Got = OK, podEnds }, "pods/p is not linearizable"},
		"unmarked after it was marked": {func(h *History) {
			h.Requests = append(h.Requests[:3], Request{Client: 2, Key: pod, Verb: Get, Call: 40, Return: 45, Outcome: OK, Got: podThere})
		}, "pods/p is not linearizable"},
		"a write that only seems to complete a deletion": {func(h *History) { h.Requests = append(h.Requests[:1], h.Requests[3]) }, "pods/p is not linearizable"},
	} {
		h := graceful()
		c.change(h)
		var text []string
		for _, err := range Errors(h) {
			text = append(text, err.Error())
		}
		if all := strings.Join(text, "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%s: no error has %q:\n%s", name, c.want, all)
		}
	}
}

var unanswered = Request{Key: Key{"widgets", "b"}, Verb: Create, Value: "x", Call: 1, Return: 200, Outcome: Unknown}

func get(when int64, o Object) Request {
	return Request{Client: 7, Key: a, Verb: Get, Call: when, Return: when + 2, Outcome: OK, Got: o}
}

// TestBadHistories: a judge that lets one of these pass is worth nothing.
func TestBadHistories(t *testing.T) {
	last := at(30, "2", 1, "s3", "n3")
	for name, c := range map[string]struct {
		change func(h *History)
		want   string // in one of the errors
	}{
		"lost write": {func(h *History) {
			h.Requests = append(h.Requests, Request{Key: a, Verb: Patch, Value: "n3", OfNote: true, Call: 110, Return: 115, Outcome: OK, Got: last}, get(120, newLife))
		}, "widgets/a is not linearizable"},
		"lost write of which only a list tells": {func(h *History) {
			h.Lists = append(h.Lists, &List{Client: 2, Resource: "widgets", Call: 120, Return: 125, Version: 40})
		}, "widgets/a is not linearizable"},
		"lost write that is hidden by a later one": {func(h *History) {
			h.Requests = append(h.Requests, Request{Key: a, Verb: Patch, Value: "n3", OfNote: true, Call: 110, Return: 115, Outcome: OK, Got: last},
				Request{Key: a, Verb: Patch, Value: "s4", Call: 120, Return: 125, Outcome: OK, Got: at(31, "2", 2, "s4", "")})
		}, "widgets/a is not linearizable"},
		"lost deletion": {func(h *History) { h.Requests = append(h.Requests, get(46, noted)) }, "widgets/a is not linearizable"},
		"stale read":    {func(h *History) { h.Requests = append(h.Requests, get(36, changed)) }, "widgets/a is not linearizable"},
		"stale list": {func(h *History) {
			h.Lists = append(h.Lists, &List{Resource: "widgets", Call: 56, Return: 58, Version: 16, Items: []*Object{&noted}})
		}, "version 16 went back"},
		"an unanswered write that happens after the restart": {func(h *History) {
			h.Requests = append(h.Requests, get(170, newLife), get(180, at(23, "2", 1, "s3", "n2")))
		}, "widgets/a is not linearizable"},
		"an update that ignores its resourceVersion": {func(h *History) { h.Requests[3].Outcome, h.Requests[3].Got = OK, at(13, "1", 3, "s9", "") }, "widgets/a is not linearizable"},
		"a deletion that ignores its precondition":   {func(h *History) { h.Requests[6].Outcome = OK }, "widgets/a is not linearizable"},
		"two creations":                      {func(h *History) { h.Requests[9].Outcome, h.Requests[9].Got = OK, at(21, "3", 1, "s8", "") }, "widgets/a is not linearizable"},
		"a write whose version is not later": {func(h *History) { h.Requests[8].Got.Version = 14 }, "version 14 went back"},
		"duplicate watch event":              {events(0, func(e []Event) []Event { return append(e[:2:2], e[1:]...) }), "comes again"},
		"reordered watch events":             {events(0, func(e []Event) []Event { e[1], e[2] = e[2], e[1]; return e }), "goes back from version 15"},
		"missing watch event":                {events(0, func(e []Event) []Event { return append(e[:1:1], e[2:]...) }), "but not widgets/a at 12"},
		"missing event of one object":        {events(1, func(e []Event) []Event { return e[1:] }), "but not widgets/a at 15"},
		"missing event before a bookmark":    {events(0, func(e []Event) []Event { return append(e[:4:4], e[5]) }), "but not widgets/a at 20"},
		"bookmark that goes back":            {events(0, func(e []Event) []Event { return append(e, Event{Bookmark, &created}) }), "BOOKMARK of widgets/a at 10"},
		"wrong type of event":                {events(0, func(e []Event) []Event { e[1].Type = Added; return e }), "knows already: true"},
		"modified before it is added":        {events(0, func(e []Event) []Event { e[0].Type = Modified; return e }), "knows already: false"},
		"event with another's content": {events(0, func(e []Event) []Event {
			other := at(12, "1", 2, "s7", "")
			e[1].Object = &other
			return e
		}), "version 12 is two things"},
		"UID that changes": {func(h *History) {
			rename := at(12, "9", 2, "s2", "")
			h.Requests, h.Lists = nil, nil
			h.Watches = []*Watch{{Resource: "widgets", From: 9, Listed: true, Events: []Event{{Added, &created}, {Modified, &rename}}}}
		}, "the UID has changed without a deletion"},
		"UID that comes again": {func(h *History) {
			h.Requests, h.Lists = nil, nil
			again := at(20, "1", 1, "s3", "")
			h.Watches = []*Watch{{Resource: "widgets", From: 9, Listed: true, Events: []Event{{Added, &created}, {Deleted, &deleted}, {Added, &again}}}}
		}, "its object had been deleted"},
		"generation that stays":                              {func(h *History) { onlyWatch(h, created, at(12, "1", 1, "s2", "")) }, "want generation 2"},
		"generation that rises without a change of the spec": {func(h *History) { onlyWatch(h, created, at(12, "1", 2, "s1", "n")) }, "want generation 1"},
		"list with two versions":                             {func(h *History) { h.Lists[1].Items[0] = &changed }, "by then there was widgets/a at 15"},
		"list without an object":                             {func(h *History) { h.Lists[1].Items = nil }, "shows version 16 without widgets/a at 15"},
		"list with what was deleted":                         {func(h *History) { h.Lists[2].Items = []*Object{&noted} }, "(deleted: true)"},
		"list with an object twice":                          {func(h *History) { h.Lists[1].Items = []*Object{&noted, &noted} }, "has widgets/a twice"},
		"list from the future":                               {func(h *History) { h.Lists[3].Items = []*Object{&noted} }, "which is newer"},
		"list at another version than asked":                 {func(h *History) { h.Lists[1].Asked = 15 }, "not the version that was asked for"},
		"list older than asked":                              {func(h *History) { h.Lists[2].Asked = 19 }, "older than was asked for"},
		"initial events that miss an object":                 {func(h *History) { h.Watches[1].State = nil }, "shows version 12 without widgets/a at 12"},
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			c.change(h)
			errs := Errors(h)
			var text []string
			for _, err := range errs {
				text = append(text, err.Error())
			}
			if all := strings.Join(text, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("no error has %q:\n%s", c.want, all)
			}
		})
	}
}

// events changes what one of the watches has seen.
func events(watch int, change func([]Event) []Event) func(h *History) {
	return func(h *History) { h.Watches[watch].Events = change(h.Watches[watch].Events) }
}

// onlyWatch leaves a watch that sees an object created and changed, and nothing else.
func onlyWatch(h *History, first, second Object) {
	h.Requests, h.Lists = nil, nil
	h.Watches = []*Watch{{Resource: "widgets", From: 9, Listed: true, Events: []Event{{Added, &first}, {Modified, &second}}}}
}
