// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// state is what the server has of one object. The zero value is an object that is not there. UID and version are unknown after a write that was
// not answered; values, which are never used twice, tell such states apart.
//
// A graceful deletion marks the object and then removes it. In between others may see it, and a write to it, which has nothing left to wait for, removes
// it instead, and is answered with the object as it would have been.
type state struct {
	exists     bool
	uid        string
	version    int64
	spec, note string
	marked     string // by which deletion
}

// is tells whether o shows this state, and returns the state with what o tells of it.
func (s state) is(o Object) (state, bool) {
	if !s.exists || s.spec != o.Spec || s.note != o.Note || (s.marked != "") != o.Deleting ||
		(s.uid != "" && s.uid != o.UID) || (s.version != 0 && s.version != o.Version) {
		return s, false
	}
	s.uid, s.version = o.UID, o.Version
	return s, true
}

// set is this state after a write without its answer.
func (s state) set(r Request) state {
	s.exists, s.version = true, 0
	if r.OfNote {
		s.note = r.Value
	} else {
		s.spec = r.Value
	}
	return s
}

// may tells whether the preconditions of a deletion allow it. What is not known of the state allows everything.
func (s state) may(r Request) bool {
	return (r.IfUID == "" || s.uid == "" || r.IfUID == s.uid) && (r.IfVersion == 0 || s.version == 0 || r.IfVersion == s.version)
}

// must tells whether a deletion could not have been refused for its preconditions.
func (s state) must(r Request) bool {
	return (r.IfUID == "" || (s.uid != "" && r.IfUID == s.uid)) && (r.IfVersion == 0 || (s.version != 0 && r.IfVersion == s.version))
}

// after is the state that a request leads to if it is carried out, and whether it can be.
func (s state) after(r Request) (state, bool) {
	switch r.Verb {
	case Create:
		return state{}.set(r), !s.exists
	case Update:
		was, ok := s.is(r.Base)
		return was.set(r), ok
	case Patch:
		return s.set(r), s.exists
	case Apply:
		return s.set(r), true
	case Delete:
		can := s.exists && s.may(r)
		if !r.Graceful || s.marked != "" {
			return state{}, can
		}
		s.marked, s.version = r.Value, 0
		return s, can
	}
	return s, true
}

// acknowledged is the state after a request that succeeded, and whether it can have been answered so.
func (s state) acknowledged(r Request) (state, bool) {
	next, can := s.after(r)
	switch {
	case r.Verb == Get:
		return s.is(r.Got)
	case r.Verb == Delete || !can:
		return next, can
	case s.marked != "":
		next.version = s.version
		_, can = next.is(r.Got)
		s.uid = r.Got.UID
		return s, can
	}
	newer := r.Got.Version > s.version
	next, can = next.is(r.Got)
	return next, can && newer
}

// step returns the states that are possible after a request, none if its answer is not.
func step(s state, r Request) []state {
	if r.Verb == begin {
		s, _ = state{exists: r.Outcome == OK, spec: r.Got.Spec, note: r.Got.Note}.is(r.Got)
		return []state{s}
	}
	states := s.step(r)
	if s.marked != "" { // it may be removed at any time
		states = append(states, state{}.step(r)...)
	}
	return states
}

func (s state) step(r Request) []state {
	next, can := s, false
	switch r.Outcome {
	case Unknown:
		if next, can = s.after(r); can && r.Verb != Get && s.marked == "" {
			return []state{s, next}
		}
		return []state{s}
	case OK:
		if r.Verb == gone {
			can = !s.exists || (s.marked != r.Value && (r.IfUID == "" || s.uid != r.IfUID))
		} else {
			next, can = s.acknowledged(r)
		}
	case NotFound:
		can = !s.exists
	case Exists:
		can = s.exists
	case Conflict:
		switch _, same := s.is(r.Base); r.Verb {
		case Update:
			can = !same
		case Delete:
			can = s.exists && !s.must(r)
		default:
			can = true // the server tries patches again, but not for ever
		}
	}
	if !can {
		return nil
	}
	return []state{next}
}

// model is one object, for porcupine.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, in, _ any) []any {
		var out []any
		for _, next := range step(s.(state), in.(Request)) {
			out = append(out, next)
		}
		return out
	},
	DescribeOperation: func(in, _ any) string { return in.(Request).String() },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
}).ToModel()

// within bounds how long porcupine may look for an order of one object's requests.
const within = time.Minute

// Linearizable says of which objects the answers cannot have come from one copy that requests act on one after the other, each between its call
// and its return. A consistent list reads every object of its resource.
func Linearizable(h *History) []error {
	byKey := map[Key][]porcupine.Operation{}
	for _, r := range h.Requests {
		byKey[r.Key] = append(byKey[r.Key], operation(r))
		if r.removes() {
			byKey[r.Key] = append(byKey[r.Key], operation(Request{
				Client: r.Client, Key: r.Key, Verb: gone, Call: r.Return, Return: r.Return, Value: r.Value, IfUID: r.Got.UID, Outcome: OK,
			}))
		}
	}
	for _, l := range h.Lists {
		if l.Match == Consistent {
			for _, r := range l.reads(byKey) {
				byKey[r.Key] = append(byKey[r.Key], operation(r))
			}
		}
	}
	var errs []error
	for _, key := range sortedKeys(byKey) {
		for _, operations := range segments(byKey[key]) {
			switch porcupine.CheckOperationsTimeout(model, operations, within) {
			case porcupine.Illegal:
				_, info := porcupine.CheckOperationsVerbose(model, operations, within) // which takes longer, to say where
				errs = append(errs, fmt.Errorf("%s is not linearizable: %s", key, explain(operations, info)))
			case porcupine.Unknown:
				errs = append(errs, fmt.Errorf("%s: %d requests could not be judged within %s", key, len(operations), within))
			}
		}
	}
	return errs
}

// segmentLength is how many requests are judged together, at least: time and memory grow with its square.
const segmentLength = 200

// segments cuts an object's history where a request that tells all of the object had the object for itself. What comes after it begins from what it tells,
// so that the whole is linearizable if and only if all segments are.
func segments(operations []porcupine.Operation) [][]porcupine.Operation {
	slices.SortStableFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var out [][]porcupine.Operation
	var current []porcupine.Operation
	busy := int64(math.MinInt64) // until when a request before this one goes on
	for i, o := range operations {
		current = append(current, o)
		r := o.Input.(Request)
		alone := busy < o.Call && i+1 < len(operations) && o.Return < operations[i+1].Call
		if alone && len(current) >= segmentLength && r.tellsAll() {
			out = append(out, current)
			r.Verb, r.Call = begin, r.Return
			current = []porcupine.Operation{operation(r)}
		}
		busy = max(busy, o.Return)
	}
	return append(out, current)
}

// tellsAll tells whether an answer leaves no doubt of what the object was just then.
func (r Request) tellsAll() bool {
	switch r.Verb {
	case Get:
		return r.Outcome == NotFound || (r.Outcome == OK && !r.Got.Deleting)
	case Create, Update, Patch, Apply:
		return r.Outcome == OK && !r.Got.Deleting
	}
	return false
}

// removes tells whether an object that was marked is gone when the request is answered.
func (r Request) removes() bool {
	return r.Outcome == OK && (r.Verb == Delete && r.Graceful || r.Verb != Get && r.Got.Deleting)
}

func operation(r Request) porcupine.Operation {
	return porcupine.Operation{ClientId: r.Client, Input: r, Call: r.Call, Return: r.Return}
}

// reads are the gets that a list amounts to, of all objects that are known.
func (l *List) reads(known map[Key][]porcupine.Operation) []Request {
	there := map[Key]Object{}
	for _, o := range l.Items {
		there[o.Key] = *o
	}
	var reads []Request
	for key := range known {
		if key.Resource != l.Resource {
			continue
		}
		r := Request{Client: l.Client, Key: key, Verb: Get, Call: l.Call, Return: l.Return, Outcome: NotFound}
		if o, ok := there[key]; ok {
			r.Outcome, r.Got = OK, o
		}
		reads = append(reads, r)
	}
	return reads
}

// explain tells of the requests around the first that fits into no order.
func explain(operations []porcupine.Operation, info porcupine.LinearizationInfo) string {
	longest := 0
	placed := map[int]bool{}
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > longest {
				longest = len(order)
				clear(placed)
				for _, o := range order {
					placed[slices.IndexFunc(operations, func(x porcupine.Operation) bool { return x.Input == o.Input })] = true
				}
			}
		}
	}
	var rest []porcupine.Operation
	for i, o := range operations {
		if !placed[i] {
			rest = append(rest, o)
		}
	}
	slices.SortFunc(rest, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	if len(rest) == 0 {
		return "no order"
	}
	first := rest[0]
	slices.SortFunc(operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var around []string
	for _, o := range operations {
		if o.Call <= first.Return && o.Return >= first.Call-int64(time.Second) {
			around = append(around, "  "+o.Input.(Request).String())
		}
	}
	around = around[max(0, len(around)-12):]
	return fmt.Sprintf("%d of %d requests fit, then none of those that go on until %s; around it:\n%s", longest, len(operations), first.Input, strings.Join(around, "\n"))
}
